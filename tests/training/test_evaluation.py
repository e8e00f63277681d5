import math

import pytest
import torch
from torch import Tensor, nn

from harness.data.base import Split
from harness.distributed import Ranks
from harness.task.classification import Classification
from harness.training.evaluation import evaluate

TASK = Classification()


def outputs_of(*rows: list[float]) -> Split:
    """Samples whose inputs an identity network passes on as its outputs; all of class 0."""
    return Split(torch.tensor(rows), torch.zeros(len(rows), dtype=torch.int64))


RIGHT, WRONG = [5.0, 0.0], [0.0, 5.0]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 1000])
def test_a_partial_batch_weighs_by_its_size(batch_size) -> None:
    split = outputs_of(RIGHT, RIGHT, RIGHT, RIGHT, WRONG)
    measured = evaluate(nn.Identity(), split, TASK, Ranks(), batch_size)
    assert measured.top1 == 0.8
    loss = math.log(1 + math.exp(-5))
    assert measured.loss == pytest.approx(loss + 5 / 5)
    assert measured.top5 == 1.0


def test_a_perfect_network_scores_exactly_one() -> None:
    split = outputs_of(*[RIGHT] * 1003)
    assert evaluate(nn.Identity(), split, TASK, Ranks(), batch_size=128).top1 == 1.0


def test_ranks_count_every_sample_once() -> None:
    class Counting(Classification):
        def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
            seen.extend(outputs[:, 1].int().tolist())
            return super().measure(outputs, labels)

    class Apart(Ranks):
        """One rank of several, without a group: sums stay its own."""

        def sum(self, tensor: Tensor) -> Tensor:
            return tensor

        def broadcast(self, tensors: list[Tensor]) -> None: ...

    seen: list[int] = []
    split = outputs_of(*[[0.0, float(number)] for number in range(11)])
    for rank in range(4):
        evaluate(nn.Identity(), split, Counting(), Apart(rank, 4), batch_size=2)
    assert sorted(seen) == list(range(11))


def test_more_ranks_than_samples_is_fine() -> None:
    class Apart(Ranks):
        def sum(self, tensor: Tensor) -> Tensor:
            # What the rank with the sample adds: a hit, no loss, and a sample that counts.
            return tensor + torch.tensor([1.0, 1.0, 0.0, 1.0])

        def broadcast(self, tensors: list[Tensor]) -> None: ...

    assert evaluate(nn.Identity(), outputs_of(RIGHT), TASK, Apart(3, 4)).top1 == 1.0


def test_the_network_is_measured_in_eval_mode_without_gradients() -> None:
    class Probe(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return inputs

    seen: list[tuple[bool, bool]] = []
    evaluate(Probe().train(), outputs_of(RIGHT), TASK, Ranks())
    assert seen == [(False, False)]


def test_mode_of_every_module_and_all_statistics_come_back() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.BatchNorm1d(2)).train()
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, outputs_of(RIGHT, WRONG), TASK, Ranks())
    assert [module.training for module in model] == [True, True, False]
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modes_come_back_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(99, 2)).train()
    with pytest.raises(RuntimeError):
        evaluate(model, outputs_of(RIGHT), TASK, Ranks())
    assert model.training and model[0].training


def test_nothing_to_measure_on_is_refused() -> None:
    empty = Split(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="cannot evaluate on 0 samples"):
        evaluate(nn.Identity(), empty, TASK, Ranks())
