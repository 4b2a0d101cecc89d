"""Wall time per notebook and peak memory of a whole run, made from nothing in a fresh folder.

    .venv/bin/python benchmarks/measure_run.py --profile tiny [--keep FOLDER]

Memory is the sum of resident memory over the process tree, looked at twice a second.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from ace_lib import AceError, memory, pipeline, provenance, runs


def main() -> int:
    """Run the profile and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--keep", type=Path, help="leave the runs in this empty folder")
    arguments = parser.parse_args()
    if arguments.keep and arguments.keep.exists() and any(arguments.keep.iterdir()):
        parser.error(f"{arguments.keep} is not empty: a skipped notebook has no time to measure")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ACE_RUNS"] = str(arguments.keep or folder)
        started = time.monotonic()
        try:
            with memory.PeakMemory() as peak:
                pipeline.run_profile(arguments.profile)
        except AceError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        _print_table(arguments.profile, time.monotonic() - started, peak.gib)
    return 0


def _print_table(profile: str, seconds: float, peak_gib: float) -> None:
    hardware = provenance.hardware()
    print(f"\nprofile {profile}: {hardware['cores']} cores of {hardware['processor']}\n")
    print("| run | seconds | peak memory, GiB |\n|---|---:|---:|")
    for name, timing in runs.read_timings(profile).items():
        print(f"| {name} | {timing['seconds']:.0f} | {timing['peak_memory_gib']:.1f} |")
    print(f"| **all** | **{seconds:.0f}** | **{peak_gib:.1f}** |")


if __name__ == "__main__":
    sys.exit(main())
