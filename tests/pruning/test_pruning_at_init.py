"""Tests which methods empty a layer of LeNet-5 at compression 1000, before any training.

Layer collapse: Tanaka et al. 2020, arXiv:2006.05467. The tests check counts only. All counts are
of the real model on real data.
"""

from functools import cache

import pytest
from conftest import component
from torch import nn

from harness.allocation.global_ranking import GlobalRanking
from harness.data.base import Split
from harness.data.calibration import Samples
from harness.models.lenet_5 import LeNet5
from harness.pruning.budget import RequestedSize
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.base import Saliency
from harness.schedule.base import round_fractions
from harness.structure.element import Element
from harness.task.classification import Classification
from harness.training.state_files import build_seeded
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Counts, local_mean, prunable_weights

WEIGHTS = 430_500
COMPRESSION = 1000
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


@cache
def training_images() -> Split:
    return component("data", "mnist5k").load().train


def calibration(seed: int) -> Calibration:
    chosen = Samples(samples=100).indices(training_images(), 10, seed)
    batches = list(training_images().batches([chosen]))
    assert batches[0][1].bincount().tolist() == [10] * 10
    return Calibration(batches, Classification().loss, local_mean)


def kept(saliency: Saliency, seed: int, rounds: int) -> Counts:
    """Returns the number of weights that each layer keeps of the initial model."""
    model: nn.Module = build_seeded(lambda: LeNet5().build((1, 28, 28), 10), derive(seed, "init"))
    units = Element().units(model, training_images().inputs[:2])
    pruner = Pruner(saliency, Element(), GlobalRanking())
    store = MaskStore(prunable_weights(model))
    for share in round_fractions(1.0, 1 / COMPRESSION, rounds):
        goal = RequestedSize(round(share * WEIGHTS), "parameters")
        store.shrink_to(pruner.propose(model, store, units, goal, calibration(seed)).masks)
        store.apply_to(model)
    counts = {name: int(weight.count_nonzero()) for name, weight in prunable_weights(model).items()}
    # 430.5 to the even neighbour; no initial weight is 0, so what is not pruned is not 0.
    assert sum(counts.values()) == 430
    return counts


@SEEDS
def test_synflow_keeps_every_layer_alive_at_compression_1000(seed) -> None:
    method = component("saliency", "synflow")
    counts = kept(method, seed, method.rounds)
    # Flow is conserved, so that no layer can lose much more than another: 97 to 119 of 430 each.
    assert min(counts.values()) > 50, counts


@SEEDS
@pytest.mark.parametrize("name", ["magnitude", "weight_gradient", "grasp"])
def test_other_methods_empty_a_layer_at_compression_1000(name, seed) -> None:
    counts = kept(component("saliency", name), seed, rounds=1)
    # The largest, with 400,000 of the 430,500 weights.
    assert [layer for layer, count in counts.items() if not count] == ["fc1.weight"], counts


@SEEDS
def test_synflow_in_a_single_round_empties_layers_too(seed) -> None:
    # Flow spreads over the weights of a layer: those of the smallest one hold most of it each.
    counts = kept(component("saliency", "synflow"), seed, rounds=1)
    assert counts == {"conv1.weight": 430, "conv2.weight": 0, "fc1.weight": 0, "fc2.weight": 0}


def test_snip_in_a_hundred_rounds_keeps_every_layer_alive() -> None:
    counts = kept(component("saliency", "weight_gradient"), seed=0, rounds=100)
    assert min(counts.values()) > 0, counts
