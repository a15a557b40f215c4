"""Register one run and write the subtracted run: python examples/register_one_run.py RUN.dcm OUT"""

from __future__ import annotations

import sys

import angiomorph as am


def main(path: str, out: str) -> None:
    """Register the run at `path` and write results into the folder `out`."""
    run = am.read_series(path)
    result = am.Model.load().register(run)
    figures = result.summary()
    print(f"{run.name}: {len(run.frames)} frames, background frames {result.background.numbers}")
    print(f"bright residue {figures['residue_dsa_percent']:.2f} % before, {figures['residue_bsa_percent']:.2f} % after")
    for written in result.save(f"{out}/{run.name}", kinds=("dicom", "h5", "png")):
        print(written)


if __name__ == "__main__":
    main(*sys.argv[1:])
