"""Verdicts on a Ray cluster: the backend `ray`, one actor per core.

Each actor watches a worker process of its own, as `ace_lib.verify_pool.LocalPool` does here. When
an actor or its machine dies, another takes its rows. Every machine of the cluster has the kit
installed, in the same version.
"""

import os
import time
from collections.abc import Sequence

from ace_lib import AceError
from ace_lib.verify_pool import LocalPool, WorkerPool, longest_seconds

CHUNK_ROWS = {"math": 64, "code": 16}  # rows of one call
_START_SECONDS = 300.0  # a new actor may have to wait for a free core
_OBJECT_STORE_BYTES = 100 * 2**20  # Ray would take a third of the memory
# Of a cluster that is started here; Ray reads this when it is imported. Who reaches a cluster's
# ports can run anything: off, the first keeps it to one machine, on the loopback interface.
_LOCAL_CLUSTER = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}


class RayWorker:
    """An actor and the rows it has not answered yet (`verify_pool.WorkerProcess`)."""

    def __init__(self, isolated: bool) -> None:
        import ray

        self._ray = ray
        self._actor = ray.remote(num_cpus=1)(LocalPool).remote(1, isolated)
        self.pending: list[int] = []
        self.num_answered = 0

    def send(self, chunk: list[int], rows: Sequence[dict]) -> None:
        """Hand over rows; the actor's own pool keeps to the time of each."""
        self.pending, batch = list(chunk), [rows[i] for i in chunk]
        self.reply = self._actor.judge.remote(batch)
        start = 0.0 if self.num_answered else _START_SECONDS
        self.deadline = time.monotonic() + start + sum(map(longest_seconds, batch))

    def receive(self, results: list) -> bool:
        """Store the replies; False when the actor is gone.

        Raises SandboxUnavailable: the actor's machine cannot isolate programs.
        """
        try:
            verdicts = self._ray.get(self.reply)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError:
            return False
        for index, verdict in zip(self.pending, verdicts, strict=True):
            results[index] = verdict
        self.pending, self.num_answered = [], self.num_answered + len(verdicts)
        return True

    def close(self) -> None:
        """Kill the actor; its worker process ends with it."""
        self._ray.kill(self._actor)


class RayPool(WorkerPool):
    """Actors that judge rows together.

    Args:
        address: of the cluster, as `auto` or `10.0.0.1:6379`. By default one is started here, which
            ends with this process and, if this is what imports Ray, listens on the loopback
            interface alone. A process that is connected to a cluster stays with that.
        num_actors: by default one per core that is free.
        isolated: run each test of a program in a process of its own.

    Raises:
        AceError: Ray is not installed, there is no such cluster, or it has too few cores.
    """

    def __init__(self, address: str | None, num_actors: int | None, isolated: bool) -> None:
        ray = connected_ray(address)
        most = int(ray.cluster_resources().get("CPU", 0))
        num_actors = num_actors or int(ray.available_resources().get("CPU", 0))
        if not 1 <= num_actors <= most:
            raise AceError(f"the Ray cluster has no free cores for {num_actors} of {most} actors")
        super().__init__(num_actors, CHUNK_ROWS)
        self._ray, self._isolated = ray, isolated

    def _start_worker(self) -> RayWorker:
        return RayWorker(self._isolated)

    def _with_news(self, workers: list[RayWorker]) -> list[RayWorker]:
        ready, _ = self._ray.wait([worker.reply for worker in workers], timeout=1.0)
        return [worker for worker in workers if worker.reply in ready]


def connected_ray(address: str | None) -> object:
    """Return the module `ray`, connected to the cluster at `address`, or to one started here."""
    if address is None:
        for name, value in _LOCAL_CLUSTER.items():
            os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise AceError("the backend 'ray' needs Ray: pip install '.[ray]'") from error
    if not ray.is_initialized():
        options = {"address": address}
        if address is None:
            options = {"address": "local", "include_dashboard": False,
                       "object_store_memory": _OBJECT_STORE_BYTES}  # fmt: skip
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **options)
        except ConnectionError as error:
            raise AceError(f"no Ray cluster at {address!r}: {error}") from error
    return ray
