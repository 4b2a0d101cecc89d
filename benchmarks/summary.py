"""Write `README.md` here: what the benchmarks found, as their result files say it.

python benchmarks/summary.py
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent
HEAD = """# Benchmarks

Written by `python benchmarks/summary.py` from the files in `results/`. A ratio is of medians that
one run measured in turns, on a machine that others share; each script says how, and what it needs.
"""


def read(name: str) -> dict:
    return json.loads((FOLDER / "results" / f"{name}.json").read_text(encoding="utf-8"))


def table(columns: tuple[str, ...], rows: list[tuple]) -> list[str]:
    lines = [columns, ("---",) * len(columns), *rows]
    return ["", *("| " + " | ".join(map(str, line)) + " |" for line in lines)]


def verdicts() -> list[str]:
    cost, speed = read("verdict_cost"), read("verify_speed")
    rows = [
        (f"code, {mode}", f"{figures['ours']} ms", peer, f"{figure} ms", f"{ratio} ×")
        for mode, figures in cost["medians"].items()
        for (peer, figure), ratio in zip(
            figures.items(), cost["times_ours"][mode].values(), strict=True
        )
        if not peer.startswith("ours")
    ]
    microseconds = speed["cpu_microseconds_per_verdict"]
    ours, theirs = (f"{microseconds[name] / 1000:.3f} ms" for name in ("kit", "math-verify"))
    rows.append(("math", ours, "math-verify", theirs, f"{speed['ratio']} ×"))
    share = f"{speed['latex_share']:.0%}"
    return [
        "\n## CPU time per verdict\n",
        f"Code: programs with ten trivial tests, isolated by {cost['isolation']}, median of "
        f"{cost['rounds']} rounds (`verdict_cost.py`). Math: {speed['rows']} answers, {share} of "
        f"them LaTeX, median of {speed['rounds']} rounds (`verify_speed.py`).",
        *table(("verdict", "ours", "peer", "peer's", "ratio"), rows),
    ]


def describe(leaks: dict) -> str:
    return (
        f"{leaks['candidates']:,} prompts against {leaks['benchmark_items']:,} items, "
        f"{len(leaks['cpu_seconds']['ours']['all_s'])} rounds, peak memory "
        f"{leaks['peak_memory_mb']:.0f} MB"
    )


def curation() -> list[str]:
    leaks, copies, near = read("decontamination"), read("decontamination_self"), read("dedup")
    jobs = {"9-gram leaks": leaks, "9-gram leaks, with copies": copies, "MinHash signatures": near}
    rows = [
        (job, f"{1000 * result['cpu_seconds']['ours']['median_s']:.0f} ms", peer,
         f"{result['cpu_seconds'][peer]['median_s']:.2f} s", f"{ratio} ×")
        for job, result in jobs.items()
        for peer, ratio in result["times_faster_than"].items()
    ]  # fmt: skip
    return [
        "\n## CPU time of curation, one thread\n",
        f"Leaks, the index included: {describe(leaks)}; with copies, where most prompts are items "
        f"themselves: {describe(copies)} (`decontamination.py`). Signatures: {near['prompts']:,} "
        "prompts (`dedup.py`).",
        *table(("job", "ours", "peer", "peer's", "ratio"), rows),
    ]


def strength() -> list[str]:
    soak, ray = read("soak"), read("ray_scaling")
    kills = sum(soak["kills"].values())
    return [
        "\n## Under load\n",
        f"- `soak.py`: {soak['rows']:,} mixed verdicts in {soak['seconds']:.0f} s while {kills} "
        f"processes were killed at random: {soak['lost']} lost, {soak['out_of_order']} out of "
        f"order, {soak['judged_otherwise']} judged otherwise; memory of the workers × "
        f"{soak['growth']['helpers_mb']}, descriptors × {soak['growth']['helpers_descriptors']}.",
        f"- `ray_scaling.py`: two Ray actors give {ray['two_to_one']} × the verdicts of one.",
    ]


def render() -> str:
    machine = read("verdict_cost")["hardware"]
    where = f"\nMachine: {machine['cores']} cores ({machine['processor']}), {machine['system']}."
    return "\n".join([HEAD.rstrip(), where, *verdicts(), *curation(), *strength(), ""])


if __name__ == "__main__":
    (FOLDER / "README.md").write_text(render(), encoding="utf-8")
