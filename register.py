"""Register runs: the same program as `angiomorph register`."""

import sys

from angiomorph.cli import main

if __name__ == "__main__":
    sys.exit(main(["register", *sys.argv[1:]]))
