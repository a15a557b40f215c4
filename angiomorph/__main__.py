"""Let `python -m angiomorph` be the `angiomorph` program."""

import sys

from angiomorph.cli import main

if __name__ == "__main__":
    sys.exit(main())
