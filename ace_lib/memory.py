"""Peak memory of this process and everything it started."""

import threading

import psutil

INTERVAL = 0.5  # seconds between two looks


class PeakMemory:
    """Context manager: `gib` is the largest sum of resident memory over the process tree, GiB.

    Pages that processes share count once for each, so the sum is an upper bound.
    """

    def __init__(self) -> None:
        self.gib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while True:
            self.gib = max(self.gib, _tree_bytes(own) / 2**30)
            if self._stop.wait(INTERVAL):
                return


def _tree_bytes(root: psutil.Process) -> int:
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # ended since it was listed
            continue
    return total
