"""What `benchmarks/README.md` says is what the result files hold."""

import runpy
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "benchmarks"


def test_the_summary_of_benchmarks_is_that_of_their_results():
    render = runpy.run_path(str(FOLDER / "summary.py"))["render"]
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert text == render(), "run python benchmarks/summary.py"
