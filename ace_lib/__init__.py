"""The thin library behind the notebooks: flat modules, one idea each."""

import os
import sys
import warnings

__version__ = "0.1.0"

# Both are read when torch or tokenizers is first imported, so they are set here. Spinning OpenMP
# threads of one process otherwise slow a second one by an order of magnitude on few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A test of a program may hold longer integers than Python reads and writes by default.
MAX_INT_DIGITS = 50_000
if 0 < sys.get_int_max_str_digits() < MAX_INT_DIGITS:  # 0: no limit
    sys.set_int_max_str_digits(MAX_INT_DIGITS)
# transformers imports tqdm's notebook bar, which warns that it lacks widgets; we draw no such bar.
warnings.filterwarnings("ignore", message="IProgress not found")


class AceError(Exception):
    """An error with a known cause: its text is one line that names the cause and the fix."""

    exit_code = 1
