"""Compares batch functions, and notebook 01 as a whole, on one machine with a Ray cluster of two
nodes; run by its test.

In a process of its own, because Ray decides when it is imported whether a cluster may have several
nodes, and another test needs the other answer.
"""

import os
import tempfile
from pathlib import Path

import datasets
import papermill
import ray
from ray.cluster_utils import Cluster

from ace_lib import batch_map, curate, decontaminate, problems, runs, tinyworld

OF_THE_RUN = ("manifest.json", "DONE")  # parameters and times of a run
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


def where_it_ran(columns: dict[str, list]) -> dict[str, list]:
    return {"node": [ray.get_runtime_context().get_node_id()] * len(columns["id"])}


def curate_in_notebook(engine: str, address: str) -> dict[str, object]:
    """Run notebook 01 and return what it writes, by file."""
    notebook = runs.default_notebooks_folder() / "01_curate_data.ipynb"
    values = {"profile": "smoke", "map_engine": engine, "ray_address": address}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ACE_RUNS"] = folder
        papermill.execute_notebook(notebook, f"{folder}/out.ipynb", values, progress_bar=False)
        (run,) = Path(folder, "smoke").glob("01_curate_data*")
        written = {
            str(path.relative_to(run)): path.read_bytes()
            for path in run.rglob("*")
            if path.is_file() and path.name not in OF_THE_RUN
        }
        found = runs.read_json(run / "curation.json")
    del found["estimate"]  # seconds
    return written | {"curation.json": found}


def main() -> None:
    pool = tinyworld.raw_pool(1500, 900, seed=2)
    rows = [{name: row[name] for name in problems.SCHEMA} for row in pool]
    table = datasets.Dataset.from_dict(problems.to_columns(rows))
    indexes = {
        "math": decontaminate.build_index({"m": tinyworld.benchmark("tiny-aime24")}, 9),
        "code": decontaminate.build_index({"c": tinyworld.benchmark("tiny-lcb5")}, 14),
    }
    arguments = {"indexes": indexes, "rule": "any", "coverage": 0.5, "same_numbers": False}
    nodes = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    nodes.add_node(**NODE)
    nodes.wait_for_nodes()
    for function, given in (
        (decontaminate.mark_contaminated, arguments),
        (curate.mark_excluded, None),
    ):
        here = batch_map.map_batches(table, function, given)
        there = batch_map.map_batches(table, function, given, "ray", nodes.address)
        assert there.column_names == here.column_names
        assert there.to_list() == here.to_list()
        table = there  # the next step goes on from what the cluster returned
    placed = batch_map.map_batches(table, where_it_ran, engine="ray", address=nodes.address)
    here, there = curate_in_notebook("datasets", ""), curate_in_notebook("ray", nodes.address)
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
    print(len(here), "files of notebook 01 are the same")
    print(len(table), "rows on", len(set(placed["node"])), "nodes")
    ray.shutdown()
    nodes.shutdown()


if __name__ == "__main__":
    main()
