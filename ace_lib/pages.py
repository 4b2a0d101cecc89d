"""Pages to read a profile's runs in a browser: one per executed notebook and an index of all."""

import json
from pathlib import Path
from typing import Any

from ace_lib import runs
from ace_lib.markup import PAGE, escape, html_table
from ace_lib.profiles import load_profile
from ace_lib.steps import Step


def write_html(notebook: Path) -> Path:
    """Write an executed notebook (`.ipynb`) as a page beside it."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter().from_filename(str(notebook))
    return runs.write_text(notebook.with_suffix(".html"), body)


def write_index(profile: str, steps: list[Step]) -> Path:
    """Write `index.html`, which links the page of every run of the profile."""
    timings = runs.read_timings(profile)
    known = [timings[step.name] for step in steps if step.name in timings]
    minutes = sum(timing["seconds"] for timing in known) / 60
    peak = max((timing["peak_memory_gib"] for timing in known), default=0.0)
    head = ("run", "state", "seconds", "peak GiB", "summary")
    body = (
        f"<p>{escape(load_profile(profile).about)}</p>\n"
        f"<p>{len(known)} of {len(steps)} runs executed, {minutes:.1f} minutes, "
        f"peak memory {peak:.1f} GiB.</p>\n"
        + html_table(head, [_row(step, timings.get(step.name, {})) for step in steps])
    )
    page = PAGE.format(title=f"Runs of profile {escape(profile)}", body=body)
    return runs.write_text(runs.profile_folder(profile) / "index.html", page)


def _row(step: Step, timing: dict[str, Any]) -> tuple[str, ...]:
    found = runs.state(step.settings.profile, step.name)
    state = "not run" if not found else "complete" if found["done"] else "partial"
    page = step.folder / f"{step.name}.html"
    links = [f'<a href="{step.name}/{page.name}">{step.name}</a>' if page.exists() else step.name]
    # A notebook may leave further pages, as the report does.
    others = sorted(path.name for path in step.folder.glob("*.html") if path != page)
    links += [f'<a href="{step.name}/{other}">{other}</a>' for other in others]
    summary = runs.summary(step.settings.profile, step.name) if state == "complete" else {}
    shown = ", ".join(f"{key}: {json.dumps(value)}" for key, value in summary.items())
    numbers = [str(timing.get(key, "")) for key in ("seconds", "peak_memory_gib")]
    return "<br>".join(links), state, *numbers, escape(shown)
