"""How long does notebook 01 take over real training sets, and what does each step remove?

    python benchmarks/curation_pass.py FOLDER [--profile laptop]

FOLDER holds problem files as JSONL.gz. Those named here are the pool, and all others but further
training sets are benchmarks. The notebook runs by papermill, as a user runs it, up to the clean
prompts (no teacher). CPU seconds are of its processes and the start of Jupyter.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import papermill
import peers

from ace_lib import runs

POOL = ("gsm8k_train", "math_train7474", "aime_1983_2023")
PARAMETERS = {
    "num_attempts": 0,
    "decontamination_rule": "any",
    "same_numbers": False,
}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--profile", default="laptop", help="of the other parameters")
    arguments = parser.parse_args()
    files = sorted(arguments.folder.resolve().glob("*.jsonl.gz"))
    pool = [str(path) for path in files if path.name.split(".")[0] in POOL]
    benchmarks = [str(path) for path in files if "_train" not in path.name]
    benchmarks = [path for path in benchmarks if path not in pool]
    values = PARAMETERS | {"sources": pool, "benchmarks": benchmarks, "profile": arguments.profile}
    notebook = runs.default_notebooks_folder() / "01_curate_data.ipynb"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ACE_RUNS"] = folder
        start, cpu = time.monotonic(), cpu_seconds()
        papermill.execute_notebook(notebook, f"{folder}/out.ipynb", values, progress_bar=False)
        wall, cpu = time.monotonic() - start, cpu_seconds() - cpu
        (written,) = Path(folder, arguments.profile).glob("01_curate_data*/curation.json")
        found = runs.read_json(written)
    rows = found["steps"][0]["left"]
    rates = found["estimate"]["rows per core-second"]
    result = {
        "pool": {Path(source["source"]).name: source["rows"] for source in found["sources"]},
        "benchmarks": [Path(path).name for path in benchmarks],
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "load_average": round(os.getloadavg()[1], 1),  # far above the cores: read the CPU seconds
        "step_cpu_s": {step: round(rows / rate, 2) for step, rate in rates.items()},
        "funnel": found["steps"],
        "removed_per_benchmark": found["removed_per_benchmark"],
    }
    peers.save("curation_pass", result, ["datasets", "numpy"])


if __name__ == "__main__":
    main()
