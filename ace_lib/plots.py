"""One look for every figure, and a `show` that never forgets the alt text.

Colours are Okabe and Ito's eight, which stay apart for colour-blind readers; lines that matter
also differ by marker.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import pandas

from ace_lib import runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, BLACK = "#56B4E9", "#E69F00", "#000000"
PALETTE = [BLUE, ORANGE, GREEN, PINK, AMBER, SKY, BLACK]
MARKERS = "osD^vPX"
STYLE = {
    "axes.grid": True,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
matplotlib.rcParams.update(STYLE)


def figure(
    num_columns: int = 1, num_rows: int = 1, width: float = 7.0, height: float = 3.4
) -> tuple[Figure, Axes]:
    """New figure in the kit's style; axes are an array when there is more than one panel.

    Width and height in inches, of the whole figure. The figure is kept out of pyplot, so nothing
    is drawn twice in a notebook and nothing needs closing.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height))
    return fig, fig.subplots(num_rows, num_columns)


def show(fig: Figure, alt: str, name: str) -> None:
    """Save the figure as PNG in the current run's folder and display it with its alt text.

    Args:
        fig: the figure.
        alt: what a reader who cannot see it must know: axes, finding, numbers.
        name: file name without suffix.

    Raises:
        ValueError: the alt text has fewer than four words.
    """
    if len(alt.split()) < 4:
        raise ValueError(f"alt text {alt!r} tells too little: say what the figure shows")
    from IPython.display import HTML, display

    image = io.BytesIO()
    fig.savefig(image, format="png", metadata={"Description": alt})
    if run := runs.current():
        (run.folder / f"{name}.png").write_bytes(image.getvalue())
    data = base64.b64encode(image.getvalue()).decode()
    style, text = "max-width:100%;height:auto", html.escape(alt)
    display(HTML(f'<img style="{style}" alt="{text}" src="data:image/png;base64,{data}">'))


def errorbars(
    axes: Axes,
    x: Sequence[float],
    estimates: Sequence[Mapping],
    label: str = "",
    color: str | None = None,
    marker: str = "o",
    line: bool = True,
) -> None:
    """Points with 95 % intervals from dicts that hold `avg` (or `score`), `low` and `high`."""
    centre = [e["avg"] if "avg" in e else e["score"] for e in estimates]
    below = [c - e["low"] for c, e in zip(centre, estimates, strict=True)]
    above = [e["high"] - c for c, e in zip(centre, estimates, strict=True)]
    style = {"capsize": 3, "marker": marker, "linestyle": "-" if line else "none"}
    axes.errorbar(x, centre, yerr=[below, above], label=label or None, color=color, **style)


def arms(
    axes: Axes, rows: Sequence[Mapping], unit: str = "avg@k (points)", label: str = ""
) -> None:
    """Horizontal dot-and-interval chart of {name, score|avg, low, high, color}, first row on top.

    A `color` may be left out; `label` names the dots in the legend.
    """
    for place, row in enumerate(rows):
        centre = row["avg"] if "avg" in row else row["score"]
        reach = [[centre - row["low"]], [row["high"] - centre]]
        style = {"color": row.get("color", BLUE), "label": "" if place else label}
        axes.errorbar([centre], [place], xerr=reach, fmt="o", capsize=3, **style)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(unit)


def entropy_curve(axes: Axes, measurements: Sequence[Mapping], target: float) -> None:
    """Temperature-adjusted entropy over T with 95 % intervals, and the band around its target.

    `measurements` are `entropy.measure_entropy` results, as a `TemperatureChoice` holds them.
    """
    rows = sorted(measurements, key=lambda row: row["temperature"])
    estimates = [{**row, "avg": row["mean"]} for row in rows]
    errorbars(axes, [row["temperature"] for row in rows], estimates)
    axes.axhspan(target - 0.05, target + 0.05, alpha=0.15, label="target")
    axes.set(xlabel="T", ylabel="nats per token")
    axes.legend()


def doubling_axis(axes: Axes) -> None:
    """Horizontal axis on which every step doubles, with plain numbers at the ticks."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")


def smooth(values: Sequence[float | None], window: int) -> list[float]:
    """Mean of the last `window` values at each step, fewer at the start; None values skipped."""
    return pandas.Series(values, dtype=float).rolling(window, min_periods=1).mean().tolist()


def training_curve(
    axes: Axes,
    metrics: Sequence[Mapping],
    key: str,
    label: str = "",
    color: str | None = None,
    window: int = 5,
    start: int = 0,
) -> int:
    """One logged metric over steps: raw faint, running mean strong; returns the next first step.

    `start` shifts the curve, so that curves of successive stages join end to end.
    """
    rows = [row for row in metrics if row.get(key) is not None]
    steps = [start + row["step"] for row in rows]
    values = [row[key] for row in rows]
    (line,) = axes.plot(steps, smooth(values, window), color=color, label=label or None)
    axes.plot(steps, values, color=line.get_color(), alpha=0.25, linewidth=1)
    axes.set_xlabel("update step")
    return max(steps, default=start)


def paper_vs_ours(axes: Axes, rows: Sequence[Mapping]) -> None:
    """Effects with intervals beside published ones: {name, paper or None, avg, low, high, color}.

    First row on top; a line marks zero.
    """
    arms(axes, rows, "effect (points)", "ours, 95 % interval")
    papers = [(row["paper"], place) for place, row in enumerate(rows) if row["paper"] is not None]
    if papers:
        axes.plot(*zip(*papers, strict=True), "D", color=PINK, label="paper, on its own scale")
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.legend(loc="best")
