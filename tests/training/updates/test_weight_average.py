"""Tests a training that ends with the moving average of its weights."""

import copy
from functools import partial

import pytest
import torch
from cached_training import CONTEXT, FIRST, network
from forked_ranks import on_ranks
from kept_states import Kept
from small_training import blobs, context, line, mlp, points, trainer, weights
from torch import nn
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from harness.distributed import Ranks
from harness.pruning.masks import MaskStore
from harness.task.classification import Classification
from harness.training.context import Hooks, TrainingContext
from harness.training.trainer import Trainer
from harness.training.updates.weight_average import WeightAverage
from harness.vocabulary.step_index import StepIndex
from harness.vocabulary.tensors import clone_tensors

RECIPE = trainer(optimizer=partial(SGD, lr=0.5), epochs=3, batch_size=8, ema_decay=0.9)


def test_the_average_of_three_steps_can_be_followed_by_hand() -> None:
    # Weights 0, -1, -2, -3; a = a / 2 + w / 2 from 0.
    model = line()
    trainer(epochs=3, ema_decay=0.5).fit(model, context(points([1.0, 0.0])), Hooks())
    assert weights(model) == [-0.5 * 3 - 0.25 * 2 - 0.125, 0.0]


def test_the_average_is_that_of_torch() -> None:
    model, own = network(), network()
    own.load_state_dict(model.state_dict())
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    theirs.update_parameters(model)  # its first call copies
    average = WeightAverage(own, 0.9)
    for step in range(4):
        with torch.no_grad():
            for one, other in zip(model.parameters(), own.parameters(), strict=True):
                one.add_(step)
                other.add_(step)
        theirs.update_parameters(model)
        average.update({})
    average.into_model()
    for one, other in zip(theirs.module.parameters(), own.parameters(), strict=True):
        assert torch.allclose(one, other)


def test_validation_sees_the_average_and_training_goes_on_from_the_weights() -> None:
    def trained(decay: float | None) -> tuple[nn.Module, list[float]]:
        model, seen = mlp(), list[float]()
        hooks = Hooks(epoch_end=lambda done, _: seen.append(weights(model)[0]))
        there = TrainingContext(blobs(), Classification(), Ranks(), 0, 0, validation=blobs())
        recipe = trainer(optimizer=partial(SGD, lr=0.5), epochs=3, batch_size=8, ema_decay=decay)
        return model, [*recipe.fit(model, there, hooks).curve.validation, *seen]

    (plain, one), (averaged, other) = trained(None), trained(0.999)
    assert one[3:5] == other[3:5]  # the weights after epochs 1 and 2
    assert weights(plain) != weights(averaged)
    assert one[:3] != other[:3]


def test_a_weight_counts_as_0_from_the_step_on_at_which_it_is_pruned() -> None:
    model = mlp()
    name, store = "fc1.weight", MaskStore({"fc1.weight": model.get_parameter("fc1.weight")})
    mask = torch.arange(32).view(8, 4) % 3 == 0

    def prune(step: int, optimizer: object) -> None:
        if step == 7:
            store.shrink_to({name: mask})
            store.apply_to(model)

    hooks = Hooks(
        before_step=prune,
        after_backward=lambda: store.gradient_masker(model)(),
        masks=lambda: store.masks,
    )
    RECIPE.fit(model, context(blobs(), Classification()), hooks)
    assert not model.get_parameter(name)[~mask].any()
    assert model.get_parameter(name)[mask].all()


@pytest.mark.parametrize("at", [(0, 2), (1, 0), (2, 3)])
def test_a_resumed_training_ends_with_the_same_average(at) -> None:
    kept, whole, parts = Kept(), copy.deepcopy(FIRST), copy.deepcopy(FIRST)
    RECIPE.fit(whole, CONTEXT, Hooks(saver=kept))
    RECIPE.fit(parts, CONTEXT, Hooks(), resumed=kept.states[at])
    assert all(map(torch.equal, whole.state_dict().values(), parts.state_dict().values()))


def test_a_rewound_training_begins_a_new_average() -> None:
    model, again = mlp(), mlp()
    there = context(blobs(), Classification())
    RECIPE.fit(model, there, Hooks(), begin=StepIndex(2))
    start = clone_tensors(dict(again.state_dict()))
    RECIPE.fit(again, there, Hooks(), begin=StepIndex(2))
    again.load_state_dict(start)
    RECIPE.fit(again, there, Hooks(), begin=StepIndex(2))
    assert weights(model) == weights(again)


def averaged_on(ranks: Ranks) -> list[torch.Tensor]:
    model = copy.deepcopy(FIRST)
    there = TrainingContext(CONTEXT.split, Classification(), ranks, 0, 0, validation=CONTEXT.split)
    recipe = Trainer(partial(SGD, lr=0.5), trainer().learning_rate, 2, 10, ema_decay=0.9)
    recipe.fit(model, there, Hooks())
    return [value.double() for value in model.state_dict().values()]


def test_two_ranks_end_with_equal_averages_of_weights_and_statistics() -> None:
    one, other = on_ranks(2, averaged_on)
    assert all(map(torch.equal, one, other))
