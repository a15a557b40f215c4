"""Train a network: the same program as `angiomorph train`."""

import sys

from angiomorph.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
