"""The papers' claims over several training seeds: `ace study`.

A study is a profile that is run once per seed, each time as `ace run` does, in a folder of its own
(`runs/<profile>` and `runs/<profile>@<seed>`). Notebook 11 then weighs all of them at once. What is
complete is skipped, so the same command resumes.
"""

from collections import ChainMap
from collections.abc import Sequence

from ace_lib import AceError, claim_rules, claims, ledger, pipeline, runs
from ace_lib.steps import Step, read_steps

REPORT = "11_report"


def run_study(profile: str, row: str = "") -> None:
    """Run what is not complete, of every seed in turn, and show the ledger.

    `more_seeds` of the profile's notebook 11 names the other seeds. With the id of a claim as
    `row`, only what it is read from is run, and its verdict shown. Raises AceError.
    """
    claim = _claim(row) if row else None
    report = next(step for step in read_steps(profile) if step.notebook == REPORT)
    settings = report.settings
    evidence = claims.read_evidence(
        profile, settings.more_seeds, settings.benchmarks_math, settings.benchmarks_code
    )
    names = [seed.profile for seed in evidence]
    wanted = [step for name in names for step in steps_of(name, claim)]
    for place, step in enumerate(wanted):
        if not pipeline.is_complete(step):
            left = _remaining_minutes(wanted[place:], names)
            print(f"{place + 1}/{len(wanted)}: {step.settings.profile} {step.name}; {left} to go")
            pipeline.run_profile(step.settings.profile, only=step.name)
    if claim:
        print(ledger.show_row(claim.check(evidence)))
    else:
        # Its inputs in other seeds' folders are not tracked, and it takes seconds.
        redo = REPORT if report.folder.exists() else ""
        pipeline.run_profile(profile, only=REPORT, redo=redo)


def steps_of(profile: str, claim: claims.Claim | None) -> list[Step]:
    """Steps of a profile that a claim is read from, with all that these build on; None is all."""
    steps = [step for step in read_steps(profile) if step.notebook != REPORT]
    if claim is None:
        return steps
    by_name = {step.name: step for step in steps}
    needed, open_ = set(), list(claim.runs)
    while open_:
        name = open_.pop()
        if name not in needed:
            needed.add(name)
            open_ += by_name[name].inputs
    return [step for step in steps if step.name in needed]


def _claim(row: str) -> claims.Claim:
    by_id = {claim.id: claim for claim in claim_rules.LEDGER}
    if row not in by_id:
        raise AceError(f"no claim {row!r} in the ledger: the claims are {', '.join(by_id)}")
    return by_id[row]


def _remaining_minutes(steps: Sequence[Step], profiles: Sequence[str]) -> str:
    """Time that the incomplete steps will take, as their like took in another seed."""
    measured = ChainMap(*map(runs.read_timings, profiles))
    waiting = [step.name for step in steps if not pipeline.is_complete(step)]
    if not measured.keys() >= set(waiting):
        return f"{len(waiting)} runs"
    minutes = sum(measured[name]["seconds"] for name in waiting) / 60
    return f"{len(waiting)} runs, about {minutes:.0f} minutes"
