"""Tests data as people have them: a run is right, or refused in one line before it trains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from given_runs import Batches, Own, last_record, mlp, of, own, points, prepared, refusal
from torch import Tensor, nn

from harness.data.base import Split, Splits
from harness.data.shared.digest import digest


def shifted(by: int) -> Batches:
    return lambda count: (points(count)[0], points(count)[1] + by)


def one_odd(part: int, change: Callable[[Split], Split]) -> Callable[[], Splits]:
    def make() -> Splits:
        splits = [Split(*points(count)) for count in (40, 16, 16)]
        splits[part] = change(splits[part])
        return Splits(*splits, 3)

    return make


ODD_DATA: dict[str, tuple[Callable[[], Any], str]] = {
    "a label above": (of(shifted(1)), "12 of 40 labels of the train data are outside"),
    "a label below": (of(shifted(-1)), "outside the 3 classes 0 to 2"),
    "in validation": (
        one_odd(1, lambda split: Split(split.inputs, split.labels + 9)),
        "labels of the validation",
    ),
    "in test": (
        one_odd(2, lambda split: Split(split.inputs, split.labels + 9)),
        "of the test data",
    ),
    "real labels": (
        of(lambda n: (points(n)[0], points(n)[1].float())),
        "classes are int64",
    ),
    "a column of labels": (
        of(lambda n: (points(n)[0], points(n)[1][:, None])),
        "needs one label per sample",
    ),
    "inputs of NaN": (
        of(lambda n: (points(n)[0] * torch.nan, points(n)[1])),
        "NaN",
    ),
    "inputs of infinity": (
        one_odd(2, lambda split: Split(split.inputs / 0, split.labels)),
        "of the test data hold",
    ),
    "numpy": (of(lambda n: (points(n)[0].numpy(), points(n)[1])), "convert with torch.as_tensor"),
    "lists": (
        of(lambda n: (points(n)[0].tolist(), points(n)[1].tolist())),
        "of a list",
    ),
    "no dimensions": (of(lambda n: (torch.ones(()), torch.ones(()))), "must be (samples, ...)"),
    "nothing to test": (
        one_odd(2, lambda split: Split(split.inputs[:0], split.labels[:0])),
        "the test split has no samples",
    ),
    "no classes": (of(points, classes=0), "classes must be a whole number of at least 1, got 0"),
    "unknown classes": (of(points, classes=None), "classes must be a whole number"),
    "half a class": (of(points, classes=2.5), "classes must be a whole number"),
    "a dictionary": (
        lambda: {"train": 1},
        "must return Splits of harness.data.base",
    ),
    "nothing": (lambda: None, "load() must return Splits"),
    "a tensor as split": (of(points, kind=lambda inputs, labels: inputs), "which has no batches"),
    "inputs in a dictionary": (
        of(points, kind=own(lambda x, y: ({"ids": x}, y))),
        "fails on the shapes of the inputs ids (KeyError: 0)",
    ),
    "inputs in a tuple": (
        of(points, kind=own(lambda x, y: ((x, x), y))),
        "give several inputs as a dictionary of tensors",
    ),
    "dictionaries": (of(points, kind=own(lambda x, y: {"x": x, "y": y})), "got a dict of x, y"),
    "triples": (of(points, kind=own(lambda x, y: (x, y, y))), "got a tuple of a tensor (2, 8), a"),
    "arrays": (of(points, kind=own(lambda x, y: (x.numpy(), y))), "convert with torch.as_tensor"),
    "too few labels": (of(points, kind=own(lambda x, y: (x, y[:1]))), "must hold a row per sample"),
    "ids for a linear layer": (
        of(lambda n: (torch.ones(n, 8).long(), points(n)[1])),
        "convert them with .float()",
    ),
}


@pytest.mark.parametrize("kind", ODD_DATA)
def test_data_that_no_run_can_use_are_described(tmp_path, kind) -> None:
    data, message = ODD_DATA[kind]
    assert message in refusal(lambda: prepared(tmp_path, data))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["a dictionary", "nothing to test", "inputs in a tuple", "arrays"])
def test_data_are_checked_before_they_are_hashed(kind) -> None:
    data, message = ODD_DATA[kind]
    assert message in refusal(lambda: digest(data()))


@pytest.mark.parametrize("classes", [torch.tensor(3), 3])
def test_a_number_of_classes_may_be_of_another_library(tmp_path, classes) -> None:
    splits = prepared(tmp_path, of(points, classes=classes)).context.workload.splits
    assert type(splits.classes) is int and splits.classes == 3


def test_a_label_that_only_a_batch_shows_is_named_when_it_comes(tmp_path) -> None:
    late = of(points, kind=own(lambda x, y: (x, y + 7 * (len(y) > 2))))
    levels = prepared(tmp_path, late, mlp, "saliency=magnitude")
    assert "labels of a batch are outside the 3 classes" in refusal(lambda: last_record(levels))


ROUNDS = "schedule.rounds=2"


def table(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Embedding(5, 4), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, classes)
    )


def ids(count: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randint(0, 5, (count, 4), generator=torch.Generator().manual_seed(count))
    return inputs, inputs.sum(1) % 3


@pytest.mark.parametrize("part", ["saliency=gradient", "saliency=synflow", "dtype=float64"])
def test_ids_reach_an_embedding_as_integers(tmp_path, part) -> None:
    more = (part, "structure=row", ROUNDS)
    record = last_record(prepared(tmp_path, of(ids), table, *more))
    assert record.density == 0.5 and record.effective_density_unknown is None
    assert record.effective_density is not None and record.effective_density <= 0.5


def test_an_id_outside_of_the_table_is_named(tmp_path) -> None:
    data = of(lambda count: (ids(count)[0] + 3, ids(count)[1]))
    assert "hold an id outside of the model's table" in refusal(
        lambda: prepared(tmp_path, data, table)
    )


@dataclass(frozen=True)
class Squares:
    """Is a task with real-valued targets."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(outputs.squeeze(-1), labels, reduction="sum")

    @torch.no_grad()
    def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        hits = ((outputs.squeeze(-1) - labels).abs() < 0.5).sum()
        return {"top1": hits, "top5": hits, "loss": self.loss(outputs, labels)}


def sums(count: int) -> tuple[Tensor, Tensor]:
    inputs = points(count)[0]
    return inputs, 2 * inputs[:, 0] + inputs[:, 1]


@pytest.mark.parametrize("saliency, kind", [("magnitude", Own), ("gradient", Split)])
def test_real_valued_targets_need_no_classes(tmp_path, saliency, kind) -> None:
    data = of(sums, classes=1, kind=kind)
    levels = prepared(tmp_path, data, mlp, f"saliency={saliency}", task=Squares())
    assert last_record(levels).density == 0.5


def test_targets_that_are_no_numbers_are_named(tmp_path) -> None:
    data = of(lambda count: (points(count)[0], points(count)[0][:, 0] / 0), classes=1)
    message = refusal(lambda: prepared(tmp_path, data, task=Squares()))
    assert message.startswith("labels of the train data hold NaN or infinity")


MANY = "calibration.samples=512"


@pytest.mark.parametrize("saliency", ["saliency=magnitude", "saliency=synflow"])
def test_a_saliency_that_reads_no_samples_needs_none(tmp_path, saliency) -> None:
    few, many = (
        last_record(prepared(tmp_path / name, of(points), mlp, saliency, samples, ROUNDS))
        for name, samples in (("few", "calibration.samples=1"), ("many", MANY))
    )
    assert few.masks == many.masks != ""


def test_a_saliency_that_reads_samples_says_how_many_there_are(tmp_path) -> None:
    call = lambda: prepared(tmp_path, of(points), mlp, "saliency=gradient", MANY)  # noqa: E731
    assert "calibration.samples=512, but there are only 40 training samples" in refusal(call)


def test_counts_as_labels_are_not_shared_between_classes(tmp_path) -> None:
    data = of(lambda count: (points(count)[0], torch.arange(count)), classes=1)
    call = lambda: prepared(tmp_path, data, mlp, "saliency=gradient", task=Squares())  # noqa: E731
    assert "set calibration.balanced=false" in refusal(call)
