"""The backend `ray`: a cluster on this machine, and actors that die, hang or refuse."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from ipaddress import ip_address

import psutil
import pytest
from test_verify_code import ADD, DOUBLE

from ace_lib import AceError, verify_ray
from ace_lib.sandbox import SandboxUnavailable
from ace_lib.verify import Verifier
from ace_lib.verify_pool import LocalPool

pytestmark = pytest.mark.skipif(not find_spec("ray"), reason="pip install '.[ray]'")

MATH = {"id": "m", "domain": "math", "response": "\\boxed{0.5}", "gold": "\\frac12"}
RIGHT = {**DOUBLE, "program": "print(2 * int(input()))"}
KINDS = [MATH, RIGHT, {**MATH, "response": "\\boxed{2}"}, {**ADD, "program": "add = max"}]
ROWS = [{**row, "id": number} for number, row in enumerate(KINDS * 50)]
REWARDS = [1.0, 1.0, 0.0, 0.0] * 50


@pytest.fixture(scope="module")
def verifier():
    with Verifier(2, backend="ray") as shared:
        yield shared
    shared._backend._ray.shutdown()


def call_actors(verifier: Verifier, function: Callable[[LocalPool], object]) -> list:
    actors = [worker._actor for worker in verifier._backend._workers]
    return verifier._backend._ray.get([actor.__ray_call__.remote(function) for actor in actors])


def actor_pids(verifier: Verifier) -> list[int]:
    return call_actors(verifier, lambda pool: os.getpid())


def check(verifier: Verifier) -> None:
    verdicts = verifier.verify(ROWS)
    assert [verdict.id for verdict in verdicts] == list(range(len(ROWS)))
    assert [verdict.reward for verdict in verdicts] == REWARDS


def test_rows_keep_their_order_and_share_the_actors(verifier):
    check(verifier)
    check(verifier)  # now both are up when the first rows come
    assert len(set(actor_pids(verifier))) == 2
    assert all(worker.num_answered for worker in verifier._backend._workers)


def test_the_cluster_listens_on_the_loopback_interface_alone(verifier):
    processes = psutil.Process().children(recursive=True)
    listening = [connection.laddr.ip for process in processes
                 for connection in process.net_connections("inet")
                 if connection.status == psutil.CONN_LISTEN]  # fmt: skip
    assert listening and all(ip_address(ip.removeprefix("::ffff:")).is_loopback for ip in listening)


def test_a_killed_actor_is_replaced_and_loses_no_row(verifier):
    victim, other = actor_pids(verifier)
    killer = threading.Timer(0.1, os.kill, (victim, signal.SIGKILL))
    killer.start()
    check(verifier)
    killer.join()
    assert victim not in actor_pids(verifier) and other in actor_pids(verifier)


def test_an_actor_that_hangs_is_replaced(verifier, monkeypatch):
    victim = actor_pids(verifier)[1]
    monkeypatch.setattr(verify_ray, "longest_seconds", lambda row: 2.0)
    os.kill(victim, signal.SIGSTOP)
    assert [verdict.reward for verdict in verifier.verify([RIGHT, RIGHT])] == [1.0, 1.0]
    assert victim not in actor_pids(verifier)


def test_a_machine_that_cannot_isolate_refuses(verifier):
    def refuse(pool: LocalPool) -> None:
        def start_worker() -> None:
            raise SandboxUnavailable("no Landlock here")

        pool.close()
        pool._start_worker = start_worker

    call_actors(verifier, refuse)
    with pytest.raises(SandboxUnavailable, match="^no Landlock here$"):
        verifier.verify(ROWS)


def test_too_many_actors_are_refused(verifier):
    with pytest.raises(AceError, match="no free cores for 1000"):
        Verifier(1000, backend="ray")


def test_without_ray_the_text_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(AceError, match=r"pip install '.\[ray\]'"):
        Verifier(backend="ray")
