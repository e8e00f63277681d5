from pathlib import Path
from typing import get_args

import pytest
import torch
from command import TINY
from conftest import CONF
from hydra import compose, initialize_config_dir
from silent import ME, Silent
from torch import nn

from harness.allocation.global_ranking import GlobalRanking
from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.pruning.budget import RequestedSize
from harness.pruning.controls import Control, apply_control
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import NOTHING, Pruner
from harness.pruning.pruning_order import PruningProgress
from harness.pruning.reader import Calibration
from harness.pruning.rounds import Rounds
from harness.saliency.base import Saliency
from harness.saliency.random import Random
from harness.saliency.sparsegpt import SparseGpt
from harness.saliency.synflow import SynFlow
from harness.saliency.wanda import Wanda
from harness.saliency.weight_gradient import WeightGradient
from harness.schedule.base import round_fractions
from harness.structure.element import Element
from harness.structure.neuron import Neuron
from harness.vocabulary.tensors import Tensors, local_mean

INPUTS = torch.randn(30, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
NOISE = Random(5)
DATA = Calibration(
    [(INPUTS, torch.zeros(30))], lambda outputs, labels: outputs.square().sum(), local_mean
)
KEPT = {"a": torch.tensor([True, False, True, False, False]), "b": torch.tensor([False, True])}
ALIVE = {"a": torch.tensor([True, True, True, False, True]), "b": torch.tensor([True, True])}
SIZES = {"a": torch.tensor([1.0, 4.0, 3.0, 9.0, 2.0]), "b": torch.tensor([5.0, 6.0])}


def masks_of(
    control: str, structure: Element | Neuron, saliency: Saliency = NOISE, rounds: int = 1
) -> Tensors:
    """Returns the masks after pruning down to 90 weights, or nearly so, in some rounds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 9), nn.ReLU(), nn.Linear(9, 8), nn.Linear(8, 3)).double()
    units = structure.units(model, torch.zeros(2, 20).double())
    store = make_mask_store(model, units)
    pruner = Pruner(saliency, structure, GlobalRanking(), control)
    goals = [RequestedSize(round(keep), "parameters") for keep in round_fractions(200, 90, rounds)]
    Rounds(pruner, units, DATA, NOTHING).run(model, store, PruningProgress.of(goals))
    assert all((model.get_parameter(n)[~mask] == 0).all() for n, mask in store.masks.items())
    return store.masks


def test_magnitude_keeps_the_largest_alive_of_each_tensor() -> None:
    found = apply_control("magnitude", KEPT, ALIVE, SIZES, seed=0)
    assert found["a"].tolist() == [False, True, True, False, False]  # 9 is dead
    assert found["b"].tolist() == [False, True]


@pytest.mark.parametrize("control", get_args(Control))
@pytest.mark.parametrize("structure", [Element(), Neuron()])
def test_a_control_keeps_as_many_of_each_tensor(control, structure) -> None:
    own, other = masks_of("none", structure), masks_of(control, structure)
    check_matched(own, other)
    same = all(torch.equal(own[name], other[name]) for name in own)
    assert same == (control in ("none", "reinitialised"))


@pytest.mark.parametrize("control", get_args(Control))
@pytest.mark.parametrize("saliency", [SynFlow(), WeightGradient(), SparseGpt(), Wanda()])
def test_a_control_has_the_counts_that_the_method_ends_with_after_all_its_rounds(control, saliency):
    own, other = (masks_of(c, Element(), saliency, rounds=6) for c in ("none", control))
    check_matched(own, other)
    same = all(torch.equal(own[name], other[name]) for name in own)
    assert same == (control in ("none", "reinitialised"))


def check_matched(own: Tensors, other: Tensors) -> None:
    assert {n: int(m.sum()) for n, m in other.items()} == {n: int(m.sum()) for n, m in own.items()}


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_draws_follow_from_the_seed_and_never_revive(control) -> None:
    one, again = (apply_control(control, KEPT, ALIVE, SIZES, seed=1) for _ in range(2))
    others = [apply_control(control, KEPT, ALIVE, SIZES, seed=seed) for seed in range(40)]
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert {tuple(found["a"].tolist()) for found in others} == {
        # Every pair of the four alive comes up.
        tuple(place in pair for place in range(5))
        for pair in ((0, 1), (0, 2), (0, 4), (1, 2), (1, 4), (2, 4))
    }


def test_a_shuffled_filter_or_row_takes_its_bias_along() -> None:
    masks = masks_of("shuffled", Neuron())
    assert torch.equal(masks["0.weight"].any(dim=1), masks["0.bias"])


def test_controls_leave_weights_that_a_method_would_move() -> None:
    class Moving(Random):
        def compensate(self, weights: Tensors, masks: Tensors, statistics: Tensors) -> Tensors:
            return {name: weight + 1 for name, weight in weights.items()}

    model = nn.Sequential(nn.Linear(2, 2))
    units = Element().units(model, torch.zeros(2, 2))
    before = model[0].weight.detach().clone()
    for control in ("random", "reinitialised", "none"):
        pruner = Pruner(Moving(0), Element(), GlobalRanking(), control)
        store = make_mask_store(model, units)
        with torch.no_grad():
            model[0].weight.copy_(before)
        Rounds(pruner, units, DATA, NOTHING).run(
            model, store, PruningProgress.of([RequestedSize(2, "parameters")])
        )
        moved = 1.0 if control == "none" else 0.0
        wanted = torch.where(store.masks["0.weight"], before + moved, 0.0)
        assert torch.equal(model[0].weight, wanted)


def test_an_unknown_control_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="control must be one of none, random.*got 'shuffle'"):
        Pruner(Random(0), Element(), GlobalRanking(), "shuffle")


def trained(tmp_path: Path, *overrides: str) -> Tensors:
    experiment = build(compose_config([*TINY, "prune_at=init", *overrides]))
    ready = runner.prepare(experiment, Ranks(), tmp_path)
    runner.run(Recorder(*ready, ME, Silent()))
    return ready.state.model.state_dict()


def test_a_reinitialised_run_is_that_of_new_weights_under_the_methods_mask(tmp_path) -> None:
    control = trained(tmp_path, "control=reinitialised", "finetune=keep")
    fresh = trained(tmp_path, "finetune=reinit")
    own = trained(tmp_path, "finetune=keep")
    assert all(torch.equal(control[name], fresh[name]) for name in fresh)
    assert not torch.equal(control["fc1.weight"], own["fc1.weight"])


def test_a_round_is_not_begun_after_a_stop() -> None:
    begun = []

    def stop(number: int) -> None:
        begun.append(store.digest)
        if len(begun) == 3:
            raise KeyboardInterrupt

    model = nn.Linear(20, 9).double()
    units = Element().units(model, INPUTS)
    store = make_mask_store(model, units)
    pruner = Pruner(NOISE, Element(), GlobalRanking())
    goals = [RequestedSize(keep, "parameters") for keep in (100, 80, 60, 40)]
    with pytest.raises(KeyboardInterrupt):
        Rounds(pruner, units, DATA, NOTHING, before_step=stop).run(
            model, store, PruningProgress.of(goals)
        )
    assert len(set(begun)) == 3
    assert int(store.masks["weight"].sum()) == 80


def test_one_switch_adds_all_controls_to_a_sweep() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["sweep=smoke", "+controls=matched"], return_hydra_config=True)
    params = cfg.hydra.sweeper.params
    assert params.control.split(",") == list(get_args(Control))
    assert params["method"] == "global_magnitude,random"
