"""Results of a profile's runs as tables: for the README, for notebook 11, and as one HTML page.

Nothing here is typed in: every number is read from a run's files, and every row of the results
table carries the command that makes it again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ace_lib import AceError, ledger, runs
from ace_lib.markup import PAGE, escape, html_table, markdown_table
from ace_lib.profiles import load_profile, stages

BEGIN, END = "<!-- {profile}:begin -->", "<!-- {profile}:end -->"  # around a README's results


class ReportError(AceError):
    """The README or the runs do not allow the report to be written."""


@dataclass(frozen=True)
class Result:
    """One measured model: benchmark -> {avg, low, high, n, k}, and the run that made it."""

    model: str
    run: str
    command: str
    scores: dict[str, dict]


def collect_results(profile: str) -> list[Result]:
    """Every model of the main line that was measured: base, SFT, after each RL stage.

    Runs that are not complete are left out.
    """
    sources = [
        ("base model", "03_measure_models", "measure.json", "benchmarks"),
        ("after SFT", "05_train_sft", "sft.json", "evaluation"),
    ]
    sources += [
        (f"after RL stage {stage.name}", f"08_train_rl_stage-{stage.name}", "stage.json", "after")
        for stage in stages()
    ]
    results = []
    for model, step, name, key in sources:
        try:
            scores = runs.read_json(runs.completed(profile, step) / name)[key]
        except runs.RunMissing:
            continue
        results.append(Result(model, step, command_of(profile, step), scores))
    return results


def command_of(profile: str, step: str) -> str:
    """Command that makes a run again: `ace run`, or papermill where it was run with overrides."""
    if step in runs.read_timings(profile):
        return f"ace run --profile {profile} --only {step}"
    manifest = runs.read_json(runs.completed(profile, step) / "manifest.json")
    given = [name for name, origin in manifest["origins"].items() if origin == "papermill"]
    options = [f"-y '{name}: {json.dumps(_portable(manifest['parameters'][name]))}'"
               for name in given]  # fmt: skip
    return " ".join(["papermill", f"notebooks/{manifest['notebook']}.ipynb", "out.ipynb", *options])


def _portable(value: object) -> object:
    """The value with absolute paths cut to file names: they mean nothing on another machine."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    is_path = isinstance(value, str) and Path(value).is_absolute()
    return Path(value).name if is_path else value


def show_score(score: dict | None) -> str:
    """`52.1 [48.0, 56.2]`, or a dash where nothing was measured."""
    if not score:
        return "–"
    return f"{score['avg']:.1f} [{score['low']:.1f}, {score['high']:.1f}]"


def results_markdown(results: Sequence[Result]) -> str:
    """Results as a Markdown table, one row per model with its command."""
    return markdown_table(*_results_table(results, "`{}`"))


def _results_table(results: Sequence[Result], code: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows; `code` is the form of names and commands."""
    names = list(dict.fromkeys(name for result in results for name in result.scores))
    head = ["model", *map(code.format, names), "command"]
    return head, [
        [r.model, *(show_score(r.scores.get(name)) for name in names), code.format(r.command)]
        for r in results
    ]


def collect_costs(profile: str) -> list[dict]:
    """Per completed run {run, seconds, peak_gib, git_commit}, in the order of the recipe.

    Peak memory of all processes of a run is known when `ace run` executed it; None otherwise.
    """
    timings = runs.read_timings(profile)
    place = {stage.name: number for number, stage in enumerate(stages())}
    folders = [path.parent for path in runs.profile_folder(profile).glob("[0-9][0-9]_*/DONE")]
    folders.sort(key=lambda path: (path.name[:2], place.get(path.name.partition("-")[2], 0)))
    costs = []
    for folder in folders:
        manifest = runs.read_json(folder / "manifest.json")
        seconds = timings.get(folder.name, manifest)["seconds"]
        peak = timings.get(folder.name, {}).get("peak_memory_gib")
        costs.append({"run": folder.name, "seconds": seconds, "peak_gib": peak,
                      "git_commit": manifest["git_commit"]})  # fmt: skip
    return costs


def show_protocol(results: Sequence[Result]) -> str:
    """Sentence that says what the numbers of the results table are."""
    scores = [score for result in results for score in result.scores.values()]
    problems = sorted({score["n"] for score in scores})
    samples = sorted({score["k"] for score in scores})

    def span(values: list[int]) -> str:
        return str(values[0]) if len(values) == 1 else f"{values[0]}–{values[-1]}"

    return (
        f"avg@{span(samples)} in points with 95 % intervals over problems "
        f"({span(problems)} per benchmark)."
    )


def readme_block(profile: str) -> str:
    """Text between the README's markers: results, protocol, hardware, time, verdict counts.

    Raises ReportError: no model of this profile has been measured yet.
    """
    folder = _ledger_folder(profile)
    if folder and len(runs.read_json(folder / "claims.json")["profiles"]) > 1:
        return _study_block(profile, folder)
    results = collect_results(profile)
    if not results:
        raise ReportError(f"no measured model in {runs.profile_folder(profile)}: run it first")
    manifest = runs.read_json(runs.completed(profile, results[-1].run) / "manifest.json")
    costs = collect_costs(profile)
    minutes = sum(cost["seconds"] for cost in costs) / 60
    lines = [
        results_markdown(results),
        f"Profile `{profile}`, {show_protocol(results)} "
        f"Notebook runs: {len(costs)}, seed {manifest['parameters']['seed']}, "
        f"{minutes:.1f} minutes in all on {_made_on(manifest, costs)}",
    ]
    if results[0].run == "03_measure_models":
        lines.append(_sampling_note(runs.completed(profile, results[0].run)))
    if folder:
        lines.insert(0, _figure(profile, folder, "road.png"))
        counts = ledger.show_counts(runs.read_json(folder / "claims.json")["counts"])
        lines.append(f"Claims ledger: {counts} (`ace run --profile {profile} --only 11_report`).")
    return "\n\n".join(lines)


def _sampling_note(folder: Path) -> str:
    """What notebook 03 sampled, in what time, and how often no answer had the asked form."""
    from ace_lib import benchmarks, evaluate

    measured = runs.read_json(folder / "measure.json")
    seconds = measured["seconds"]  # None when the run was resumed
    time = f" in {seconds / 60:.1f} minutes, verdicts included" if seconds else ""
    tables = benchmarks.split(evaluate.read_table(folder / "evaluation/samples.jsonl.gz"))
    shares = ", ".join(
        f"{(table['status'] == 'no_answer').mean():.0%} of `{name}`"
        for name, table in tables.items()
    )
    return (
        f"Notebook 03 sampled `{measured['model']}`: {measured['num_tokens']:,} tokens{time}. "
        f"No `\\boxed{{}}` and no closed program was found in {shares}."
    )


def _made_on(manifest: dict, costs: Sequence[dict]) -> str:
    """End of a sentence: the machine of a run, its commit, and the runs made at another."""
    hardware, commit = manifest["hardware"], manifest["git_commit"]
    machine = ", ".join(hardware["gpus"]) or hardware["processor"]
    others = {
        (cost["run"], cost["git_commit"])
        for cost in costs
        if cost["git_commit"] != commit and cost["run"] != "11_report"  # which only reads
    }
    made = [
        f"Commit `{str(commit)[:9]}`",
        *(f"{run} at `{str(at)[:9]}`" for run, at in sorted(others, key=str)),
    ]
    return f"{hardware['cores']} cores ({machine}). {', '.join(made)}."


def _figure(profile: str, folder: Path, name: str) -> str:
    """Markdown of a run's figure, as `publish` keeps it, with the alt text saved in it."""
    from PIL import Image  # comes with matplotlib

    with Image.open(folder / name) as image:
        return f"![{image.text['Description']}](results/{profile}/{name})"


def _study_block(profile: str, folder: Path) -> str:
    """Text between the README's markers for a study: the ledger over all its seeds."""
    found = runs.read_json(folder / "claims.json")
    measured = collect_results(profile)[-1].run  # the report itself may be of a later commit
    manifest = runs.read_json(runs.completed(profile, measured) / "manifest.json")
    costs = [cost for name in found["profiles"] for cost in collect_costs(name)]
    minutes = sum(cost["seconds"] for cost in costs) / 60
    return "\n\n".join(
        [
            _figure(profile, folder, "effects.png"),
            ledger.table_markdown(found["claims"]),
            f"Profile `{profile}`, {len(found['profiles'])} training seeds "
            f"({', '.join(found['profiles'])}): {ledger.show_counts(found['counts'])}. 95 % "
            f"intervals over seeds and problems. {minutes:.0f} minutes of runs on "
            f"{_made_on(manifest, costs)} What was seen of every arm: "
            f"[results/{profile}/findings.md](results/{profile}/findings.md).",
        ]
    )


def _ledger_folder(profile: str) -> Path | None:
    """Folder of notebook 11's run, where it is complete."""
    done = (runs.state(profile, "11_report") or {}).get("done")
    return runs.completed(profile, "11_report") if done else None


def update_readme(readme: Path, profile: str) -> bool:
    """Replace what stands between the profile's markers of a README; say whether it changed.

    Raises ReportError: a marker is missing, or nothing was measured.
    """
    begin, end = BEGIN.format(profile=profile), END.format(profile=profile)
    text = readme.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ReportError(f"{readme} must hold one line {begin} and, below it, one line {end}")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    updated = f"{before}{begin}\n{readme_block(profile)}\n{end}{after}"
    if updated != text:
        readme.write_text(updated, encoding="utf-8")
    return updated != text


def publish(profile: str, repository: Path) -> list[Path]:
    """Copy what a profile's runs showed into `results/<profile>/` and render the README from it.

    Returns the files written: the scores with commit, versions and hardware; where notebook 11 is
    complete, the ledger, its findings in words and three figures as well. Raises ReportError when
    no model was measured, or the README has no place for this profile.
    """
    update_readme(repository / "README.md", profile)
    results = collect_results(profile)
    manifest = runs.read_json(runs.completed(profile, results[-1].run) / "manifest.json")
    folder = repository / "results" / profile
    kept = ("git_commit", "git_dirty", "versions", "hardware", "parameters")
    record = {
        "profile": profile,
        **{key: _portable(manifest[key]) for key in kept},
        "models": [asdict(result) for result in results],
        "costs": collect_costs(profile),
    }
    written = [runs.write_json(folder / "results.json", record)]
    if found := _ledger_folder(profile):
        for name in ("claims.json", "road.png", "effects.png", "score-over-entropy.png"):
            written.append(Path(shutil.copy(found / name, folder / name)))
        rows = runs.read_json(found / "claims.json")["claims"]
        written.append(runs.write_text(folder / "findings.md", ledger.findings(profile, rows)))
    return written


def write_page(profile: str, claim_rows: Sequence[dict], path: Path) -> Path:
    """Write the report page: ledger, results, cost, deviations from the paper."""
    results = _results_table(collect_results(profile), "<code>{}</code>")
    costs = [[str(cost[key] or "–") for key in ("run", "seconds", "peak_gib")]
             for cost in collect_costs(profile)]  # fmt: skip
    deviations = [f"<li>{escape(text)}</li>" for text in load_profile(profile).deviates_from_paper]
    sections = {
        "Claims": ledger.table_html(claim_rows),
        "Results": html_table(*results),
        "Cost": html_table(("run", "seconds", "peak GiB"), costs),
        "Deviations from the papers": f"<ul>{''.join(deviations)}</ul>",
    }
    body = "\n".join(f"<h2>{title}</h2>\n{content}" for title, content in sections.items())
    return runs.write_text(path, PAGE.format(title=f"Report of profile {profile}", body=body))
