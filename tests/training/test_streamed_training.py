"""A training on samples that are read by workers has the weights of one on tensors in memory."""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from conftest import cases
from forked_ranks import on_ranks
from handlers import as_before
from kept_states import Kept
from small_training import blobs, mlp, trainer
from torch.optim import SGD

from harness.data.base import Split
from harness.data.shared.loading import loading
from harness.data.shared.streamed import ArraySamples, streamed_splits
from harness.distributed import Ranks
from harness.model_state.attributes import attribute_values
from harness.task.classification import Classification
from harness.training.context import Hooks, TrainingContext

RECIPE = trainer(optimizer=partial(SGD, lr=0.5), epochs=2, batch_size=10)
FIRST = mlp()


@pytest.fixture(autouse=True)
def fixture_handlers_of_loaders() -> Iterator[None]:
    """Restores the handler by which torch notices that a worker has died."""
    with as_before():
        yield


def noisy(inputs: torch.Tensor) -> torch.Tensor:
    return inputs + torch.randn(inputs.shape)


def trained(
    ranks: Ranks,
    workers: int,
    hold: bool,
    noise: bool = False,
    saver: Kept | None = None,
    resumed: Any = None,
) -> list[torch.Tensor]:
    """Returns the weights after two epochs."""
    split: Split = blobs()
    parts = dict.fromkeys(("train", "validation", "test"), ArraySamples(split.inputs, split.labels))
    with loading(workers, hold):
        made = streamed_splits(parts, 4, transform=noisy if noise else None)
        train = made.to("cpu", torch.float32).train
        assert isinstance(train, Split) == (hold and not noise)
        model, validation = copy.deepcopy(FIRST), made.validation
        there = TrainingContext(train, Classification(), ranks, 0, 0, validation=validation)
        RECIPE.fit(model, there, Hooks(saver=saver), resumed=resumed)
    return [value.detach() for value in model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, one, other))


@cases("workers", 0, 1, 2)
def test_streamed_samples_train_to_the_weights_of_held_ones(workers) -> None:
    assert same(trained(Ranks(), workers, hold=False), trained(Ranks(), 0, hold=True))


def test_a_training_that_stopped_inside_an_epoch_ends_with_the_same_weights() -> None:
    kept = Kept()
    whole = trained(Ranks(), 2, hold=False, noise=True, saver=kept)
    assert not same(whole, trained(Ranks(), 0, hold=False))  # the noise is there
    for at in ((0, 2), (1, 1)):
        assert same(trained(Ranks(), 1, False, noise=True, resumed=kept.states[at]), whole)


def trained_in_four_ways(ranks: Ranks) -> list[list[torch.Tensor]]:
    """Trains on held and streamed samples, then on ones with noise, without and with a worker."""
    ways = ((0, True, False), (1, False, False), (0, False, True), (1, False, True))
    return [trained(ranks, *way) for way in ways]


def test_two_ranks_train_to_the_same_weights_with_workers_and_without() -> None:
    one, other = on_ranks(2, trained_in_four_ways)
    assert all(map(same, one, other))
    held, streamed, noisy_without, noisy_with = one
    assert same(held, streamed)
    assert same(noisy_without, noisy_with)
    alone = trained(Ranks(), 0, False, noise=True)
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(noisy_with, alone, strict=True))


def test_worker_processes_are_no_state_that_a_checkpoint_lacks() -> None:
    split, model = blobs(), copy.deepcopy(FIRST)
    parts = dict.fromkeys(("train", "validation", "test"), ArraySamples(split.inputs, split.labels))
    with loading(1, False):
        train = streamed_splits(parts, 4).train
        before = attribute_values(model, {"splits": train})
        batches = train.batches(torch.arange(20).split(5))
        next(batches)
        assert attribute_values(model, {"splits": train}) == before
        assert len(list(batches)) == 3
        assert attribute_values(model, {"splits": train}) == before
