"""The claims ledger as text: for notebook 11, its page, the README and `results/`."""

from collections.abc import Mapping, Sequence

from ace_lib.claims import show_arm
from ace_lib.markup import escape, html_table, markdown_table

VERDICT_COLORS = {
    "reproduced": "#009E73",
    "contradicted": "#D55E00",
    "no_effect": "#B8860B",
    "inconclusive": "#0072B2",
    "not_run": "#666666",
}


def show_verdict(verdict: str) -> str:
    """`no_effect` as words."""
    return verdict.replace("_", " ")


def show_counts(counts: Mapping[str, int]) -> str:
    """`3 reproduced, 1 contradicted, …`."""
    return ", ".join(f"{count} {show_verdict(name)}" for name, count in counts.items())


def show_effect(effect: dict) -> str:
    """One line per effect: name, centre, interval, unit, n, k."""
    size = f"{effect['avg']:+.1f} [{effect['low']:+.1f}, {effect['high']:+.1f}]"
    if effect["unit"] == "ratio":
        size = f"{effect['avg']:.2f} [{effect['low']:.2f}, {effect['high']:.2f}]"
    count = f", n = {effect['n']}" if effect["n"] else ""
    samples = f", k = {effect['k']}" if effect["k"] else ""
    return f"{effect['name']}: {size} {effect['unit']}{count}{samples}"


def table_html(rows: Sequence[dict]) -> str:
    """Ledger as an HTML table: claim, paper, ours, rule, verdict, command."""
    head = ("claim", "paper [mark]", "ours (95 % interval)", "rule", "verdict")
    return html_table(head, map(_claim_row, rows))


def _claim_row(row: dict) -> list[str]:
    published = [f"{p['what']}: {p['value']} [{p['mark']}]" for p in row["published"]]
    ours = [show_effect(effect) for effect in row["effects"]]
    ours += [row["note"]] if row["note"] else []
    color = VERDICT_COLORS[row["verdict"]]
    verdict = f'<b style="color:{color}">{show_verdict(row["verdict"])}</b>'
    return [
        f"<b>{escape(row['id'])}</b><br>{escape(row['claim'])}",
        "<br>".join(map(escape, published)),
        "<br>".join(map(escape, ours)),
        f"<small>{escape(row['rule'])}</small>",
        f"{verdict}<br><small><code>{escape(row['command'])}</code></small>",
    ]


def table_markdown(rows: Sequence[dict]) -> str:
    """Ledger as a Markdown table: claim, ours, verdict, command."""
    body = []
    for row in rows:
        ours = "; ".join([*map(show_effect, row["effects"]), *filter(None, [row["note"]])])
        verdict, command = show_verdict(row["verdict"]), f"`{row['command']}`"
        body.append((f"**{row['id']}** {row['claim']}", ours, verdict, command))
    return markdown_table(("claim", "ours (95 % interval)", "verdict", "command"), body)


def findings(profile: str, rows: Sequence[dict]) -> str:
    """Markdown page: first what did not come out as published, then every row with its arms."""
    lines = [f"# Findings of profile {profile}", "", "Rendered from `claims.json`.", ""]
    surprising = [row for row in rows if row["verdict"] in ("contradicted", "no_effect")]
    lines += ["## Not as published", ""]
    lines += [f"- **{row['id']}** ({show_verdict(row['verdict'])}): {row['claim']}"
              for row in surprising] or ["Nothing."]  # fmt: skip
    lines += ["", "## What was seen of every arm", ""]
    lines += ["Entropy, reward, length and truncation go from the first to the last tenth of the"]
    lines += ["updates of the arm's RL.", ""]
    return "\n".join(lines) + "\n" + "\n".join(map(show_row, rows))


def show_row(row: dict) -> str:
    """Markdown of a ledger row: verdict, rule, effects, and what was seen of the arms."""
    lines = [f"### {row['id']}: {show_verdict(row['verdict'])}", "", row["claim"], ""]
    published = "; ".join(f"{p['what']}: {p['value']} [{p['mark']}]" for p in row["published"])
    lines += [f"Published: {published}", "", f"Rule: {row['rule']}. {row['note']}".rstrip(), ""]
    lines += [f"- {show_effect(effect)}" for effect in row["effects"]]
    arms = [show_arm(arm) for effect in row["effects"] for arm in effect["arms"]]
    lines += ["", "Seen:", "", *(f"- {arm}" for arm in dict.fromkeys(arms))] if arms else []
    return "\n".join([*lines, ""])
