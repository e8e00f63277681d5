"""Losses must be sums over the samples: twice the samples double a sum, and leave a mean alone."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from conftest import cases
from small_training import blobs
from torch import Tensor, nn

import harness
from harness.data.base import Splits
from harness.distillation.hinton import Hinton
from harness.distributed import Ranks
from harness.experiment.checks.given_data import check_task_sums
from harness.experiment.workload import Workload
from harness.models.mlp import Mlp
from harness.task.classification import Classification
from harness.task.shared.sums import check_sums

Totals = Callable[[Any, Any], Tensor]
OUTPUTS, LABELS = torch.tensor([[1.0, 2.0], [3.0, 5.0], [0.5, 0.0]]), torch.tensor([0, 1, -100])


class Table(nn.Module):
    """Sample number -> what was made of its row."""

    def __init__(self, rows: Tensor, made: Callable[[Tensor], Any]):
        super().__init__()
        self.rows, self.made, self.last = rows, made, 0

    def forward(self, inputs: Tensor) -> Any:
        self.last = len(inputs)  # as a recurrent network keeps its state
        chosen = self.rows[inputs]
        inputs.zero_()
        return self.made(chosen)


def check(
    total: Totals,
    made: Callable[[Tensor], Any] = lambda rows: rows,
    labels: Tensor = LABELS,
    rows: Tensor = OUTPUTS,
) -> None:
    table, inputs = Table(rows, made), torch.arange(len(rows))
    check_sums(lambda o, y: {"loss": total(o, y)}, table, [(inputs, labels)])
    assert table.last == 0 and inputs.tolist() == [*range(len(rows))]


MEANS: dict[str, Totals] = {
    "cross-entropy": F.cross_entropy,
    "over weighted classes": lambda o, y: F.cross_entropy(o, y, weight=torch.tensor([1.0, 3.0])),
    "in bfloat16": lambda o, y: F.cross_entropy(o.bfloat16(), y),
    "squares": lambda o, y: F.mse_loss(o[:, 0], y.float()),
    "0 on these samples": lambda o, y: (o - OUTPUTS[:1, :1]).relu().mean(),
    "of two outputs": lambda o, y: o[0].mean() + o[1]["other"].mean(),
}
SUMS: dict[str, Totals] = {
    "cross-entropy": lambda o, y: F.cross_entropy(o, y, reduction="sum"),
    "mean over positions": lambda o, y: o.mean(dim=1).sum(),
    "divided by a constant": lambda o, y: o.sum() / 32,
    "always 0": lambda o, y: o.sum() * 0,
}
NEITHER: dict[str, Totals] = {
    "contrasts samples": lambda o, y: (o @ o.T).logsumexp(1).sum(),
    "of one shape only": lambda o, y: (o - OUTPUTS[:2]).sum(),
    "not finite": lambda o, y: o.sum() * torch.inf,
    "refuses": lambda o, y: 1 / 0,  # type: ignore[dict-item,return-value]
}


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_is_refused_with_its_values_and_the_way_out(name) -> None:
    made: Callable[[Tensor], Any] = lambda rows: rows  # noqa: E731
    if name == "of two outputs":
        made = lambda rows: (rows, {"other": rows + 1})  # noqa: E731
    if name == "0 on these samples":
        made = lambda rows: rows * 0  # noqa: E731
    with pytest.raises(ValueError, match="loss is .* as of a mean; .* reduction='sum'"):
        check(MEANS[name], made)


class Named(NamedTuple):
    logits: Tensor
    inputs: Tensor


@dataclass
class Held:
    logits: Tensor


class Ordered(OrderedDict[str, Tensor]):
    """Holds outputs by key and by attribute, as Hugging Face's ModelOutput does."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]


KINDS: dict[str, Callable[[Tensor], Any]] = {
    "named tuple": lambda rows: Named(rows, rows),
    "data class": Held,
    "dict with attributes": lambda rows: Ordered(logits=rows),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mean_is_seen_whatever_kind_of_thing_the_network_returns(kind) -> None:
    with pytest.raises(ValueError, match="as of a mean"):
        check(lambda o, y: F.cross_entropy(o.logits, y), KINDS[kind])
    check(lambda o, y: F.cross_entropy(o.logits, y, reduction="sum"), KINDS[kind])


@cases(
    "mean",
    lambda o, y: F.cross_entropy(o, y, ignore_index=7),  # NaN where no label counts
    lambda o, y: F.cross_entropy(o, y, ignore_index=7, reduction="sum") / max(1, (y != 7).sum()),
    ids=["NaN", "0"],
)
def test_samples_whose_labels_do_not_count_for_this_loss_are_not_the_ones_asked(mean) -> None:
    rows, labels = torch.randn(7, 3), torch.tensor([7, 7, 7, 7, 1, 2, 0])
    with pytest.raises(ValueError, match="as of a mean"):
        check(mean, labels=labels, rows=rows)


@cases("total", *SUMS.values(), *NEITHER.values(), ids=[*SUMS, *NEITHER])
def test_a_sum_passes_and_so_does_what_cannot_be_told(total) -> None:
    check(total)


def test_a_network_that_takes_no_other_batch_cannot_be_told() -> None:
    check(F.cross_entropy, lambda rows: rows.view(3, 2))


def test_a_loss_of_each_sample_is_refused_with_its_shape() -> None:
    with pytest.raises(ValueError, match=r"loss has shape \(2,\) and must be one number"):
        check(lambda o, y: F.cross_entropy(o, y, reduction="none"))


@cases("saliency", "gradient", "fisher", "grasp", "taylor_unit")
def test_the_api_refuses_a_mean_and_leaves_the_model_alone(saliency) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = [(blobs(6).inputs, blobs(6).labels)]
    structure = "neuron" if saliency == "taylor_unit" else "element"
    for call in (harness.score, harness.prune):
        more = {"density": 0.5} if call is harness.prune else {}
        given = {"saliency": saliency, "structure": structure, "batches": data, **more}
        with pytest.raises(ValueError, match="loss is .* as of a mean"):
            call(model, **given, loss=F.cross_entropy)  # type: ignore[operator]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_how_batches_are_cut_decides_no_score_of_a_sum() -> None:
    torch.manual_seed(0)
    model, data = nn.Linear(4, 3), blobs(6)

    def total(outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels, reduction="sum")

    whole = harness.score(model, "gradient", batches=[(data.inputs, data.labels)], loss=total)
    parts = [(data.inputs[:2], data.labels[:2]), (data.inputs[2:], data.labels[2:])]
    cut = harness.score(model, "gradient", batches=parts, loss=total)
    assert torch.allclose(whole["weight"], cut["weight"], atol=1e-6)


class MeanLoss(Classification):
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels)


class MeanHits(Classification):
    def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {key: value / len(labels) for key, value in super().measure(outputs, labels).items()}


class MeanTeacher(Hinton):
    def loss(self, *parts: Any) -> Tensor:
        return super().loss(*parts) / len(parts[0])


@cases(
    "task, distillation, said",
    (MeanLoss(), None, r"loss\(\) of task MeanLoss is"),
    (MeanHits(), None, r'measure\(\)\["[a-z15]+"\] of task MeanHits is'),
    (Classification(), MeanTeacher(), r"loss\(\) of distillation MeanTeacher is"),
)
def test_a_run_refuses_a_mean_before_it_trains(task, distillation, said) -> None:
    network = Mlp(hidden=[3]).build((4,), 3)
    every = Splits(blobs(9), blobs(9), blobs(9), 3)
    subject = Workload(Mlp(hidden=[3]), every, task, Ranks(), 0, torch.float32)
    with pytest.raises(ValueError, match=said):
        check_task_sums(subject, network, distillation)


def test_a_run_of_sums_draws_nothing_and_leaves_its_network_alone() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    every = Splits(blobs(9), blobs(9), blobs(9), 3)
    subject = Workload(Mlp(hidden=[3]), every, Classification(), Ranks(), 0, torch.float32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    check_task_sums(subject, network, Hinton())
    assert torch.equal(torch.get_rng_state(), state) and network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
