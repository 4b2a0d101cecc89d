"""The published results of the papers' tables beside a user's own run."""

import re
from collections.abc import Sequence

import pandas as pd

from ace_lib.profiles import default_notebooks_folder
from ace_lib.report import Result, show_score

# Column of the published table <- the benchmark's short name, in this kit or on the hub.
COLUMNS = {
    "AIME24": r"aime.?(20)?24",
    "AIME25": r"aime.?(20)?25",
    "MATH500": r"math.?500",
    "LCB v5": r"(lcb|livecodebench)[-_]?v?5",
    "LCB v6": r"(lcb|livecodebench)[-_]?v?6",
    "EvalPlus": r"(^|-)evalplus$",  # the mean of both its sets, which one of them alone is not
}


def published() -> pd.DataFrame:
    """Scores in points as the papers and official cards print them (marks V), one row a model.

    For AceReason-Nemotron-1.1-7B the paper's conclusion prints 63.2 on AIME25 and 52.8 on LCB v5;
    its table and the model card say what stands here.
    """
    file = default_notebooks_folder() / "data/published_results.csv"
    return pd.read_csv(file, index_col="model")


def column_of(benchmark: str) -> str | None:
    """Published column that a benchmark is, or stands in for; None where there is none."""
    for column, pattern in COLUMNS.items():
        if re.search(pattern, benchmark.lower()):
            return column
    return None


def beside_published(results: Sequence[Result]) -> pd.DataFrame:
    """Published table as text, and below it the measured models of a run with their intervals."""
    table = published().map(lambda score: "–" if pd.isna(score) else f"{score:.1f}")
    for result in results:
        row = dict.fromkeys(table.columns, "–")
        for benchmark, score in result.scores.items():
            if column := column_of(benchmark):
                row[column] = show_score(score)
        table.loc[f"this run, {result.model}"] = row
    return table
