"""The claims ledger: what the papers found, what our runs say, and the rule that decides.

A claim is split into *parts*: an effect with its 95 % interval, and the region that the claim puts
it in. The whole interval decides, never its centre:

- `contradicted`: one part lies wholly on the side that the claim excludes;
- `reproduced`: all parts lie wholly inside their regions;
- `no_effect`: none of that, and one part's interval leaves no room for a gain that would matter;
- `inconclusive`: the interval is too wide to say; `not_run`: there is none.

Over one training run the intervals are over problems and do not contain the luck of its seed; over
several they contain both. Published numbers carry a mark: V printed in the paper, Q quoted by
several digests, P one digest or read off a figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ace_lib import AceError, evaluate, metrics, runs, training

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = ("reproduced", "contradicted", "no_effect", "inconclusive", "not_run")
SMALL_GAIN = 2.0  # points; a gain that is surely smaller counts as none (ours)


@dataclass(frozen=True)
class Part:
    """One effect of a claim, and where the claim says it lies: `at_least` <= effect <= `at_most`.

    `refuted_below` / `refuted_above`: an interval wholly beyond them contradicts the claim; they
    default to the edges of the claimed region. `small`: an interval wholly below it leaves no room
    for an effect that matters. `usable=False`: an estimate that cannot decide. `paper`: the
    published effect in the same unit, where one is printed (on the papers' scale). `arms`: what was
    compared, see `describe`.
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
    small: float = -math.inf
    usable: bool = True
    paper: float | None = None
    arms: tuple[dict, ...] = ()

    def supports(self) -> bool:
        """Whether the whole interval lies strictly inside the claimed region."""
        return self.usable and self.low > self.at_least and self.high < self.at_most

    def contradicts(self) -> bool:
        """Whether the whole interval lies on the side that the claim excludes."""
        below = self.at_least if self.refuted_below is None else self.refuted_below
        above = self.at_most if self.refuted_above is None else self.refuted_above
        return self.usable and (self.high < below or self.low > above)

    def is_small(self) -> bool:
        """Whether the interval leaves no room for an effect that matters."""
        return self.usable and not self.supports() and self.high < self.small


def judge(parts: Iterable[Part]) -> str:
    """Verdict over all parts of a claim; `not_run` when there are none."""
    parts = list(parts)
    if not parts:
        return "not_run"
    if any(part.contradicts() for part in parts):
        return "contradicted"
    if all(part.supports() for part in parts):
        return "reproduced"
    return "no_effect" if any(part.is_small() for part in parts) else "inconclusive"


@dataclass(frozen=True)
class Arm:
    """One side of a comparison in one training seed: its answers, and its logs where RL made it."""

    name: str
    table: pd.DataFrame
    log: tuple[dict, ...] = ()


def describe(arms: Sequence[Arm]) -> dict[str, Any]:
    """What was seen of an arm in all seeds: score, answers, and RL from first to last tenth.

    Keys: name, avg, low, high, n, k (points); tokens (mean per answer), truncated, no_answer
    (shares); reward, entropy, length, cut (pairs first → last; absent without RL).
    """
    import pandas as pd

    answers = pd.concat(arm.table for arm in arms)
    seen = {
        "name": arms[0].name,
        **metrics.avg_at_k(*(arm.table for arm in arms)).to_dict(),
        "tokens": float(answers["num_tokens"].astype(float).mean()),
        "truncated": float(answers["truncated"].astype(float).mean()),
        "no_answer": float((answers["status"] == "no_answer").mean()),
    }
    keys = {"reward": "reward", "entropy": "entropy", "length": "mean_length", "cut": "truncated"}
    if all(arm.log for arm in arms):
        for name, key in keys.items():
            ends = [_ends([row[key] for row in arm.log]) for arm in arms]
            seen[name] = [sum(values) / len(values) for values in zip(*ends, strict=True)]
    return seen


def show_arm(seen: dict[str, Any]) -> str:
    """One line about an arm from what `describe` returned."""
    parts = [f"{seen['name']}: {seen['avg']:.1f} [{seen['low']:.1f}, {seen['high']:.1f}]"]
    if "tokens" in seen:
        parts.append(f"answers of {seen['tokens']:.0f} tokens")
        parts.append(f"{seen['truncated']:.0%} truncated, {seen['no_answer']:.0%} without answer")
    if "entropy" in seen:
        parts.append("in training entropy {:.2f} → {:.2f} nats".format(*seen["entropy"]))
        parts.append("reward {:.2f} → {:.2f}".format(*seen["reward"]))
        parts.append("length {:.0f} → {:.0f}".format(*seen["length"]))
        parts.append("truncated {:.0%} → {:.0%}".format(*seen["cut"]))
    return "; ".join(parts)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Mean of the first and of the last tenth of the updates."""
    tenth = max(1, len(values) // 10)
    return sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth


def gain(
    name: str,
    seeds: Sequence[Sequence[Arm]],
    weights: Sequence[float] = (-1.0, 1.0),
    paper: float | None = None,
    k: int | None = None,
) -> Part:
    """Part of a claim that says a contrast is positive; refuted where it is negative.

    Args:
        name: of the effect.
        seeds: for each training seed its arms, as (before, after).
        weights: of the arms; the effect is their weighted sum.
        paper: the published effect, points.
        k: compare pass@k instead of avg@k.
    """
    return Part(name, **_contrast(seeds, weights, k), at_least=0.0, small=SMALL_GAIN, paper=paper)


def about_zero(
    name: str, seeds: Sequence[Sequence[Arm]], margin: float, paper: float | None = None
) -> Part:
    """Part of a claim that says after − before stays within ±`margin` points."""
    effect = _contrast(seeds, (-1.0, 1.0), None)
    return Part(name, **effect, at_least=-margin, at_most=margin, paper=paper)


def _contrast(
    seeds: Sequence[Sequence[Arm]], weights: Sequence[float], k: int | None
) -> dict[str, Any]:
    values = []
    for arms in seeds:
        tables = [arm.table for arm in arms]
        if k is None:
            values.append(metrics.contrast_by_problem(tables, weights))
        else:
            scores = [metrics.pass_at_k_by_problem(table, k) for table in tables]
            values.append(sum(w * s for w, s in zip(weights, scores, strict=True)).dropna())
    arms = tuple(describe(same) for same in zip(*seeds, strict=True))
    samples = k or min(arm["k"] for arm in arms)
    effect = metrics.mean(values, samples, metrics.DIFFERENCE)
    return {**effect.to_dict(), "arms": arms}


class ClaimError(AceError):
    """A run file that a claim reads does not hold what this version writes there."""


class NoData(Exception):
    """A run that a claim needs is not there; the message is the run's name and the reason."""


@dataclass(frozen=True)
class SeedRuns:
    """The finished runs of one profile with one seed, as the verdict rules read them."""

    profile: str
    benchmarks: dict[str, tuple[str, ...]]  # of "math" and "code"

    def folder(self, step: str) -> Path:
        """Folder of a completed run; raises NoData."""
        try:
            return runs.completed(self.profile, step)
        except runs.RunMissing:
            raise NoData(f"{step} has not been run in {self.profile}") from None

    def json(self, step: str, name: str) -> dict:
        """A JSON file of a completed run; raises NoData when run or file is missing."""
        path = self.folder(step) / name
        if not path.is_file():
            raise NoData(f"{step} wrote no {name}")
        return runs.read_json(path)

    def arm(
        self, name: str, step: str, samples: str | Sequence[str], train: Sequence[str] = ()
    ) -> Arm:
        """An arm from the `samples` files and the folders of the `train`ing phases of a run."""
        import pandas as pd

        folder = self.folder(step)
        names = [samples] if isinstance(samples, str) else samples
        table = pd.concat(evaluate.read_table(folder / name) for name in names)
        log = [row for phase in train for row in training.read_metrics(folder / phase)]
        return Arm(name, table, tuple(log))

    def stage_arms(self, first: str, last: str, domain: str) -> tuple[Arm, Arm]:
        """Before stage `first` and after stage `last`, on the benchmarks of a domain."""
        arms = []
        for stage, side in ((first, "before"), (last, "after")):
            step = runs.step_name("08_train_rl_stage", stage)
            scores = self.json(step, "stage.json")[side]
            names = self.benchmarks[domain]
            if not names:
                raise NoData(f"{self.profile} has no {domain} benchmark")
            if missing := [name for name in names if name not in scores]:
                raise NoData(f"{step} did not measure {missing[0]} {side}")
            train = ["train"] if side == "after" else []
            samples = [scores[name]["samples"] for name in names]
            arms.append(self.arm(f"{side} {stage}", step, samples, train))
        return arms[0], arms[1]


Evidence = Sequence[SeedRuns]


def read_evidence(
    profile: str, more_seeds: Sequence[int], math: Sequence[str], code: Sequence[str]
) -> list[SeedRuns]:
    """The runs of a profile with its own seed and others; `math`, `code`: what benchmarks count."""
    benchmarks = {"math": tuple(math), "code": tuple(code)}
    names = [profile, *(f"{profile}@{seed}" for seed in more_seeds)]
    return [SeedRuns(name, benchmarks) for name in names]


@dataclass(frozen=True)
class Claim:
    """One row of the ledger. `published`: (what, numbers, mark); `runs`: the runs it is read from.

    `parts` reads the evidence and raises NoData when there is none.
    """

    id: str
    claim: str
    published: tuple[tuple[str, str, str], ...]
    rule: str
    runs: tuple[str, ...]
    parts: Callable[[Evidence], list[Part]]

    def check(self, evidence: Evidence) -> dict[str, Any]:
        """The ledger row with verdict, effects and note, ready for `claims.json`."""
        parts, note, profile = [], "", evidence[0].profile
        try:
            parts = self.parts(evidence)
        except NoData as reason:
            note = str(reason)
        except KeyError as key:
            raise ClaimError(
                f"claim {self.id!r}: the files of {' and '.join(self.runs)} have no {key}: they "
                f"were made by another version; `ace run --profile {profile} --redo NAME`"
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
            "seeds": len(evidence),
            "effects": [_finite(asdict(part)) for part in parts],
            "note": note,
            "runs": list(self.runs),
            "command": f"ace study --profile {profile} --row {self.id}" if len(evidence) > 1
            else f"ace run --profile {profile} --only {self.runs[-1]}",
        }  # fmt: skip


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: an open side or an unknown becomes null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_all(evidence: Evidence) -> list[dict[str, Any]]:
    """Every row of the ledger, in the order of the papers' story."""
    from ace_lib.claim_rules import LEDGER

    return [claim.check(evidence) for claim in LEDGER]


def write_claims(evidence: Evidence, path: Path) -> list[dict[str, Any]]:
    """Check all claims and write `claims.json`; returns the rows."""
    rows = check_all(evidence)
    counts = {verdict: sum(r["verdict"] == verdict for r in rows) for verdict in VERDICTS}
    profiles = [runs_of.profile for runs_of in evidence]
    runs.write_json(path, {"profiles": profiles, "counts": counts, "claims": rows})
    return rows
