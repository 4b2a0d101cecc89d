"""Data cards agree with their data, and would not if either changed."""

import runpy
from pathlib import Path

import pytest
import yaml

from ace_lib import cards, tinyworld

FOLDER = Path(__file__).resolve().parent.parent / "data_cards"


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    return runpy.run_path(str(FOLDER / "render.py"))["bundled_cards"]()


def test_every_committed_card_agrees_with_its_data(rendered: dict[str, str]) -> None:
    committed = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    assert committed == rendered, "run: python data_cards/render.py"


def test_front_matter_is_what_the_hub_reads(rendered: dict[str, str]) -> None:
    for text in rendered.values():
        matter = yaml.safe_load(text.split("---\n")[1])
        assert matter["license"] == "apache-2.0"
        assert matter["language"] == ["en"]
        assert matter["size_categories"][0] in cards.SIZES


def test_a_changed_row_changes_the_card() -> None:
    rows = tinyworld.benchmark("tiny-aime24")
    card = cards.render_card("x", "About.", {"test": rows}, "make")
    rows[0]["gold"] += "0"
    assert cards.render_card("x", "About.", {"test": rows}, "make") != card


def test_numbers_come_from_the_rows() -> None:
    rows = [
        {"id": str(i), "domain": "math", "topic": "t", "level": i % 2, "prompt": "a " * (i + 1)}
        | {"source": "book" if i else "web"}
        for i in range(5)
    ]
    card = cards.render_card(
        "x", "About.", {"train": rows}, "make", [("dedup", 3, 5)], {"aime24": 2}, {"book": "mit"}
    )
    assert "| train | 5 | 1 | 2 | 3 | 4 | 5 |" in card
    assert "| math | t | 3 | 2 |" in card
    assert "| dedup | 3 | 5 |" in card
    assert "| aime24 | 2 |" in card
    assert "| book | mit | 4 |\n| web | unknown | 1 |" in card
    assert "license: unknown" in card
    both = {"book": "mit", "web": "apache-2.0"}
    card = cards.render_card("x", "About.", {"train": rows}, "make", licenses=both)
    assert "license: other" in card
    with pytest.raises(ValueError, match="empty"):
        cards.render_card("x", "About.", {"train": []}, "make")


@pytest.mark.parametrize(
    ("rows", "name"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**5, "100K<n<1M"), (10**6, "1M<n<10M")],
)
def test_size_categories(rows: int, name: str) -> None:
    assert cards.size_category(rows) == name
