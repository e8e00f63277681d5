"""Data sets of torchvision by name: their file formats, and what is refused."""

import bz2
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import cases
from PIL import Image

from harness.data.torchvision import Torchvision

SMALL = {"verify": False, "validation": 0.5}


def write(root: Path, name: str, content: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def idx(values: np.ndarray) -> bytes:
    """Returns MNIST's format: 0, 0, type, axes, the sizes, the numbers, all big-endian."""
    kind = {"uint8": 8, "int32": 12}[values.dtype.name]
    sizes = np.array(values.shape, ">u4").tobytes()
    return (
        bytes([0, 0, kind, values.ndim])
        + sizes
        + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )


def write_idx(root: Path, start: str, labels: np.ndarray, kind: str = "idx1-ubyte") -> None:
    """Writes 2 x 2 pictures; picture i has the value i in all its pixels."""
    pictures = np.arange(len(labels), dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)
    write(root, f"{start}-images-idx3-ubyte", idx(pictures))
    write(root, f"{start}-labels-{kind}", idx(labels))


def two_of_each(classes: int, first: int = 0) -> np.ndarray:
    return (np.arange(2 * classes) % classes + first).astype(np.uint8)


def write_fashion(root: Path) -> None:
    for part in ("train", "t10k"):
        write_idx(root, f"FashionMNIST/raw/{part}", two_of_each(10))


def write_letters(root: Path) -> None:
    for part in ("train", "test"):
        write_idx(root, f"EMNIST/raw/emnist-letters-{part}", two_of_each(26, first=1))


def write_qmnist(root: Path) -> None:
    labels = np.stack([two_of_each(10), np.full(20, 7)], 1).astype(np.int32)
    for part in ("train", "test"):
        write_idx(root, f"QMNIST/raw/qmnist-{part}", labels, "idx2-int")


def write_cifar100(root: Path) -> None:
    pixels = np.arange(200, dtype=np.uint8)[:, None].repeat(3072, 1)
    for part in ("train", "test"):
        labels = {"fine_labels": two_of_each(100).tolist(), "coarse_labels": [0] * 200}
        write(root, f"cifar-100-python/{part}", pickle.dumps({"data": pixels, **labels}))


def write_svhn(root: Path) -> None:
    from scipy.io import savemat

    labels = np.array([[10, *range(1, 10)] * 2]).T  # 10 is the digit 0
    pixels = (
        np.arange(20, dtype=np.uint8)[None, None, None].repeat(32, 0).repeat(32, 1).repeat(3, 2)
    )
    for part in ("train", "test"):
        savemat(root / f"{part}_32x32.mat", {"X": pixels, "y": labels})


def write_stl10(root: Path) -> None:
    pixels = np.arange(20, dtype=np.uint8)[:, None].repeat(3 * 96 * 96, 1)
    for part in ("train", "test"):
        write(root, f"stl10_binary/{part}_X.bin", pixels.tobytes())
        write(root, f"stl10_binary/{part}_y.bin", two_of_each(10, first=1).tobytes())


def write_usps(root: Path) -> None:
    lines = [
        f"{i % 10 + 1} " + " ".join(f"{n}:{-1 + 2 * i / 255}" for n in range(1, 257)) + "\n"
        for i in range(20)
    ]
    for name in ("usps.bz2", "usps.t.bz2"):
        write(root, name, bz2.compress("".join(lines).encode()))


@cases(
    "name, make, shape, classes, options",
    ("FashionMNIST", write_fashion, (1, 2, 2), 10, None),
    ("EMNIST", write_letters, (1, 2, 2), 26, {"split": "letters"}),
    ("QMNIST", write_qmnist, (1, 2, 2), 10, None),
    ("CIFAR100", write_cifar100, (3, 32, 32), 100, None),
    ("SVHN", write_svhn, (3, 32, 32), 10, None),
    ("STL10", write_stl10, (3, 96, 96), 10, None),
    ("USPS", write_usps, (1, 16, 16), 10, None),
)
def test_each_format_gives_pictures_with_their_labels(
    tmp_path, name, make, shape, classes, options
) -> None:
    make(tmp_path)
    splits = Torchvision(
        name, str(tmp_path), mean=[0.0] * shape[0], std=[1.0] * shape[0], options=options, **SMALL
    ).load()
    assert (splits.shape, splits.classes) == (shape, classes)
    assert (len(splits.train), len(splits.validation)) == (classes, classes)
    assert splits.validation.labels.sort().values.tolist() == [*range(classes)]
    inputs, labels = next(splits.test.batches([torch.arange(2 * classes)]))
    values = (inputs[:, 0, 0, 0] * 255).round()
    assert (values - torch.arange(2 * classes)).abs().max() <= (1 if name == "USPS" else 0)
    assert labels.tolist() == [*range(classes)] * 2


def test_pictures_are_normalised_by_the_training_part(tmp_path) -> None:
    write_fashion(tmp_path)
    train = Torchvision("FashionMNIST", str(tmp_path), **SMALL).load().train
    ((inputs, _),) = train.batches([torch.arange(10)])
    assert inputs.mean().item() == pytest.approx(0, abs=1e-6)
    assert inputs.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_columns_of_stl10_become_rows(tmp_path) -> None:
    write_stl10(tmp_path)
    first = np.zeros((20, 3, 96, 96), np.uint8)
    first[:, :, 5, 0] = 51  # column 5, row 0 of the file
    write(tmp_path, "stl10_binary/test_X.bin", first.tobytes())
    keys = {"mean": [0.0] * 3, "std": [1.0] * 3}
    ((inputs, _),) = (
        Torchvision("STL10", str(tmp_path), **keys, **SMALL)
        .load()
        .test.batches([torch.tensor([0])])
    )
    assert inputs[0, 0].nonzero().tolist() == [[0, 5]]


def test_missing_files_name_the_command_that_brings_them(tmp_path) -> None:
    with pytest.raises(ValueError) as caught:
        Torchvision("KMNIST", str(tmp_path)).load()
    assert str(caught.value) == (
        f"data.root={tmp_path}: there is no {tmp_path}/KMNIST/raw/train-images-idx3-ubyte; "
        f"run pruning-harness data prepare KMNIST {tmp_path}"
    )


def test_other_files_are_refused_unless_verify_is_off(tmp_path) -> None:
    write_fashion(tmp_path)
    with pytest.raises(ValueError, match="not the official .*train-images.*data.verify=false"):
        Torchvision("FashionMNIST", str(tmp_path)).load()
    write_usps(tmp_path)
    write_idx(tmp_path, "KMNIST/raw/train", two_of_each(10))
    write_idx(tmp_path, "KMNIST/raw/t10k", two_of_each(10))
    with pytest.raises(ValueError, match="holds 20 pictures instead of 60000"):
        Torchvision("KMNIST", str(tmp_path)).load()


@cases(
    "name, content, says",
    ("train-images-idx3-ubyte", b"\x1f\x8b\x08\x00", "no idx file of whole numbers"),
    ("train-images-idx3-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 9, 1]), "has 9 bytes instead of 17"),
    ("train-labels-idx1-ubyte", idx(np.zeros(3, np.uint8)), "must hold a picture per label"),
    ("train-labels-idx1-ubyte", idx(np.full(20, 10, np.uint8)), "must hold labels 0 to 9"),
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path, name, content, says) -> None:
    write_fashion(tmp_path)
    write(tmp_path, f"FashionMNIST/raw/{name}", content)
    with pytest.raises(ValueError, match=says):
        Torchvision("FashionMNIST", str(tmp_path), **SMALL).load()


def test_a_pickle_with_code_is_not_executed(tmp_path) -> None:
    write_cifar100(tmp_path)
    write(tmp_path, "cifar-100-python/train", b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(
        ValueError, match="holds more than arrays and lists .it would use os.system"
    ):
        Torchvision("CIFAR100", str(tmp_path), **SMALL).load()


@cases(
    "name, near",
    ("fashion_mnist", "did you mean FashionMNIST"),
    ("Cifar-100", "did you mean CIFAR100"),
    ("qqqq", "no such data set; there are MNIST"),
)
def test_an_unknown_name_is_refused_with_the_nearest(name, near) -> None:
    with pytest.raises(ValueError, match=f"data.name={name}: .*{near}"):
        Torchvision(name)


def test_options_that_a_set_lacks_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="MNIST has no option split"):
        Torchvision("MNIST", options={"split": "letters"}).load()
    with pytest.raises(ValueError, match="split=small: EMNIST has byclass"):
        Torchvision("EMNIST", options={"split": "small"}).load()
    with pytest.raises(ValueError, match="mean and data.std must be given together"):
        Torchvision("MNIST", mean=[0.5])
    write_fashion(tmp_path)
    with pytest.raises(ValueError, match=r"data.mean must have a number per channel \(1\)"):
        Torchvision("FashionMNIST", str(tmp_path), mean=[0.1] * 3, std=[1.0] * 3, **SMALL).load()


def pictures(folder: Path, count: int) -> None:
    """Writes grey JPEGs of 8 x 8 pixels in two classes."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"c{number % 2}").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 51).save(folder / f"c{number % 2}" / f"{number}.jpg")


def test_a_set_of_large_pictures_is_read_from_its_folders(tmp_path) -> None:
    keys = {"size": 4, "crop": 1.0, "mean": [0.0] * 3, "std": [0.5] * 3}
    for part, count in {"train": 6, "valid": 2, "test": 4}.items():
        pictures(tmp_path / "country211" / part, count)
    data = Torchvision("Country211", str(tmp_path), **keys)
    splits = data.load()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6, 2, 4]
    assert (splits.shape, splits.classes, len(data.files())) == ((3, 4, 4), 211, 12)
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    ((inputs, _),) = splits.train.batches([torch.tensor([0])])
    assert inputs.flatten().tolist() == pytest.approx([51 / 255 / 0.5] * 48)


def test_what_a_set_of_large_pictures_lacks_is_drawn_from_training(tmp_path) -> None:
    pictures(tmp_path / "eurosat" / "2750", 20)
    splits = Torchvision("EuroSAT", str(tmp_path), size=4, test=0.4).load()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [10, 2, 8]
    with pytest.raises(ValueError, match="there is no .*/train, which ImageNet consists of"):
        Torchvision("ImageNet", str(tmp_path)).files()
    with pytest.raises(ValueError, match="data.mean must have 3 numbers, got .0.5."):
        Torchvision("ImageNet", mean=[0.5], std=[1.0])
