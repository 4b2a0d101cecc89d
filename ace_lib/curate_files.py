"""The commands `ace decontaminate` and `ace dedup`: files in; the kept rows and a report out.

Every input row is in exactly one output: kept rows unchanged in KEPT, the others in REPORT (one
JSON row each) with the reason. Each appears whole, REPORT last; an error in the input, or an output
that cannot be opened, leaves both as they were.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from ace_lib import AceError, decontaminate, dedup
from ace_lib.adapters import ANSWER_COLUMNS
from ace_lib.tables import Row, read_rows, write_rows

CHUNK_ROWS = 1024


def add_decontaminate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `ace decontaminate`."""
    _add_files(parser)
    parser.add_argument("--benchmarks", nargs="+", required=True, metavar="FILE")
    parser.add_argument(
        "--benchmark-column", default="", help="of their statements (default: as found)"
    )
    parser.add_argument("--rule", choices=decontaminate.RULES, default="any", help="default: any")
    parser.add_argument(
        "--coverage", type=float, default=0.5, help="share of an item, rule coverage (default: 0.5)"
    )
    parser.add_argument(
        "--ngram",
        type=int,
        default=decontaminate.MATH_NGRAM,
        help=f"tokens (default: {decontaminate.MATH_NGRAM}; code: {decontaminate.CODE_NGRAM})",
    )


def add_dedup_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `ace dedup`."""
    _add_files(parser)
    parser.add_argument(
        "--least-similarity", type=float, default=0.9, help="of near-duplicates (default: 0.9)"
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--candidates", nargs="+", required=True, metavar="FILE", help="JSONL, JSONL.gz or Parquet"
    )
    parser.add_argument("--out", required=True, metavar="KEPT", help="the rows that are kept")
    parser.add_argument("--report", required=True, help="the others, with the evidence (JSONL)")
    parser.add_argument("--column", default="", help="of the statements (default: as found)")


def run_decontaminate(arguments: argparse.Namespace) -> int:
    """Keep the candidates that no benchmark item overlaps; print the counts."""
    skipped: list[dict] = []
    index = decontaminate.build_index(_read_benchmarks(arguments, skipped), arguments.ngram)
    print(f"{len(index.items)} benchmark items, {len(skipped)} rows without a statement skipped")
    _deliver(arguments, _find_leaks(arguments, index), skipped)
    return 0


def run_dedup(arguments: argparse.Namespace) -> int:
    """Keep one row of every cluster of duplicates; print the counts."""
    rows = list(_candidates(arguments))
    usable = [row for row in rows if row.statement]
    found = dedup.find_duplicates(
        [row.statement for row in usable],
        [next((str(row.data[n]) for n in ANSWER_COLUMNS if n in row.data), "") for row in usable],
        arguments.least_similarity,
        [bool(row.data.get("verified")) for row in usable],
    )
    marks = zip(*found.values(), strict=True)

    def reason(row: Row) -> dict | None:
        if not row.statement:
            return _skip(row)
        kept, kind, conflict = next(marks)
        evidence = {"reason": kind, "conflicting_answers": conflict}
        return None if kept < 0 else evidence | {"duplicate_of": usable[kept].place}

    _deliver(arguments, ((row, reason(row)) for row in rows), [])
    return 0


def _skip(row: Row) -> dict:
    return {"reason": "skipped", "detail": row.problem}


def _candidates(arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of all candidate files; refuse no rows, and to write over one of the files."""
    inputs = [*arguments.candidates, *getattr(arguments, "benchmarks", ())]
    files = [Path(name).resolve() for name in (arguments.out, arguments.report, *inputs)]
    if files[0] == files[1] or {*files[:2]} & {*files[2:]}:
        raise AceError("--out, --report and the inputs must be different files; nothing was read")
    rows = chain.from_iterable(read_rows(path, arguments.column) for path in arguments.candidates)
    first = next(rows, None)
    if first is None:
        raise AceError(f"no rows in {', '.join(arguments.candidates)}; nothing was written")
    yield first
    yield from rows


def _read_benchmarks(arguments: argparse.Namespace, skipped: list[dict]) -> dict[str, list[dict]]:
    """Read the benchmarks, each named by its file; rows without a statement go to `skipped`."""
    benchmarks: dict[str, list[dict]] = {}
    for path in arguments.benchmarks:
        name = Path(path).name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".parquet")
        if name in benchmarks:
            raise AceError(f"two benchmarks are called {name!r}; rename one of the files")
        items: dict[str, dict] = {}
        for row in read_rows(path, arguments.benchmark_column):
            item = str(row.place["id"])
            if item in items:
                raise AceError(f"{path}, row {row.number}: id {item!r} repeats; evidence needs one")
            if row.statement:
                items[item] = {"id": item, "prompt": row.statement}
            else:
                skipped.append(row.place | _skip(row))
        benchmarks[name] = list(items.values())
    return benchmarks


def _find_leaks(
    arguments: argparse.Namespace, index: decontaminate.BenchmarkIndex
) -> Iterator[tuple[Row, dict | None]]:
    """Yield every candidate with the evidence against it, None for a clean one."""
    rows = _candidates(arguments)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        found = decontaminate.find_overlaps([row.statement for row in chunk], index)
        leaks = decontaminate.is_contaminated(found, arguments.rule, arguments.coverage)
        for row, leak, *evidence in zip(chunk, leaks, *found.values(), strict=True):
            if leak:
                names = [name.removeprefix("overlap_") for name in found]
                yield row, {"reason": "overlap"} | dict(zip(names, evidence, strict=True))
            else:
                yield row, None if row.statement else _skip(row)


def _deliver(
    arguments: argparse.Namespace, decided: Iterable[tuple[Row, dict | None]], removed: list[dict]
) -> None:
    """Write the kept rows, and those with a reason to the report; print the counts."""
    reasons: Counter[str] = Counter()
    ids: Counter[tuple] = Counter()

    def kept() -> Iterator[dict]:
        for row, evidence in decided:
            ids[row.file, str(row.place["id"])] += 1
            if evidence is None:
                reasons["kept"] += 1
                yield row.data
            else:
                reasons[evidence.get("benchmark", evidence["reason"])] += 1
                removed.append(row.place | evidence)

    def reported() -> Iterator[dict]:  # runs when the report is open
        write_rows(arguments.out, kept())
        yield from removed

    write_rows(arguments.report, reported())
    print(
        f"{reasons.pop('kept', 0)} of {ids.total()} rows kept, {ids.total() - len(ids)} ids repeat"
    )
    for reason, count in sorted(reasons.items()):
        print(f"  {count} removed: {reason}")
