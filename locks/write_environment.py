"""Write environment.yml: python and pip from conda, every other package from locks/gpu.txt."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# The GPU environment through conda: conda env create -f environment.yml && conda activate ace
# Written by `make locks` from locks/gpu.txt; do not edit by hand.
name: ace
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def main() -> None:
    """Write the file."""
    lines = (ROOT / "locks" / "gpu.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    body = "".join(f"      - {pin}\n" for pin in [*pins, "-e ."])
    (ROOT / "environment.yml").write_text(HEAD + body)


if __name__ == "__main__":
    main()
