"""Simulate runs with known truth and score the shipped model on them: python examples/score_simulated_runs.py OUT"""

from __future__ import annotations

import sys

import angiomorph as am


def main(out: str, *, runs: int = 3, settings: am.SimulationSettings | None = None, levels: int | None = None) -> am.Score:
    """Simulate into the folder `out`, print the table, and return the first run's score."""
    am.simulate(out, runs=runs, seed=1, settings=settings)
    report = am.evaluate([out], options=am.RegistrationOptions(levels=levels))
    print(report.text())
    return next(iter(report.entries[0].scores.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
