"""Tests a split of an own kind: three methods are enough for a whole run."""

from collections.abc import Iterable, Iterator

import pytest
import torch
from conftest import cases
from whole_runs import TWO_LEVELS, whole_run

from harness.data.base import Split, Splits, first_inputs, labels_of
from harness.data.blobs import Blobs
from harness.data.calibration import Samples
from harness.vocabulary.tensors import Batch


class Files:
    """Reads a sample when a batch asks for it, as from a file; has no tensor of all."""

    def __init__(self, split: Split) -> None:
        self._samples = list(zip(split.inputs, split.labels, strict=True))

    def __len__(self) -> int:
        return len(self._samples)

    def batches(self, indices: Iterable[torch.Tensor]) -> Iterator[Batch]:
        for chosen in indices:
            inputs, labels = zip(*(self._samples[i] for i in chosen.tolist()), strict=True)
            yield torch.stack(inputs), torch.stack(labels)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Files":
        pairs = [(i.to(device, dtype), label.to(device)) for i, label in self._samples]
        moved = Files.__new__(Files)
        moved._samples = pairs
        return moved


def in_files(splits: Splits) -> Splits:
    parts = (Files(part) for part in (splits.train, splits.validation, splits.test))
    return Splits(*parts, splits.classes)  # type: ignore[arg-type]


@pytest.fixture(name="splits")
def fixture_splits() -> Splits:
    return Blobs(train=40, validation=8, test=16).load()


@cases("count", 1, 3, 40, 41)
def test_first_inputs_and_all_labels_are_those_of_the_tensors(splits, count) -> None:
    files = in_files(splits)
    assert torch.equal(first_inputs(files.train, count), splits.train.inputs[:count])
    assert torch.equal(labels_of(files.train), splits.train.labels)
    assert files.shape == splits.shape == (8,)


def test_labels_that_are_at_hand_read_no_input(splits, monkeypatch) -> None:
    monkeypatch.setattr(Split, "batches", None)
    assert torch.equal(labels_of(splits.train), splits.train.labels)


@cases("samples", Samples(16), Samples(None, per_class=3), Samples(16, balanced=False))
def test_calibration_draws_the_same_samples(splits, samples) -> None:
    drawn = [samples.indices(kind.train, 4, 0) for kind in (in_files(splits), splits)]
    assert torch.equal(*drawn)


def test_a_whole_run_records_the_same(tmp_path, monkeypatch) -> None:
    more = (*TWO_LEVELS, "saliency=gradient", "recalibration=batch_norm", "model.batch_norm=true")
    tensors = whole_run(tmp_path / "tensors", *more)
    load = Blobs.load
    monkeypatch.setattr(Blobs, "load", lambda blobs: in_files(load(blobs)))
    assert whole_run(tmp_path / "files", *more).records == tensors.records
