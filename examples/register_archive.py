"""Register every run of a tree and list what failed: python examples/register_archive.py ARCHIVE OUT"""

from __future__ import annotations

import sys

import angiomorph as am


def main(archive: str, out: str, *, levels: int | None = None) -> None:
    """Register all runs under `archive` into the folder `out`."""
    options = am.RegistrationOptions(require_clean=True, levels=levels)
    failed = []
    for outcome in am.register_runs([archive], out, options=options, output=am.OutputOptions(kinds=("dicom", "png"))):
        if outcome.error:
            failed.append(outcome)
        else:
            print(outcome.line())
    for outcome in failed:
        print(f"failed: {outcome.error}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
