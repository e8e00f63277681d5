"""Data sets of a user's own: functions that return them, and files of arrays."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import cases
from torch.utils.data import TensorDataset

from harness.data.base import Splits
from harness.data.blobs import Blobs
from harness.data.python import Python
from harness.data.shared.dividing import divided
from harness.data.tensors import Tensors


def samples(count: int, classes: int = 2) -> TensorDataset:
    """Returns samples ([i], i modulo the classes)."""
    numbers = torch.arange(count)
    return TensorDataset(numbers[:, None].float(), numbers % classes)


@pytest.fixture(name="own")
def fixture_own(monkeypatch) -> Callable[..., Python]:
    """Returns a data set whose target returns what it is given."""

    def made(value: Any, **keys: Any) -> Python:
        module = ModuleType("my_data")
        module.make = lambda size=None: value if size is None else value(size)  # type: ignore[attr-defined]
        module.number = 3  # type: ignore[attr-defined]
        monkeypatch.setitem(__import__("sys").modules, "my_data", module)
        return Python("my_data:make", **keys)

    return made


def values(splits: Splits) -> dict[str, list[float]]:
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {
        name: next(iter(part.batches([torch.arange(len(part))])))[0].flatten().tolist()
        for name, part in parts.items()
    }


def sizes(splits: Splits) -> list[int]:
    return [len(part) for part in (splits.train, splits.validation, splits.test)]


def test_one_data_set_is_divided_by_class_into_parts_without_a_common_sample(own) -> None:
    splits = own(samples(20)).load()
    parts = values(splits)
    assert (sizes(splits), splits.classes) == ([14, 2, 4], 2)
    assert sorted(sum(parts.values(), [])) == [*range(20)]
    assert [sum(value % 2 for value in part) for part in parts.values()] == [7, 1, 2]
    assert values(own(samples(20), split_seed=1).load()) != parts == values(own(samples(20)).load())


@cases(
    "given, expected",
    ((samples(10), samples(4)), [8, 2, 4]),
    ((samples(10), samples(6), samples(4)), [10, 6, 4]),
    ({"train": samples(10), "val": samples(2), "unlabelled": 1}, [8, 2, 2]),
)
def test_parts_that_are_there_stay_what_they_are(own, given, expected) -> None:
    assert sizes(own(given).load()) == expected


def test_splits_of_the_harness_pass_as_they_are_and_options_are_arguments(own) -> None:
    made = own(lambda size: Blobs(train=size).load(), options={"size": 40}).load()
    assert (sizes(made), made.classes) == ([40, 128, 256], 4)


def test_real_labels_are_targets(own) -> None:
    targets = TensorDataset(torch.zeros(10, 1), torch.rand(10, 3))
    assert own(targets).load().classes == 3


@cases(
    "given, says",
    (7, "train is an int, which has no length"),
    ({1}, "train is a set, which has no length or no samples by number"),
    ({"test": samples(3)}, "give one data set, .train, test."),
    (samples(2), "2 samples are too few for train, validation, test"),
    ([torch.zeros(2)], "data: sample 0 of train cannot be read: a sample must be .inputs, label."),
)
def test_what_is_no_data_set_is_refused(own, given, says) -> None:
    with pytest.raises(ValueError, match=says):
        own([given] if isinstance(given, list) else given).load()


def test_targets_that_cannot_be_called_are_refused(own) -> None:
    with pytest.raises(ValueError, match="data.target=my_data:make is called with sice: .*options"):
        own(samples(9), options={"sice": 1}).load()
    for target, says in (("my_data", "a colon"), ("my_data:no", "cannot be imported"),
                         ("my_data:number", "is no function or class")):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            Python(target)


def test_files_are_those_below_the_named_paths(own, tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.bin").touch()
    assert own(samples(9), paths=[str(tmp_path / "a")]).files() == [tmp_path / "a" / "1.bin"]
    assert own(samples(9)).files() is None
    with pytest.raises(ValueError, match="data.paths: there is no"):
        own(samples(9), paths=[str(tmp_path / "b")]).files()


def arrays(count: int) -> dict[str, np.ndarray]:
    numbers = np.arange(count)
    return {"inputs": numbers[:, None].astype(np.float32), "labels": numbers % 2}


def save(file: Path, content: dict[str, np.ndarray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.from_numpy(array) for name, array in content.items()}
    if file.suffix == ".npz":
        np.savez(file, **content)
    elif file.suffix == ".pt":
        torch.save(tensors, file)
    else:
        safetensors.torch.save_file(tensors, file)


@cases("ending", "npz", "pt", "safetensors")
def test_each_format_of_arrays_is_read(tmp_path, ending) -> None:
    whole, folder = tmp_path / f"all.{ending}", tmp_path / "parts"
    save(whole, arrays(20))
    one = Tensors(str(whole)).load()
    assert (sizes(one), one.classes) == ([14, 2, 4], 2)
    assert sorted(sum(values(one).values(), [])) == [*range(20)]
    save(folder / f"train.{ending}", arrays(10))
    save(folder / f"test.{ending}", arrays(3))
    assert sizes(Tensors(str(folder)).load()) == [8, 2, 3]
    counts = {"train": 10, "validation": 6, "test": 4}
    parts = {part: arrays(count) for part, count in counts.items()}
    both = {f"{part}_{name}": array for part in parts for name, array in parts[part].items()}
    save(whole, both)
    assert sizes(Tensors(str(whole)).load()) == [10, 6, 4]
    assert Tensors(str(whole)).files() == [whole]


def test_bytes_of_pictures_are_normalised_by_the_training_part(tmp_path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (10, 3, 4, 4), dtype=np.uint8)
    save(tmp_path / "train.npz", {"inputs": pictures, "labels": np.arange(10) % 2})
    train = Tensors(str(tmp_path)).load().to("cpu", torch.float32).train
    ((inputs, _),) = train.batches([torch.arange(len(train))])
    assert inputs.mean((0, 2, 3)).abs().max() < 1e-6
    assert (inputs.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6


def test_files_that_are_no_arrays_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="is no file .npz or .safetensors or .pt"):
        Tensors(str(tmp_path / "data.csv")).load()
    with pytest.raises(ValueError, match="has no train.npz, train.safetensors, train.pt"):
        Tensors(str(tmp_path)).load()
    for ending, content in (("npz", b"PK"), ("pt", b"cos\nsystem\n."), ("safetensors", b"x")):
        (tmp_path / f"bad.{ending}").write_bytes(content)
        with pytest.raises(ValueError, match=f"bad.{ending} cannot be read as arrays: ."):
            Tensors(str(tmp_path / f"bad.{ending}")).load()
    save(tmp_path / "x.npz", arrays(9))
    with pytest.raises(ValueError, match="has no array pixels, but inputs, labels; name yours"):
        Tensors(str(tmp_path / "x.npz"), inputs="pixels").load()
    save(tmp_path / "y.npz", {**arrays(9), "labels": np.arange(8)})
    with pytest.raises(ValueError, match="must have a row per sample"):
        Tensors(str(tmp_path / "y.npz")).load()
    np.savez(tmp_path / "z.npz", inputs=np.array([{"a": 1}]), labels=np.zeros(1))
    with pytest.raises(ValueError, match="z.npz cannot be read as arrays"):
        Tensors(str(tmp_path / "z.npz")).load()


def test_fractions_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="validation . test must be below 1, got 1"):
        divided(10, None, {"validation": 0.5, "test": 0.5}, 0)
