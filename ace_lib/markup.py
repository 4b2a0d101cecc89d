"""Tables in Markdown and HTML, and the frame of a page for the browser."""

import html
from collections.abc import Iterable, Sequence

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; margin-bottom: 2rem; }}
th, td {{ text-align: left; vertical-align: top; padding: .35rem .6rem;
          border-bottom: 1px solid #ccc; }}
small {{ color: #555; }}
</style></head>
<body>
<h1>{title}</h1>
{body}
</body></html>
"""


def escape(text: object) -> str:
    """Text as it may stand in HTML, outside of attributes."""
    return html.escape(str(text), quote=False)


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """HTML table, aligned to the left in a notebook too; the cells are HTML (`escape` text)."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag} style='text-align:left'>{cell}</{tag}>" for cell in cells)

    body = "".join(f"<tr>{line(row, 'td')}</tr>\n" for row in rows)
    return f"<table><thead><tr>{line(head, 'th')}</tr></thead><tbody>\n{body}</tbody></table>"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown table; pipes inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
