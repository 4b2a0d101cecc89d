"""Scripts that make a Ray cluster of several nodes, each in a process of its own.

Ray decides once in a process, at its import, whether several nodes are allowed on one machine.
"""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
SEVERAL_NODES = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def run_script(name: str) -> str:
    """Run a script of this folder and return what it prints."""
    environment = os.environ | SEVERAL_NODES | {"PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(
        [sys.executable, TESTS / name], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
