"""The soak of `benchmarks/soak.py`, a hundredth of it."""

import runpy
from pathlib import Path

SOAK = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "soak.py"))["soak"]


def test_no_row_is_lost_or_judged_otherwise_while_workers_are_killed():
    result = SOAK(2000, num_workers=2)
    assert sum(result["kills"].values()) >= 5
    assert result["lost"] == result["out_of_order"] == result["judged_otherwise"] == 0, result
    assert sum(result["verdicts"].values()) == 2000
    assert result["growth"]["own_descriptors"] <= 1 and result["growth"]["own_mb"] < 1.1
