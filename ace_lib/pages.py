"""Pages to read a profile's runs in a browser: one per executed notebook and an index of all."""

import html
import json
import os
from pathlib import Path
from typing import Any

from ace_lib import runs
from ace_lib.steps import Step

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Runs of profile {profile}</title>
<style>
body {{ font-family: sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .35rem .6rem;
          border-bottom: 1px solid #ccc; }}
td.number {{ text-align: right; white-space: nowrap; }}
</style>
</head>
<body>
<h1>Runs of profile {profile}</h1>
<p>{about}</p>
<p>{total}</p>
<table>
<thead><tr><th>run</th><th>state</th><th>seconds</th><th>peak GiB</th><th>summary</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def write_html(notebook: Path) -> Path:
    """Write an executed notebook as a page beside it.

    Args:
        notebook: Path of an executed `.ipynb`.
    """
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter().from_filename(str(notebook))
    return _write_text(notebook.with_suffix(".html"), body)


def write_index(profile: str, steps: list[Step]) -> Path:
    """Write `index.html`, which links the page of every run of the profile."""
    from ace_lib.profiles import load_profile

    folder = runs.profile_folder(profile)
    timings_file = folder / "timings.json"
    timings = runs.read_json(timings_file) if timings_file.exists() else {}
    known = [timings[step.name] for step in steps if step.name in timings]
    seconds = sum(timing["seconds"] for timing in known)
    peak = max((timing["peak_memory_gib"] for timing in known), default=0.0)
    page = INDEX.format(
        profile=html.escape(profile),
        about=html.escape(load_profile(profile).about),
        total=f"{len(known)} of {len(steps)} runs executed, {seconds / 60:.1f} minutes, "
        f"peak memory {peak:.1f} GiB.",
        rows="\n".join(_row(step, timings.get(step.name, {})) for step in steps),
    )
    return _write_text(folder / "index.html", page)


def _row(step: Step, timing: dict[str, Any]) -> str:
    found = runs.state(step.settings.profile, step.name)
    state = "not run" if not found else "complete" if found["done"] else "partial"
    page = step.folder / f"{step.name}.html"
    name = html.escape(step.name)
    links = [f'<a href="{name}/{name}.html">{name}</a>' if page.exists() else name]
    # A notebook may leave further pages, as the report does.
    for other in sorted(step.folder.glob("*.html")) if step.folder.exists() else []:
        if other != page:
            links.append(
                f'<a href="{name}/{html.escape(other.name)}">{html.escape(other.name)}</a>'
            )
    summary = runs.summary(step.settings.profile, step.name) if state == "complete" else {}
    shown = ", ".join(f"{key}: {json.dumps(value)}" for key, value in summary.items())
    return (
        f"<tr><td>{'<br>'.join(links)}</td><td>{state}</td>"
        f'<td class="number">{timing.get("seconds", "")}</td>'
        f'<td class="number">{timing.get("peak_memory_gib", "")}</td>'
        f"<td>{html.escape(shown)}</td></tr>"
    )


def _write_text(path: Path, text: str) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
