"""CIFAR-10: both layouts of its files, and files that are not it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import cases
from same_splits import equal

from harness.data.cifar10 import Cifar10

SMALL_CIFAR: dict[str, Any] = {"verify": False, "validation": 0.5}


def images(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Image i has the value i in all its red pixels, 100 + i in green, 200 in blue."""
    pixels = np.repeat(np.array([[i, 100 + i, 200 - i] for i in range(number)]), 1024, axis=1)
    return pixels.astype(np.uint8), np.arange(number) % 10


def write_python_layout(root: Path, number: int = 20) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels, labels = images(number)
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        with (folder / name).open("wb") as file:
            pickle.dump({"data": pixels, "labels": labels.tolist()}, file)


def write_binary_layout(root: Path, number: int = 20) -> None:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    pixels, labels = images(number)
    rows = np.column_stack([labels.astype(np.uint8), pixels])
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        rows.tofile(folder / name)


def test_both_cifar_layouts_give_the_same_splits(tmp_path) -> None:
    write_python_layout(tmp_path / "python")
    write_binary_layout(tmp_path / "binary")

    python = Cifar10(root=str(tmp_path / "python"), **SMALL_CIFAR).load()
    binary = Cifar10(root=str(tmp_path / "binary"), **SMALL_CIFAR).load()

    assert (len(python.train), len(python.validation), len(python.test)) == (20, 20, 20)
    assert (python.shape, python.classes) == ((3, 32, 32), 10)
    assert python.validation.labels.bincount().tolist() == [2] * 10
    assert equal(python, binary)


def test_cifar_images_are_read_channel_by_channel(tmp_path) -> None:
    write_python_layout(tmp_path)

    test = Cifar10(root=str(tmp_path), **SMALL_CIFAR).load().test

    # Red and green rise with the image's number, blue falls, and each is flat in one image.
    assert torch.equal(test.inputs, test.inputs[:, :, :1, :1].expand(-1, 3, 32, 32))
    red, green, blue = test.inputs[:, :, 0, 0].unbind(1)
    assert torch.allclose(red, green, atol=1e-5) and torch.allclose(red, -blue, atol=1e-5)
    assert (red.diff() > 0).all()
    assert test.labels.tolist() == [*range(10), *range(10)]


def test_cifar_that_is_not_there_names_the_folder_and_the_command(tmp_path) -> None:
    with pytest.raises(ValueError) as caught:
        Cifar10(root=str(tmp_path)).load()
    assert str(caught.value) == (
        f"data.root={tmp_path}: no cifar-10-batches-py or cifar-10-batches-bin in {tmp_path}; "
        f"run pruning-harness data prepare cifar10 {tmp_path}"
    )


@cases("write", write_python_layout, write_binary_layout)
def test_cifar_with_other_contents_is_refused_unless_verify_is_off(tmp_path, write) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match="not the official CIFAR-10: data_batch_1.*verify=false"):
        Cifar10(root=str(tmp_path)).load()


def test_cifar_without_test_file_is_refused(tmp_path) -> None:
    write_python_layout(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(ValueError, match="needs data_batch_. and test_batch"):
        Cifar10(root=str(tmp_path), **SMALL_CIFAR).load()


def test_cifar_binary_file_that_is_cut_off_is_refused(tmp_path) -> None:
    write_binary_layout(tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"data_batch_2.bin must hold 3073 bytes .* got 61459"):
        Cifar10(root=str(tmp_path), **SMALL_CIFAR).load()


@cases(
    "entry",
    {"data": images(20)[0], "fine_labels": [0] * 20},
    {"data": images(20)[0], "labels": [10] * 20},
    {"data": images(20)[0], "labels": [0] * 19},
    {"data": images(20)[0].astype(np.float32), "labels": [0] * 20},
    {"data": images(20)[0][:, :-1], "labels": [0] * 20},
)
def test_cifar_files_of_another_data_set_are_refused(tmp_path, entry) -> None:
    write_python_layout(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(pickle.dumps(entry))
    with pytest.raises(ValueError, match="data_batch_2 must hold .* is it another data set"):
        Cifar10(root=str(tmp_path), **SMALL_CIFAR).load()


def test_cifar_validation_share_with_too_few_images_is_refused(tmp_path) -> None:
    write_python_layout(tmp_path)
    with pytest.raises(ValueError, match="validation=0.1 holds out 4 of 40 training images"):
        Cifar10(root=str(tmp_path), verify=False, validation=0.1).load()


def test_constructing_reads_no_file(tmp_path) -> None:
    assert Cifar10(root=str(tmp_path / "nothing")).root == str(tmp_path / "nothing")
