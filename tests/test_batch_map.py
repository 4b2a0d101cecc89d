"""One machine and a Ray cluster of two nodes give the same rows."""

from importlib.util import find_spec

import datasets
import pytest
from ray_cluster import run_script

from ace_lib import AceError, batch_map, curate, problems, tinyworld

needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="pip install '.[ray]'")
POOL = tinyworld.raw_pool(1500, 900, seed=2)


@pytest.fixture(scope="module")
def table() -> datasets.Dataset:
    rows = [{name: row[name] for name in problems.SCHEMA} for row in POOL]
    return datasets.Dataset.from_dict(problems.to_columns(rows))


@needs_ray
@pytest.mark.slow
def test_two_nodes_and_one_machine_give_the_same_rows() -> None:
    printed = run_script("two_nodes.py")
    assert f"{len(POOL)} rows on 2 nodes" in printed
    assert "files of notebook 01 are the same" in printed


def test_a_marked_column_is_replaced_and_no_row_is_lost(table) -> None:
    marked = batch_map.map_batches(table, curate.mark_excluded)
    again = batch_map.map_batches(marked, curate.mark_excluded)
    assert again.to_list() == marked.to_list() and len(marked) == len(POOL)


def test_an_unknown_engine_is_refused(table) -> None:
    with pytest.raises(AceError, match="'spark' is unknown"):
        batch_map.map_batches(table, curate.mark_excluded, engine="spark")


def test_the_estimate_is_proportional() -> None:
    found = batch_map.core_hours({"rules": 3.6, "dedup": 0.9}, 100_000)
    assert found == pytest.approx({"rules": 1.0, "dedup": 0.25})
