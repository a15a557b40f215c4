"""Compare AngioMorph with its peers: `python -m benchmarks.peers --ct CT --vessels CTA --out DIR`, or `make peers`.

Every method registers the same frames to the same background, normalised alike, in one process and with the same number of
threads, and is judged by the same scores (`angiomorph.evaluation.score`). Scores are kept as they come, so that a stopped
command resumes; where the code of a method or of the scores has changed, they are taken anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiomorph.errors import InputError
from angiomorph.evaluation.machine import processor
from benchmarks.peers import command
from benchmarks.peers import floor as floors
from benchmarks.peers.methods import MODULES, PEERS, Peer

if TYPE_CHECKING:
    from angiomorph.evaluation.score import Score
    from angiomorph.registration.model import Model
    from benchmarks.peers.runs import Sample
    from benchmarks.peers.scores import ScoreFile

OURS: Mapping[str, dict[str, Any]] = {
    "AngioMorph, network alone": {"rounds": 0, "refine": 0, "guard": False},
    "AngioMorph, refined": {"guard": False},  # by the model's own number of steps or, where it has none, by one round
    "AngioMorph (default)": {"rounds": 0, "refine": None, "guard": True},
}
OUR_MODULES = (
    "angiomorph.networks.layers",
    "angiomorph.networks.losses",
    "angiomorph.networks.model",
    "angiomorph.networks.warp",
    "angiomorph.registration.refinement",
    "angiomorph.registration.inputs",
    "angiomorph.registration.pyramid",
    "angiomorph.registration.series",
    "benchmarks.peers.peers",
)
PAPERS = {"Reg-VLE": "vle", "Reg-MinMax": "minmax", "Reg-MSE": "mse"}  # the paper's losses: lines, and names of shipped models
FLOOR = "best warp by truth"
SUBTRACTION = "U-Net, subtraction"
NAMES = (*(peer.name for peer in PEERS), SUBTRACTION, *PAPERS, *OURS, FLOOR)


@dataclass(frozen=True)
class Method:
    """One line of the table.

    Args:
        name: of the line.
        parameters: that the method was run with.
        warps: sample -> (warps `(F, H, W, 2)` of its frames, or their subtraction `(F, H, W)`, seconds a frame).
        modules: whose code makes the warps.
    """

    name: str
    parameters: Mapping[str, Any]
    warps: Callable[[Sample], tuple[np.ndarray, float]]
    modules: Sequence[str]


def methods(names: Sequence[str], model: Model, network: Path | None = None) -> list[Method]:
    """Return the named methods: peers, a subtracting network if given, AngioMorph, and what a warp can do at best."""
    peers = [Method(peer.name, peer.parameters, _of_peer(peer), MODULES) for peer in PEERS if peer.name in names]
    about = {"model": model.sha256, "lambda": model.defaults.hyper}
    refined = {"rounds": 0 if model.defaults.refine else 1, "refine": model.defaults.refine}
    hows = {name: refined | how for name, how in OURS.items() if name in names}
    ours = [Method(name, about | how, _of_ours(model, how), OUR_MODULES) for name, how in hows.items()]
    alone = OURS["AngioMorph, network alone"]
    floor = [Method(FLOOR, about | {"steps": floors.STEPS}, _of_truth(_of_ours(model, alone)), (*floors.MODULES, *OUR_MODULES))]
    return peers + _networks(names, network) + ours + (floor if FLOOR in names else [])


def _networks(names: Sequence[str], network: Path | None) -> list[Method]:
    """Return the named networks that are not the compared model."""
    from angiomorph.registration.model import Model
    from benchmarks.peers.subtraction import Subtraction

    found = []
    if network is not None and SUBTRACTION in names:
        unet = Subtraction(network)
        found.append(Method(SUBTRACTION, {"model": unet.sha256}, unet.subtract, ("benchmarks.peers.subtraction",)))
    for line, name in PAPERS.items():
        if line in names:
            model, how = Model(name), OURS["AngioMorph, network alone"]
            found.append(
                Method(line, {"model": model.sha256, "lambda": model.defaults.hyper} | how, _of_ours(model, how), OUR_MODULES)
            )
    return found


def _of_truth(start: Callable[[Sample], tuple[np.ndarray, float]]) -> Callable[[Sample], tuple[np.ndarray, float]]:
    def warps(sample: Sample) -> tuple[np.ndarray, float]:
        return floors.improve_warps(sample, start(sample)[0]), float("nan")

    return warps


def _of_peer(peer: Peer) -> Callable[[Sample], tuple[np.ndarray, float]]:
    return lambda sample: peer.warps(sample.moving, sample.fixed)


def _of_ours(model: Model, how: Mapping[str, Any]) -> Callable[[Sample], tuple[np.ndarray, float]]:
    from angiomorph.registration.options import RegistrationOptions

    options = RegistrationOptions(**how)

    def warps(sample: Sample) -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        result = model.register(sample.series, options)
        seconds = (time.perf_counter() - start) / len(sample.series.frames)
        if result.background.numbers != sample.numbers:
            raise InputError(
                f"{sample.name}: expected the same background frames for all methods, {sample.numbers}, but the model chose "
                f"{result.background.numbers}; compare a model of intensity auto"
            )
        return result.warp[list(sample.frames)], seconds

    return warps


def compare(
    paths: Sequence[Path], chosen: Sequence[Method], scores: ScoreFile, count: int, threads: int
) -> dict[str, list[Score]]:
    """Score every method on every run, each in turn on one run before the next run is read.

    Args:
        paths: simulated runs.
        chosen: methods.
        scores: kept from before, and added to.
        count: frames registered a run.
        threads: recorded with the scores.

    Returns:
        by method, the scores in the order of `paths`.
    """
    from benchmarks.peers.runs import read_sample
    from benchmarks.peers.scores import key

    table: dict[str, list[Score]] = {method.name: [] for method in chosen}
    warm: set[str] = set()
    for number, path in enumerate(paths, start=1):
        sample = read_sample(path, count)
        for method in chosen:
            of = key(sample, method.name, method.parameters, threads, method.modules)
            if of not in scores:
                if method.name not in warm:  # libraries load and graphs are traced the first time: not timed
                    method.warps(sample.first())
                    warm.add(method.name)
                scores.add(of, sample.score(*method.warps(sample)))
            table[method.name].append(scores[of])
        print(f"runs compared: {number}/{len(paths)}", file=sys.stderr, flush=True)
    return table


def _sets(arguments: argparse.Namespace) -> list[Path]:
    from benchmarks.peers.runs import run_paths, simulated

    if arguments.data:
        return run_paths(arguments.data)
    given = {"ct": arguments.ct, "vessels": arguments.vessels, "workers": arguments.workers, "size": arguments.size}
    moving = simulated(
        arguments.out / "moving",
        runs=arguments.runs,
        seed=arguments.seed,
        still=False,
        progress=command.progress("moving runs made"),
        **given,
    )
    still = simulated(
        arguments.out / "still",
        runs=arguments.still_runs,
        seed=arguments.still_seed,
        still=True,
        progress=command.progress("still runs made"),
        **given,
    )
    return moving + still


def peers(arguments: argparse.Namespace) -> None:
    """Simulate, register, score; print the table and write it and its pictures."""
    from angiomorph.evaluation import tables
    from angiomorph.registration.model import Model
    from benchmarks.peers import pictures
    from benchmarks.peers.scores import ScoreFile
    from benchmarks.peers.validation import validation

    model = Model(arguments.model)
    chosen = methods(command.chosen(arguments.methods, NAMES), model, arguments.subtraction)
    paths = _sets(arguments)
    scores = ScoreFile(arguments.out / "scores.csv")
    compared = compare(paths, chosen, scores, arguments.frames_per_run, arguments.threads)
    lines = tables.lines(compared)
    about = {
        "processor": processor(),
        "threads": arguments.threads,
        "frames_per_run": arguments.frames_per_run,
        "runs": [str(path) for path in paths],
        "versions": command.versions(),
        "parameters": {method.name: dict(method.parameters) for method in chosen},
    }
    table = tables.markdown(lines, f"{about['processor']}, {arguments.threads} threads")
    text = f"{table}\nRank correlation of figures without truth with the true ones:\n\n{validation(compared)}\n"
    tables.write(lines, text, about, arguments.out, "peers")
    print(text, flush=True)
    pictures.tradeoff(lines, arguments.out / "peers_tradeoff.png")
    pictures.panels(pictures.choose_runs(paths, compared), chosen, arguments.frames_per_run, arguments.out / "peers.png")
    for name in ("peers.md", "peers.csv", "peers.json", "peers.png", "peers_tradeoff.png"):
        print(arguments.out / name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.peers --help`."""
    parser = command.parser("Compare AngioMorph with its peers.", out="build/peers", frames=3, runs=20, seed=4200)
    parser.add_argument("--still-runs", type=int, default=8, metavar="N", help="runs in which nothing moves (default: 8)")
    parser.add_argument("--still-seed", type=int, default=4300, metavar="N", help="of these runs (default: 4300)")
    parser.add_argument("--data", type=Path, nargs="+", metavar="DIR", help="simulated runs to compare on, instead of new ones")
    parser.add_argument("--model", metavar="M.h5", help="model, or the name of a shipped one (default: truth)")
    summary = "network of `python -m benchmarks.peers.subtraction`, for a line of its own"
    parser.add_argument("--subtraction", type=Path, metavar="U.h5", help=summary)
    return command.run(peers, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
