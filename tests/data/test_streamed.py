"""Samples that are read when a batch needs them are those that are held, by any workers."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import cases
from handlers import as_before

from harness.data.base import Split, Splits, for_epoch
from harness.data.shared.loading import Loading, loading
from harness.data.shared.pixels import Pixels
from harness.data.shared.streamed import ArraySamples, Streamed, streamed_splits
from harness.data.shared.transforms import train_transforms

INDICES = [torch.tensor(each) for each in ([3, 0, 5], [1, 2], [4], [7, 6])]
SCALE = ([0.25], [0.5])
PICTURES = torch.arange(8 * 4, dtype=torch.uint8).view(8, 1, 2, 2)


def noisy(inputs: torch.Tensor) -> torch.Tensor:
    """Adds what torch, NumPy and Python's random draw."""
    drawn = torch.rand(1), torch.tensor(np.random.rand()), torch.tensor(random.random())
    return inputs.float() + sum(drawn)


@pytest.fixture(autouse=True)
def fixture_handlers_of_loaders() -> Iterator[None]:
    """Restores the handler by which torch notices that a worker has died."""
    with as_before():
        yield


class Labelled:
    """Holds samples of which one is damaged."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index == 2:
            raise OSError("cut off")
        return torch.tensor([float(index)]), index

    def name_of(self, index: int) -> str:
        return f"file{index}.png"


def splits(samples: Any = None, transform: Callable[[Any], Any] | None = None) -> Splits:
    given = samples or ArraySamples(PICTURES, torch.arange(8))
    parts = dict.fromkeys(("train", "validation", "test"), given)
    return streamed_splits(parts, 8, scale=SCALE, transform=transform)


def read(split: Split, indices: Any = INDICES) -> list[tuple[Any, list[int]]]:
    return [(inputs.tolist(), labels.tolist()) for inputs, labels in split.batches(indices)]


@cases("workers", 0, 1, 2)
def test_held_and_streamed_pictures_are_equal_bit_for_bit(workers) -> None:
    pixels = Pixels(PICTURES, torch.arange(8), (0.25,), (0.5,)).to("cpu", torch.float64)
    with loading(workers, False):
        streamed = splits().train.to("cpu", torch.float64)
        assert isinstance(streamed, Streamed)
        assert (
            read(streamed) == read(pixels) == read(streamed)
        )  # a second epoch, by the same workers
    with loading(workers, True):
        whole = splits().train.to("cpu", torch.float64)
    assert isinstance(whole, Pixels)
    assert read(whole) == read(pixels)


@cases("workers", 1, 2)
def test_transforms_depend_on_epoch_and_sample_alone(workers) -> None:
    with loading(0, "auto"):
        train = splits(transform=noisy).train.to("cpu", torch.float32)
        expected = read(for_epoch(train, 5))
    with loading(workers, "auto"):
        train = splits(transform=noisy).train.to("cpu", torch.float32)
        assert read(for_epoch(train, 5)) == expected
        assert read(for_epoch(train, 6)) != expected
        # After a stop inside the epoch.
        assert read(for_epoch(train, 5), INDICES[1:]) == expected[1:]
        # Outside of the training loop nothing is transformed.
        ((inputs, _),) = train.batches([torch.tensor([3])])
        assert inputs.flatten().tolist() == pytest.approx(
            [(p / 255 - 0.25) / 0.5 for p in range(12, 16)]
        )


@cases("workers", 0, 1)
def test_reading_leaves_all_random_streams_alone(workers) -> None:
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(2).tolist(), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    with loading(workers, False):
        read(for_epoch(splits(transform=noisy).train, 5))
    assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == expected


@cases("workers", 0, 1)
def test_a_sample_that_cannot_be_read_is_named_in_one_line(workers) -> None:
    with loading(workers, False), pytest.raises(ValueError) as caught:
        read(splits(Labelled()).train)
    assert str(caught.value) == "data: file2.png of train cannot be read: cut off"


def test_a_second_series_beside_one_that_is_read_reads_the_same() -> None:
    with loading(1, False):
        made = splits()
        first, second = made.train.batches(INDICES), made.validation.batches(INDICES)
        assert [next(first)[1].tolist(), next(second)[1].tolist()] == [[3, 0, 5], [3, 0, 5]]
        assert [labels.tolist() for _, labels in first] == [[1, 2], [4], [7, 6]]


def test_the_end_of_loading_ends_the_workers() -> None:
    with loading(2, False):
        train = splits().train
        read(train)
        workers = train.pool._processes.loader._iterator._workers
        assert [worker.is_alive() for worker in workers] == [True, True]
    assert not any(worker.is_alive() for worker in workers)


def test_dicts_of_tensors_are_stacked_by_key_and_keep_their_ids() -> None:
    class Texts:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return {"ids": torch.tensor([index, 9]), "mask": np.array([1.0, 0.0])}, 0.5 * index

    for hold in (True, False):
        with loading(0, hold):
            train = splits(Texts()).train.to("cpu", torch.float32)
        assert isinstance(train, Split) == hold
        ((inputs, labels),) = train.batches([torch.tensor([2, 0])])
        assert inputs["ids"].tolist() == [[2, 9], [0, 9]]
        assert (inputs["mask"].dtype, labels.tolist()) == (torch.float32, [1.0, 0.0])


def test_the_scale_of_pixels_is_said() -> None:
    assert (splits().train.mean, splits().train.std) == ((0.25,), (0.5,))


def test_a_batch_of_no_samples_has_the_shape_of_the_others() -> None:
    ((inputs, labels),) = splits().train.batches([torch.tensor([], dtype=torch.int64)])
    assert (inputs.shape, labels.shape) == ((0, 1, 2, 2), (0,))


def test_what_is_held_is_decided_by_the_free_memory(monkeypatch) -> None:
    monkeypatch.setattr("harness.data.shared.loading._free_bytes", lambda device: 400)
    cpu = torch.device("cpu")
    assert [Loading().holds(size, cpu) for size in (100, 101)] == [True, False]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert [Loading().holds(size, cpu) for size in (50, 51)] == [True, False]
    assert Loading(hold=True).holds(10**15, cpu)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(8))
    assert (Loading().workers_on(cpu), Loading(workers=6).workers_on(cpu)) == (3, 6)


@cases(
    "entry, says",
    ("RandomFlip", "RandomFlip is no transform; did you mean"),
    ({"RandomCrop": {"sise": 2}}, "RandomCrop does not take {'sise': 2}"),
    ({"RandomCrop": {}, "Resize": {}}, "write NAME or {NAME: ARGUMENTS}"),
)
def test_wrong_transforms_are_refused(entry, says) -> None:
    with pytest.raises(ValueError, match=says):
        train_transforms([entry])


def test_transforms_are_those_of_torchvision() -> None:
    flip = train_transforms([{"RandomHorizontalFlip": {"p": 1.0}}])
    assert flip(torch.tensor([[[1, 2]]])).tolist() == [[[2, 1]]]
