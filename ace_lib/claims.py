"""The claims ledger: what the papers found, what our runs say, and the rule that decides.

A claim is split into *parts*: an effect with its 95 % interval, and the region that the claim
puts it in. All parts inside their regions: `reproduced`. One part wholly on the other side:
`contradicted`. Otherwise `inconclusive`; without data, `not_run`. Intervals are over problems, for
one training run per arm: they do not contain the luck of the training seed.

Published numbers carry a mark: V printed in the paper, Q quoted by several digests, P one digest
or read off a figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ace_lib import AceError, evaluate, metrics, runs

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = ("reproduced", "contradicted", "inconclusive", "not_run")


@dataclass(frozen=True)
class Part:
    """One effect of a claim, and where the claim says it lies: `at_least` <= effect <= `at_most`.

    `refuted_below` / `refuted_above`: an interval wholly beyond them contradicts the claim; they
    default to the edges of the claimed region. `usable=False`: an estimate that cannot decide.
    `paper`: the published effect in the same unit, where one is printed (on the papers' scale).
    """

    name: str
    avg: float
    low: float
    high: float
    n: int | None = None
    k: int | None = None
    unit: str = "points"
    at_least: float = -math.inf
    at_most: float = math.inf
    refuted_below: float | None = None
    refuted_above: float | None = None
    usable: bool = True
    paper: float | None = None

    def supports(self) -> bool:
        """Whether the whole interval lies strictly inside the claimed region."""
        return self.usable and self.low > self.at_least and self.high < self.at_most

    def contradicts(self) -> bool:
        """Whether the whole interval lies on the side that the claim excludes."""
        below = self.at_least if self.refuted_below is None else self.refuted_below
        above = self.at_most if self.refuted_above is None else self.refuted_above
        return self.usable and (self.high < below or self.low > above)


def judge(parts: Iterable[Part]) -> str:
    """Verdict over all parts of a claim; `not_run` when there are none."""
    parts = list(parts)
    if not parts:
        return "not_run"
    if any(part.contradicts() for part in parts):
        return "contradicted"
    return "reproduced" if all(part.supports() for part in parts) else "inconclusive"


def gain(name: str, effect: metrics.Estimate | dict, paper: float | None = None) -> Part:
    """Part of a claim that says an effect is positive; refuted where it is negative."""
    return Part(name, **_numbers(effect), at_least=0.0, paper=paper)


def about_zero(
    name: str, effect: metrics.Estimate | dict, margin: float, paper: float | None = None
) -> Part:
    """Part of a claim that says an effect stays within ±`margin` points."""
    return Part(name, **_numbers(effect), at_least=-margin, at_most=margin, paper=paper)


def _numbers(effect: metrics.Estimate | dict) -> dict:
    values = effect if isinstance(effect, dict) else effect.to_dict()
    return {key: values.get(key) for key in ("avg", "low", "high", "n", "k")}


class ClaimError(AceError):
    """A run file that a claim reads does not hold what this version writes there."""


class NoData(Exception):
    """A run that a claim needs is not there; the message is the run's name and the reason."""


@dataclass(frozen=True)
class Evidence:
    """The finished runs of one profile, as the verdict rules read them."""

    profile: str
    benchmarks_math: tuple[str, ...]
    benchmarks_code: tuple[str, ...]

    def folder(self, step: str) -> Path:
        """Folder of a completed run; raises NoData."""
        try:
            return runs.completed(self.profile, step)
        except runs.RunMissing:
            raise NoData(f"{step} has not been run") from None

    def json(self, step: str, name: str) -> dict:
        """A JSON file of a completed run; raises NoData when run or file is missing."""
        path = self.folder(step) / name
        if not path.is_file():
            raise NoData(f"{step} wrote no {name}")
        return runs.read_json(path)

    def table(self, step: str, samples: str | Sequence[str]) -> pd.DataFrame:
        """Evaluation table of one or several `samples` files of a run."""
        import pandas as pd

        names = [samples] if isinstance(samples, str) else samples
        return pd.concat(evaluate.read_table(self.folder(step) / name) for name in names)

    def paired(
        self, before: tuple[str, str | Sequence[str]], after: tuple[str, str | Sequence[str]]
    ) -> metrics.Estimate:
        """avg@k after minus before in points; each side is (run, samples files)."""
        return metrics.paired_difference(self.table(*before), self.table(*after))

    def benchmarks(self, domain: str) -> tuple[str, ...]:
        """Names of the benchmarks of "math" or "code"."""
        return self.benchmarks_math if domain == "math" else self.benchmarks_code

    def stage_gain(self, first: str, last: str, domain: str) -> metrics.Estimate:
        """Gain on a domain from before stage `first` to after stage `last`, paired by problem."""
        sides = []
        for stage, side in ((first, "before"), (last, "after")):
            step = runs.step_name("08_train_rl_stage", stage)
            scores = self.json(step, "stage.json")[side]
            names = self.benchmarks(domain)
            if missing := [name for name in names if name not in scores]:
                raise NoData(f"{step} did not measure {missing[0]} {side}")
            sides.append((step, [scores[name]["samples"] for name in names]))
        return self.paired(*sides)


@dataclass(frozen=True)
class Claim:
    """One row of the ledger. `published`: (what, numbers, mark); `runs`: the runs it is read from.

    `parts` reads the evidence and raises NoData when there is none; None: no notebook yet.
    """

    id: str
    claim: str
    published: tuple[tuple[str, str, str], ...]
    rule: str
    runs: tuple[str, ...]
    parts: Callable[[Evidence], list[Part]] | None

    def check(self, evidence: Evidence) -> dict[str, Any]:
        """The ledger row with verdict, effects and note, ready for `claims.json`."""
        parts, note = [], ""
        try:
            if self.parts is None:
                raise NoData("no notebook of this version tests it")
            parts = self.parts(evidence)
        except NoData as reason:
            note = str(reason)
        except KeyError as key:
            raise ClaimError(
                f"claim {self.id!r}: the files of {' and '.join(self.runs)} have no {key}: they "
                f"were made by another version; `ace run --profile {evidence.profile} --redo NAME`"
            ) from key
        if any(not part.usable for part in parts):
            note = "the estimate cannot separate what the claim compares"
        return {
            "id": self.id,
            "claim": self.claim,
            "published": [dict(zip(("what", "value", "mark"), p, strict=True))
                          for p in self.published],
            "rule": self.rule,
            "verdict": judge(parts),
            "effects": [_finite(asdict(part)) for part in parts],
            "note": note,
            "runs": list(self.runs),
            "command": f"ace run --profile {evidence.profile} --only {self.runs[-1]}"
            if self.runs else "",
        }  # fmt: skip


def _finite(part: dict) -> dict:
    """JSON has no infinity: an open side becomes null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in part.items()
    }


def check_all(evidence: Evidence) -> list[dict[str, Any]]:
    """Every row of the ledger, in the order of the papers' story."""
    from ace_lib.claim_rules import LEDGER

    return [claim.check(evidence) for claim in LEDGER]


def write_claims(evidence: Evidence, path: Path) -> list[dict[str, Any]]:
    """Check all claims and write `claims.json`; returns the rows."""
    rows = check_all(evidence)
    counts = {verdict: sum(r["verdict"] == verdict for r in rows) for verdict in VERDICTS}
    runs.write_json(path, {"profile": evidence.profile, "counts": counts, "claims": rows})
    return rows
