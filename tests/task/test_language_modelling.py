import math

import pytest
import torch
from conftest import cases
from torch import nn

from harness.data.base import Split
from harness.distributed import Ranks
from harness.task.classification import Classification
from harness.task.language_modelling import LanguageModelling
from harness.training.evaluation import evaluate

TASK = LanguageModelling()
LN3 = math.log(3)


def test_loss_is_a_mean_over_positions_summed_over_samples() -> None:
    outputs = torch.tensor([[[0.0, 0.0], [0.0, LN3]], [[LN3, 0.0], [0.0, 0.0]]])
    labels = torch.tensor([[0, 1], [1, 1]])
    # Chances of the labels: 1/2 and 3/4, then 1/4 and 1/2.
    first, second = (math.log(2) + math.log(4 / 3)) / 2, (math.log(4) + math.log(2)) / 2
    assert float(TASK.loss(outputs, labels)) == pytest.approx(first + second)
    assert float(TASK.measure(outputs, labels)["loss"]) == pytest.approx(first + second)


def test_gradient_of_a_position_is_divided_by_the_number_of_positions() -> None:
    outputs = torch.zeros(1, 2, 2, requires_grad=True)
    TASK.loss(outputs, torch.tensor([[0, 1]])).backward()
    # (softmax - label) / 2 positions
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [[[-0.25, 0.25], [0.25, -0.25]]]


def test_hits_are_shares_of_positions_summed_over_samples() -> None:
    outputs = torch.arange(6.0).flip(0).repeat(2, 4, 1)  # class 0 is best, class 5 worst
    labels = torch.tensor([[0, 4, 5, 0], [5, 5, 5, 0]])
    found = TASK.measure(outputs, labels)
    # 2 of 4 and 1 of 4; among the best five 3 of 4 and 1 of 4.
    assert (float(found["top1"]), float(found["top5"])) == (0.75, 1.0)


def test_with_few_classes_everything_is_among_the_best_five() -> None:
    found = TASK.measure(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[1, 1]]))
    assert (float(found["top1"]), float(found["top5"])) == (0.5, 1.0)


@cases("batch_size", 1, 2, 1000)
def test_a_measured_loss_is_in_nats_per_position(batch_size) -> None:
    outputs = torch.zeros(3, 5, 4)  # even chances between four classes: ln 4 nats, 2 bits
    outputs[0, :, 1] = 100.0  # but one sample of three is certain and right
    split = Split(outputs, torch.ones(3, 5, dtype=torch.int64))
    found = evaluate(nn.Identity(), split, TASK, Ranks(), batch_size)
    assert found.loss == pytest.approx(2 / 3 * math.log(4))
    assert found.top5 == 1.0


@cases(
    "outputs, labels",
    (torch.zeros(4, 7), torch.zeros(4, dtype=torch.int64)),
    (torch.zeros(4, 7), torch.zeros(4, 3, dtype=torch.int64)),
    (torch.zeros(4, 3, 7), torch.zeros(4, dtype=torch.int64)),
    (torch.zeros(4, 3, 7), torch.zeros(4, 2, dtype=torch.int64)),
)
def test_other_shapes_are_refused_with_both_of_them(outputs, labels) -> None:
    with pytest.raises(ValueError, match=r"outputs \(samples, positions, classes\).* got \(4, .*7"):
        TASK.loss(outputs, labels)
    with pytest.raises(ValueError, match="task=classification"):
        TASK.measure(outputs, labels)


def test_classification_of_sequences_names_the_task_wanted() -> None:
    with pytest.raises(ValueError, match=r"labels \(4, 3\); .* task=language_modelling"):
        Classification().loss(torch.zeros(4, 3, 7), torch.zeros(4, 3, dtype=torch.int64))
