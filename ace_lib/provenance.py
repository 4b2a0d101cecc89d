"""Where a run came from: commit, lock, library, versions and hardware, for its manifest."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets", "math-verify", "vllm")


@cache
def collect() -> dict[str, Any]:
    """Return git commit, lock, library hash, versions and hardware of this process."""
    lock = lock_file()
    versions = {package: installed_version(package) for package in PACKAGES}
    return {
        "git_commit": _output_of("git", "rev-parse", "HEAD"),
        "git_dirty": bool(_output_of("git", "status", "--porcelain")),
        "lock": lock.name,
        "lock_sha256": hash_file(lock) if lock.is_file() else None,
        "library_sha256": hash_library(),
        "versions": {"python": platform.python_version()}
        | {package: version for package, version in versions.items() if version},
        "hardware": hardware(),
    }


def repository() -> Path:
    """Return the root of this checkout."""
    return Path(__file__).resolve().parent.parent


def lock_file() -> Path:
    """Return the lock this environment was made from: the GPU one where vLLM is installed."""
    return lock_folder() / ("gpu.txt" if installed_version("vllm") else "cpu.txt")


def lock_folder() -> Path:
    """Return the folder of both locks."""
    return repository() / "locks"


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_library() -> str:
    """Return the SHA-256 of all Python source of this package."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def installed_version(package: str) -> str | None:
    """Return the installed version of a package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def hardware() -> dict[str, Any]:
    """Return processor, cores open to this process, memory in GiB, GPUs and system."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus(),
        "system": platform.platform(),
    }


def gpus() -> list[str]:
    """Return the names and memory of the NVIDIA GPUs, without importing torch."""
    query = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return (_output_of(*query) or "").splitlines()


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _output_of(*command: str) -> str | None:
    """Return what a command prints in this checkout, None where it is missing or fails."""
    try:
        result = subprocess.run(
            command, cwd=repository(), capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
