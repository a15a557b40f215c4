"""The grids of the development set, and which entry wins."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.peers import runs, tune
from benchmarks.peers.methods import PEERS, Peer
from tests.benchmarks.made import make_run

PEER = Peer(
    "shift",
    lambda moving, fixed, down, right: np.full((*fixed.shape, 2), (down, right), np.float32),
    {"down": 0, "right": 0},
    "numpy",
)
GRIDS = {"shift": [{"down": (1, 2, 3), "right": (-2, 0)}, {"down": (3,), "right": (-2, -4)}]}


def test_entries_are_all_combinations_each_once():
    found = [tuple(entry.parameters.values()) for entry in tune.entries(PEER, GRIDS)]
    assert found == [(1, -2), (1, 0), (2, -2), (2, 0), (3, -2), (3, 0), (3, -4)]


def test_peer_without_grid_has_no_entries():
    assert list(tune.entries(PEER, {})) == []


@pytest.mark.parametrize(
    ("down", "right", "edges"), [(2, -2, []), (3, -2, ["down"]), (1, 0, ["down", "right"]), (2, -4, ["right"])], ids=str
)
def test_edge_of_the_grid_is_told(down, right, edges):
    assert tune.at_edge(replace(PEER, parameters={"down": down, "right": right}), GRIDS) == edges


def test_two_values_have_no_edge():
    assert (
        tune.at_edge(replace(PEER, parameters={"down": 1, "right": 0}), {"shift": [{"down": (1, 2), "masked": (True, False)}]})
        == []
    )


@pytest.mark.parametrize("name", tune.GRIDS)
def test_every_grid_is_of_a_peer_and_names_its_parameters(name):
    (parameters,) = (peer.parameters for peer in PEERS if peer.name == name)
    assert all(set(grid) <= set(parameters) for grid in tune.GRIDS[name])


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_a_grid_that_holds_its_parameters(peer):
    tried = [dict(entry.parameters) for entry in tune.entries(peer)]
    assert peer.name == "none" or dict(peer.parameters) in tried


def test_entry_nearest_the_truth_wins_and_is_not_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tune, "GRIDS", GRIDS)
    monkeypatch.setattr(tune.entries, "__defaults__", (GRIDS,))
    monkeypatch.setattr(tune.at_edge, "__defaults__", (GRIDS,))
    monkeypatch.setattr(tune, "PEERS", (PEER,))
    paths = [make_run(tmp_path / f"{seed}.dcm", shift=(2, -2), seed=seed) for seed in (0, 1)]
    monkeypatch.setattr(runs, "simulated", lambda *_, **__: paths)
    given = dict.fromkeys(("runs", "seed", "ct", "vessels", "workers", "size", "methods"))
    arguments = SimpleNamespace(out=tmp_path, frames_per_run=2, threads=1, **given)
    tune.tune(arguments)
    first = capsys.readouterr().out
    assert "Best, OTHER THAN methods.py HAS IT: `{'down': 2, 'right': -2}`" in first
    assert first.splitlines()[5].startswith("| down 2, right -2 | 0.000 |")
    before = len((tmp_path / "tune.csv").read_text().splitlines()) - 1  # without its head
    monkeypatch.setattr(Peer, "warps", None)
    tune.tune(arguments)
    assert capsys.readouterr().out == first
    assert before == 2 * 7
