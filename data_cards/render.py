"""Write the data cards of the bundled sets anew: `python data_cards/render.py`."""

from pathlib import Path

from ace_lib import cards, tinyworld

POOL_SIZE = {"num_math": 2400, "num_code": 1600, "seed": 0}


def bundled_cards() -> dict[str, str]:
    """Render the cards of all bundled sets: file name -> text."""
    pool = tinyworld.raw_pool(**POOL_SIZE)
    arguments = ", ".join(f"{name}={value}" for name, value in POOL_SIZE.items())
    benchmarks = {name: tinyworld.benchmark(name) for name in tinyworld.benchmarks_of("tiny")}
    return {
        "tiny_raw_pool.md": cards.render_card(
            "tiny-raw-pool",
            "Generated math and code problems as one would scrape them, with defects of known "
            "identity (`planted`), so that each curation step can be scored. Templates, not the "
            "variety of real text. `blueprint` is the solution that only the rule-based teacher "
            "may read.",
            {"pool": pool},
            f'python -c "from ace_lib import tinyworld; tinyworld.raw_pool({arguments})"',
        ),
        "tiny_benchmarks.md": cards.render_card(
            "tiny-benchmarks",
            "Held-out problems of the tiny world. Each set is named for the public benchmark whose "
            "place it takes; it holds none of that benchmark's problems.",
            benchmarks,
            "python -c \"from ace_lib import tinyworld; tinyworld.benchmark('tiny-aime24')\"",
        ),
    }


def main() -> None:
    """Write the cards beside this file."""
    for name, text in bundled_cards().items():
        path = Path(__file__).parent / name
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
