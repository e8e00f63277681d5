"""Tests what looks into a training on its way: gradients, steps, epochs and the loss."""

from functools import partial

import pytest
import torch
from small_training import PLAIN, blobs, context, line, mlp, points, trainer, weights
from torch import Tensor
from torch.optim import AdamW, Optimizer

from harness.pruning.masks import MaskStore
from harness.task.classification import Classification
from harness.training.context import Hooks
from harness.vocabulary.step_index import StepIndex


def test_clipping_sees_only_living_gradients() -> None:
    # Of the gradient (3, 4) the 4 is pruned: 3 is within 3.5, 5 would not be.
    model = line()
    store = MaskStore({"weight": model.weight})
    store.shrink_to({"weight": torch.tensor([[True, False]])})
    hooks = Hooks(after_backward=store.gradient_masker(model))
    trainer(clip_norm=3.5).fit(model, context(points([3.0, 4.0])), hooks)
    assert weights(model) == [-3.0, 0.0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_handed_on_once_per_step_averaged_and_whole(accumulate) -> None:
    model = line()
    seen: list[list[float]] = []

    def look() -> None:
        assert model.weight.grad is not None
        seen.append(model.weight.grad.flatten().tolist())

    recipe = trainer(accumulate=accumulate, clip_norm=0.1)
    recipe.fit(model, context(points([1.0, 2.0], [3.0, 4.0])), Hooks(after_backward=look))
    assert seen == [[2.0, 3.0]]


@pytest.mark.parametrize("optimizer", [partial(AdamW, lr=0.1, weight_decay=0.1, fused=True), PLAIN])
def test_pruned_weights_stay_exactly_zero_through_a_whole_training(optimizer) -> None:
    model = mlp()
    store = MaskStore({"fc1.weight": model.get_parameter("fc1.weight")})
    mask = torch.arange(32).view(8, 4) % 3 == 0
    store.shrink_to({"fc1.weight": mask})
    store.apply_to(model)
    recipe = trainer(optimizer=optimizer, epochs=3, batch_size=8)
    hooks = Hooks(after_backward=store.gradient_masker(model))
    recipe.fit(model, context(blobs(), Classification()), hooks)
    assert not model.get_parameter("fc1.weight")[~mask].any()
    assert model.get_parameter("fc1.weight")[mask].all()


def test_epochs_are_reported_when_they_are_done() -> None:
    model, seen = line(), []
    hooks = Hooks(epoch_end=lambda done, _: seen.append((done, weights(model)[0])))
    trainer(epochs=2).fit(model, context(points([1.0, 0.0])), hooks)
    assert seen == [(1, -1.0), (2, -2.0)]


def test_steps_are_numbered_from_the_trainings_own_beginning() -> None:
    asked: list[int] = []
    hooks = Hooks(before_step=lambda number, optimizer: asked.append(number))
    recipe = trainer(batch_size=4, epochs=3, accumulate=2)
    recipe.fit(mlp(), context(blobs(9), Classification()), hooks, begin=StepIndex(1, 1))
    assert asked == [0, 1, 2, 3, 4]


def test_a_step_that_something_else_takes_moves_no_weight() -> None:
    model, seen = line(), []

    def takes(optimizer: Optimizer) -> bool:
        seen.append(model.weight.grad is not None)
        return len(seen) == 1

    trainer(epochs=2).fit(model, context(points([1.0, 2.0])), Hooks(takes_step=takes))
    assert seen == [True, True]
    assert model.weight.tolist() == [[-1.0, -2.0]]


def test_a_loss_term_sees_inputs_outputs_labels_and_the_tasks_loss() -> None:
    model, seen = line(), []

    def twice(inputs: Tensor, outputs: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        seen.append((inputs.tolist(), outputs.tolist(), labels.tolist(), float(loss.detach())))
        return 2 * loss

    trainer().fit(model, context(points([1.0, 2.0])), Hooks(loss_term=twice))
    assert seen == [([[1.0, 2.0]], [[0.0]], [0], 0.0)]
    assert model.weight.tolist() == [[-2.0, -4.0]]


def test_the_norm_is_that_of_live_gradients_before_clipping() -> None:
    model = line()
    store = MaskStore(dict(model.named_parameters()))
    store.shrink_to({"weight": torch.tensor([[True, False]])})
    hooks = Hooks(after_backward=store.gradient_masker(model))
    fit = trainer(clip_norm=0.5).fit(model, context(points([3.0, 4.0])), hooks)
    assert fit.norm == 3.0
    assert trainer(epochs=0).fit(model, context(points([3.0, 4.0])), hooks).norm is None
