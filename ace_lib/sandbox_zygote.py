"""The inside of the sandbox: a warmed process that forks one locked-down child per program.

Started by `ace_lib.sandbox` with an empty environment; it never sees a program, an input or an
expected output. Judging happens in the process that started it.
"""

import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from ace_lib import sandbox_child, sandbox_locks

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # all a program sees
MAIN_STACK_BYTES = 120 * 2**20
MAX_THREADS = 4096
_libc = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock, which a child inherits


def serve(control: socket.socket) -> None:
    """Fork a child for each request on `control` until the other end closes."""
    lock_child = sandbox_locks.prepare_child_filter()
    gc.collect()
    gc.freeze()
    while True:
        message, fds, _, _ = socket.recv_fds(control, 4096, 8)
        if not message:
            return
        if message in (b"q", b"k"):
            continue  # asked just before the child ended; its report has answered already
        limits = json.loads(message)
        pid = _fork()
        if pid == 0:
            control.close()
            _become_child(fds, limits, lock_child)
        for fd in fds:
            os.close(fd)
        if not _supervise(control, pid):
            return


def _fork() -> int:
    """As `os.fork`, without what Python mends in a child: one of a single thread is not broken.

    Half of a child's cost would be the pages that the mending touches.
    """
    pid = _libc.fork()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def _supervise(control: socket.socket, pid: int) -> bool:
    """Answer `q` (CPU clock) and `k` (kill) until the child is gone, then report how it ended."""
    child = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(child, select.POLLIN)
    alive_parent = True
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if child in ready:
            break
        request = control.recv(16)
        if request == b"q":
            control.send(json.dumps(_clocks(pid)).encode())
            continue
        os.kill(pid, signal.SIGKILL)
        if not request:
            alive_parent = False
        break
    os.close(child)
    _, status, usage = os.wait4(pid, 0)
    if alive_parent:
        report = {
            "end": os.waitstatus_to_exitcode(status),
            "cpu": usage.ru_utime + usage.ru_stime,
            "rss_kb": usage.ru_maxrss,
        }
        control.send(json.dumps(report).encode())
    return alive_parent


def _clocks(pid: int) -> dict[str, float]:
    """CPU seconds the child has used so far; -1 when it is just gone."""
    try:
        return {"cpu": time.clock_gettime((~pid << 3) | 2)}  # the kernel's clock id of a process
    except OSError:
        return {"cpu": -1.0}


def _become_child(fds: list[int], limits: dict[str, int], lock_child: Callable[[], None]) -> None:
    """Run one program under its limits and the child's locks; never returns."""
    try:
        for name, value in limits.items():
            _limit(name, value)
        lock_child()
        sandbox_child.Child(*fds).serve()
    finally:
        os._exit(1)


def _set_common_limits() -> None:
    """Kernel limits that are the same for all programs, the zygote included."""
    _limit("RLIMIT_NOFILE", 64)
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_NPROC", MAX_THREADS + _count_threads(os.getuid() or sandbox_locks.NOBODY))
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    soft = MAIN_STACK_BYTES if hard < 0 else min(hard, MAIN_STACK_BYTES)
    resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _limit(name: str, value: int) -> None:
    """Lower a limit for good, or leave it where it is already lower."""
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    value = value if hard < 0 else min(hard, value)
    resource.setrlimit(kind, (value, value))


def _count_threads(user: int) -> int:
    """Threads that a user has now: the kernel's limit counts them, whoever started them."""
    total = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == user:
                total += len(os.listdir(f"/proc/{name}/task"))
        except OSError:  # just ended
            continue
    return total


def main() -> None:
    """Entry point of the exec'ed helper: the control socket is the descriptor in argv[1]."""
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    os.umask(0o022)  # the folders of the new root must be open to nobody
    with socket.socket(fileno=int(sys.argv[1])) as control:
        sandbox_child.warm_up()
        try:
            _set_common_limits()
            answer = {"isolation": sandbox_locks.lock_process()}
        except OSError as error:
            answer = {"refused": str(error)}
        control.send(json.dumps(answer).encode())
        if "isolation" in answer:
            serve(control)
