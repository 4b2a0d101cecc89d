"""Judge every labelled program on a kernel that refuses some calls; print the verdicts as JSON.

    python tests/attack_suite.py [shared|isolated] [namespaces] [landlock] [seccomp]

What is named is refused by a system call filter, as a container's default profile does it. Programs
that only use up time and memory are left out then: the limits on both do not depend on it.
"""

import json
import platform
import sys
from pathlib import Path

import yaml

from ace_lib import AceError, sandbox_locks
from ace_lib.verify import Verifier

DATA = Path(__file__).parent.parent / "notebooks" / "data" / "verifier_programs.yaml"
LABELLED = yaml.safe_load(DATA.read_text(encoding="utf-8"))
_UNSHARE = {"x86_64": 272, "aarch64": 97}
_LOAD_CALL, _ALLOW = (0x20, 0, 0, 0), (0x06, 0, 0, 0x7FFF0000)


def program_row(entry: dict) -> dict:
    """The row of a labelled program, with limits that soon end what is known to be endless."""
    problem = LABELLED["problems"][entry["problem"]]
    limits = {
        "time_limit": 0.2 if entry.get("status") == "timeout" else 5.0,
        "memory_mb": 256 if entry["category"] == "resources" else 1024,
    }
    return {"id": entry["name"], "domain": "code", **problem, **limits, "program": entry["program"]}


def refuse_calls(names: list[str]) -> None:
    """Let the kernel refuse what namespaces, Landlock or seccomp need, from here on."""
    machine = platform.machine()
    calls = sandbox_locks._MACHINES[machine][2]
    refused = sandbox_locks._refuse(1)
    code = [_LOAD_CALL]
    if "namespaces" in names:
        code += sandbox_locks._conditional(_UNSHARE[machine], [refused])
    if "landlock" in names:
        code += sandbox_locks._conditional(sandbox_locks._LANDLOCK_CREATE, [refused])
    if "seccomp" in names:
        is_seccomp = [sandbox_locks._argument(0), (0x15, 0, 1, 22), refused, _ALLOW]
        code += sandbox_locks._conditional(calls["prctl"], is_seccomp)
    sandbox_locks.forbid_privileges()
    sandbox_locks.install_filter([*code, _ALLOW])


def main() -> None:
    """Print one verdict per program, or the reason why programs cannot be run here."""
    mode, *refused = sys.argv[1:]
    if refused:
        refuse_calls(refused)
    try:
        with Verifier(num_workers=4, isolated=mode == "isolated") as verifier:
            entries = [e for e in LABELLED["programs"]
                       if not refused or e["category"] != "resources"]  # fmt: skip
            verdicts = verifier.verify([program_row(entry) for entry in entries])
    except AceError as error:
        print(json.dumps({"refused": str(error)}))
    else:
        print(json.dumps({"verdicts": [vars(verdict) for verdict in verdicts]}))


if __name__ == "__main__":
    main()
