"""Choose each peer's parameters on a development set: `python -m benchmarks.peers.tune --ct CT --vessels CTA --out DIR`.

Every peer is run with every entry of its grid on runs that no figure is reported of, and the entry of least cost wins:

    cost = artefact_left + (1 - contrast_kept)**2, mean over the runs

Both are shares of energy: of the artefact what is left, of the vessels what is lost. The error of the whole subtracted frame
would not do: most of a frame is no vessel, and peers lower it by following noise and vessels, down to half of the contrast.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.peers import command
from benchmarks.peers.methods import MODULES, PEERS, Peer

if TYPE_CHECKING:
    from benchmarks.peers.runs import Sample
    from benchmarks.peers.scores import ScoreFile

Grid = Mapping[str, Sequence[Any]]

# Of each grid all combinations are tried, beside the parameters of `methods.PEERS` that it does not name.
GRIDS: Mapping[str, Sequence[Grid]] = {
    "pixel shift": [{"smoothing": (4.0, 8.0, 16.0, 32.0)}],
    "elastix rigid": [{"bins": (32, 64), "masked": (False, True)}],
    "elastix affine": [{"bins": (32, 64), "masked": (False, True)}],
    "elastix B-spline": [
        {"spacing": (32.0, 64.0), "bending": (0.0, 3e3, 3e4, 3e5)},
        {"spacing": (16.0,), "bending": (0.0, 3e3)},
    ],
    "ANTs SyN": [
        {"metric": ("mattes",), "sampling": (32,), "flow_sigma": (3.0,), "total_sigma": (0.0, 1.0, 3.0)},
        {"metric": ("mattes",), "sampling": (32,), "flow_sigma": (6.0,), "total_sigma": (3.0,)},
        {"metric": ("CC",), "sampling": (4,), "flow_sigma": (6.0,), "total_sigma": (1.0,)},
    ],
    "symmetric demons": [
        {"sigma": (2.0, 3.0, 4.0, 6.0, 8.0, 12.0), "matched": (False,)},
        {"sigma": (8.0,), "matched": (True,)},
    ],
    "DIS flow": [
        {"alpha": (400.0, 1600.0, 6400.0), "finest": (1, 2, 3), "smoothing": (0.0, 16.0)},
        {"alpha": (20.0, 100.0, 400.0), "finest": (0, 1), "smoothing": (0.0,)},
    ],
    "TV-L1 flow": [{"attachment": (0.01, 0.02, 0.03, 0.04, 0.06, 0.09), "warps": (5, 10)}],
    "DeepFlow": [{"blur": (0.0, 1.0, 2.0), "smoothing": (0.0, 2.0)}],
}


def entries(peer: Peer, grids: Mapping[str, Sequence[Grid]] = GRIDS) -> Iterator[Peer]:
    """Yield the peer with each entry of its grids, each once."""
    seen: list[Mapping[str, Any]] = []
    for grid in grids.get(peer.name, ()):
        for values in itertools.product(*grid.values()):
            parameters = {**peer.parameters, **dict(zip(grid, values, strict=True))}
            if parameters not in seen:
                seen.append(parameters)
                yield replace(peer, parameters=parameters)


def at_edge(peer: Peer, grids: Mapping[str, Sequence[Grid]] = GRIDS) -> list[str]:
    """Return the numeric parameters whose chosen value is the least or the largest of three or more that were tried."""
    tried: dict[str, set[float]] = {}
    for grid in grids.get(peer.name, ()):
        for name, values in grid.items():
            tried.setdefault(name, set()).update(v for v in values if isinstance(v, float | int) and not isinstance(v, bool))
    return [name for name, values in tried.items() if len(values) > 2 and peer.parameters[name] in (min(values), max(values))]


def tune(arguments: argparse.Namespace) -> None:
    """Run the grids and print each with its scores, the best first."""
    from benchmarks.peers.runs import read_sample, simulated
    from benchmarks.peers.scores import ScoreFile

    paths = simulated(
        arguments.out / "development",
        runs=arguments.runs,
        seed=arguments.seed,
        still=False,
        ct=arguments.ct,
        vessels=arguments.vessels,
        workers=arguments.workers,
        size=arguments.size,
        progress=command.progress("development runs made"),
    )
    scores = ScoreFile(arguments.out / "tune.csv")
    samples = [read_sample(path, arguments.frames_per_run) for path in paths]
    names = command.chosen(arguments.methods, [peer.name for peer in PEERS if peer.name in GRIDS])
    for peer in PEERS:
        if peer.name in names:
            _tune_one(peer, samples, scores, arguments.threads)


def _tune_one(peer: Peer, samples: Sequence[Sample], scores: ScoreFile, threads: int) -> None:
    from angiomorph.evaluation.tables import figures
    from benchmarks.peers.scores import key

    ranked = []
    for entry in entries(peer):
        keys = [key(sample, entry.name, entry.parameters, threads, MODULES) for sample in samples]
        for sample, of in zip(samples, keys, strict=True):
            if of not in scores:
                scores.add(of, sample.score(*entry.warps(sample.moving, sample.fixed)))
        means = {name: part.mean for name, part in figures([scores[of] for of in keys]).items()}
        means["cost"] = sum(scores[of].cost for of in keys) / len(keys)
        ranked.append((means, entry))
        print(f"{peer.name}: {means['cost']:.3f} {_say_varied(entry)}", file=sys.stderr, flush=True)
    ranked.sort(key=lambda pair: pair[0]["cost"])
    print(f"\n## {peer.name}\n")
    print("| parameters | cost | artefact left | contrast kept | RMSE / floor | folding, % | s a frame |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for means, entry in ranked:
        cells = [means[name] for name in ("cost", "artefact_left", "contrast_kept", "rmse_over_floor", "folding")]
        row = [_say_varied(entry), *(f"{cell:.3f}" for cell in cells), f"{means['ms_per_frame'] / 1e3:.2f}"]
        print(f"| {' | '.join(row)} |")
    best = ranked[0][1]
    same = "as methods.py has it" if dict(best.parameters) == dict(peer.parameters) else "OTHER THAN methods.py HAS IT"
    print(f"\nBest, {same}: `{dict(best.parameters)}`")
    for name in at_edge(best):
        print(f"\n{name} = {best.parameters[name]} lies at the edge of the grid.")
    sys.stdout.flush()


def _say_varied(entry: Peer) -> str:
    """Return the parameters that the grids of the peer name, as text."""
    names = dict.fromkeys(name for grid in GRIDS[entry.name] for name in grid)
    return ", ".join(f"{name} {entry.parameters[name]}" for name in names)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.peers.tune --help`."""
    summary = "Choose each peer's parameters on a development set."
    return command.run(tune, command.parser(summary, out="build/tune", frames=2, runs=6, seed=4100).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
