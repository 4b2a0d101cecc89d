"""The log of `ace run`: to the terminal and to a file, each line with its time."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What papermill says about itself, and the text form of figures and tables shown as HTML.
NOISE = re.compile(
    r"^(Executing (Cell|notebook)|Ending Cell|(In|Out)put Notebook|Working directory|<.*>$)"
)


class RunLog:
    """Writes lines `[seconds since start] text` to standard output and appends them to `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.monotonic()

    def __enter__(self) -> "RunLog":
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def write(self, text: str) -> None:
        """Write one line."""
        line = f"[{time.monotonic() - self._started:7.1f} s] {text}"
        print(line, flush=True)
        self._file.write(line + "\n")
        self._file.flush()

    @contextmanager
    def of_papermill(self, step: str) -> Iterator[None]:
        """Pass on what the notebook prints, as papermill logs it, each line marked with `step`."""
        handler = _Handler(self, step)
        logger = logging.getLogger("papermill")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, log: RunLog, step: str) -> None:
        super().__init__(logging.INFO)
        self._log = log
        self._step = step

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if NOISE.match(text):
            return
        for line in text.splitlines():
            shown = line.rpartition("\r")[2].rstrip()  # of a progress bar, its last state
            if shown:
                self._log.write(f"{self._step} | {shown}")
