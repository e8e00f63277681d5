import math

import pytest
import torch
from conftest import every

from harness.task.base import Task
from harness.task.classification import Classification
from harness.vocabulary.tensors import Batch


def answers(task: Task, samples: int, dtype: torch.dtype = torch.float32) -> Batch:
    """Returns outputs of 7 classes and labels, as the task takes them."""
    random = torch.Generator().manual_seed(0)
    kind = type(task).__name__
    if kind in ("MultiLabel", "Regression"):
        given = torch.randn(2, samples, 7, generator=random, dtype=dtype)
        return given[0], (given[1] > 0).to(dtype) if kind == "MultiLabel" else given[1]
    positions = {"LanguageModelling": (3,), "Segmentation": (2, 3)}.get(kind, ())
    outputs = torch.randn(samples, *positions, 7, generator=random, dtype=dtype)
    labels = torch.arange(math.prod(outputs.shape[:-1])).view(outputs.shape[:-1]) % 7
    return (outputs.movedim(-1, 1) if kind == "Segmentation" else outputs), labels


def test_loss_is_cross_entropy_summed_over_the_samples() -> None:
    # Two even chances between two classes, then certainty: ln 2 + ln 2 + 0.
    outputs = torch.tensor([[0.0, 0.0], [3.0, 3.0], [0.0, 200.0]])
    labels = torch.tensor([0, 1, 1])
    assert float(Classification().loss(outputs, labels)) == pytest.approx(2 * math.log(2))


def test_label_smoothing_acts_on_the_training_loss_and_not_on_the_measured_one() -> None:
    outputs, labels = torch.tensor([[0.0, math.log(3)]]), torch.tensor([1])
    # Chances 1/4 and 3/4; of the smoothed label 0.1 lies on the wrong class.
    plain, smoothed = -math.log(3 / 4), -0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4)
    task = Classification(label_smoothing=0.2)
    assert float(task.loss(outputs, labels)) == pytest.approx(smoothed)
    assert float(task.measure(outputs, labels)["loss"]) == pytest.approx(plain)


def test_hits_are_counted_among_the_best_one_and_the_best_five() -> None:
    outputs = torch.arange(6.0).flip(0).repeat(3, 1)  # class 0 is best, class 5 worst
    found = Classification().measure(outputs, torch.tensor([0, 4, 5]))
    assert (int(found["top1"]), int(found["top5"])) == (1, 2)


def test_with_few_classes_everything_is_among_the_best_five() -> None:
    found = Classification().measure(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1]))
    assert (int(found["top1"]), int(found["top5"])) == (1, 2)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 10.0, math.nan])
def test_label_smoothing_out_of_range_is_refused(smoothing) -> None:
    with pytest.raises(
        ValueError, match=r"label_smoothing must be a number in \[0, 1\), got .*; 0 turns"
    ):
        Classification(smoothing)


@every("task")
def test_task_gives_sums_so_that_parts_add_up_to_the_whole(task) -> None:
    outputs, labels = answers(task, 9, torch.float64)
    parts = [(outputs[:2], labels[:2]), (outputs[2:], labels[2:])]

    whole = task.measure(outputs, labels)
    cut = [task.measure(*part) for part in parts]
    assert "loss" in whole
    for key, value in whole.items():
        torch.testing.assert_close(cut[0][key] + cut[1][key], value)
    loss = sum(float(task.loss(*part)) for part in parts)
    assert loss == pytest.approx(float(task.loss(outputs, labels)), abs=1e-12)


@every("task")
def test_loss_of_a_task_has_a_gradient_and_its_measures_have_none(task) -> None:
    outputs, labels = answers(task, 4)
    task.loss(outputs.requires_grad_(), labels).backward()
    assert outputs.grad is not None and bool(outputs.grad.any())
    assert not any(value.requires_grad for value in task.measure(outputs, labels).values())
