"""`python -m ace_lib` is the command `ace`."""

import sys

from ace_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
