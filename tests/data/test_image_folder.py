"""Folders of pictures: what is read of them, how they are divided, and what is refused."""

from pathlib import Path

import pytest
import torch
from conftest import cases
from PIL import Image

from harness.data.base import for_epoch
from harness.data.image_folder import ImageFolder

RED, GREY = (255, 0, 0), 51
PLAIN = {"size": 2, "crop": 1.0, "mean": [0.0] * 3, "std": [1.0] * 3}


def save(file: Path, colour: object, mode: str = "RGB", size: tuple[int, int] = (4, 4)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(file)  # type: ignore[arg-type]


def folder(home: Path, **counts: int) -> Path:
    """Makes classes of so many pictures; picture i has the red value i."""
    for name, count in counts.items():
        for number in range(count):
            save(home / name / f"{number:02}.png", (number, 0, 0))
    return home


def reds(root: Path, **keys: object) -> dict[str, list[int]]:
    """Returns the red values of each part, sorted."""
    splits = ImageFolder(str(root), **{**PLAIN, **keys}).load()
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    found = {name: next(part.batches([torch.arange(len(part))])) for name, part in parts.items()}
    return {
        name: sorted((255 * inputs[:, 0, 0, 0]).round().int().tolist())
        for name, (inputs, _) in found.items()
    }


def test_each_class_is_divided_into_parts_without_a_common_picture(tmp_path) -> None:
    parts = reds(folder(tmp_path, cat=10, dog=10))
    assert [len(part) for part in parts.values()] == [14, 2, 4]
    assert sorted(sum(parts.values(), [])) == sorted([*range(10)] * 2)
    assert parts == reds(tmp_path) != reds(tmp_path, split_seed=1)


def test_the_smallest_class_has_a_picture_in_each_part(tmp_path) -> None:
    assert [len(part) for part in reds(folder(tmp_path, a=3, b=3)).values()] == [2, 2, 2]


def test_parts_in_folders_of_their_own_stay_what_they_are(tmp_path) -> None:
    for part, count in {"train": 3, "validation": 1, "test": 2}.items():
        folder(tmp_path / part, cat=count, dog=count)
    data = ImageFolder(str(tmp_path), **PLAIN)
    splits = data.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [6, 2, 4]
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(data.files()) == 12


def test_classes_are_numbers_of_folders_if_their_count_is_given(tmp_path) -> None:
    for part, label in {"train": "7", "validation": "0", "test": "999"}.items():
        folder(tmp_path / part, **{label: 1})
    splits = ImageFolder(str(tmp_path), classes=1000, **PLAIN).load()
    labels = [s.labels.item() for s in (splits.train, splits.validation, splits.test)]
    assert (labels, splits.classes) == ([7, 0, 999], 1000)


def test_the_middle_of_a_picture_is_read_and_normalised(tmp_path) -> None:
    wide = Image.new("RGB", (12, 4), RED)
    wide.paste((0, 255, 0), (4, 0, 8, 4))
    for number in range(3):
        (tmp_path / "a").mkdir(exist_ok=True)
        wide.save(tmp_path / "a" / f"{number}.png")
    data = ImageFolder(str(tmp_path), size=4, crop=1.0, mean=[0.5, 0, 0], std=[0.5, 2, 1])
    ((inputs, _),) = data.load().train.to("cpu", torch.float64).batches([torch.tensor([0])])
    assert inputs.dtype == torch.float64
    assert inputs[0, :, 2, 2].tolist() == [-1.0, 0.5, 0.0]  # (0 - .5) / .5, 1 / 2, 0
    assert inputs[0, :, 0, 0].tolist() == [-1.0, 0.5, 0.0]


def test_a_crop_leaves_the_edges_out(tmp_path) -> None:
    edged = Image.new("RGB", (8, 8), RED)
    edged.paste((0, 0, 255), (2, 2, 6, 6))
    (tmp_path / "a").mkdir()
    for number in range(3):
        edged.save(tmp_path / "a" / f"{number}.png")
    data = ImageFolder(str(tmp_path), **{**PLAIN, "size": 4, "crop": 0.5})
    ((inputs, _),) = data.load().test.batches([torch.tensor([0])])
    assert inputs[0, :, 0, 0].tolist() == [0.0, 0.0, 1.0]


@cases(
    "mode, colour, channels, expected",
    ("L", GREY, 3, [0.2, 0.2, 0.2]), ("RGB", (GREY,) * 3, 1, [0.2]),
    ("RGBA", (*RED, 0), 3, [1.0, 1.0, 1.0]), ("P", 0, 3, [0.0, 0.0, 0.0]),
)  # fmt: skip
def test_grey_and_clear_pictures_are_read(tmp_path, mode, colour, channels, expected) -> None:
    for number in range(3):
        save(tmp_path / "a" / f"{number}.png", colour, mode)
    keys = {**PLAIN, "channels": channels, "mean": [0.0] * channels, "std": [1.0] * channels}
    ((inputs, _),) = ImageFolder(str(tmp_path), **keys).load().train.batches([torch.tensor([0])])
    assert inputs[0, :, 0, 0].tolist() == pytest.approx(expected)


def no_folder(home: Path) -> None: ...


def no_classes(home: Path) -> None:
    save(home / "1.png", RED)


def an_empty_class(home: Path) -> None:
    folder(home, cat=3)
    (home / "dog").mkdir()
    (home / "dog" / "notes.txt").touch()


def too_few(home: Path) -> None:
    folder(home, cat=3, dog=2)


def damaged(home: Path) -> None:
    folder(home, cat=5)
    (home / "cat" / "00.png").write_text("no picture")
    (home / "cat" / "01.png").write_bytes((home / "cat" / "02.png").read_bytes()[:40])


def no_test(home: Path) -> None:
    folder(home / "train", cat=3)
    folder(home / "validation", cat=3)


def another_class(home: Path) -> None:
    for part in ("train", "validation"):
        folder(home / part, cat=1)
    folder(home / "test", cow=1)


@cases(
    "make, message",
    (no_folder, "is no folder; give one with a folder of pictures per class"),
    (no_classes, "holds no folders; put the pictures of each class into a folder of its own"),
    (an_empty_class, "dog holds no pictures .*; add some, or remove the folder"),
    (too_few, "dog holds 2 pictures, too few to divide; a class needs 3"),
    (
        damaged,
        "0[01].png of .* cannot be read: .*; mend or remove it, or write data.skip_damaged=true",
    ),
    (no_test, "has a folder train, and no test; make train, validation and test"),
    (another_class, "has the class cow, which train has not"),
)
def test_a_folder_that_cannot_be_read_is_refused_in_one_line(tmp_path, make, message) -> None:
    make(tmp_path / "given")
    with pytest.raises(ValueError, match=message) as raised:
        ImageFolder(str(tmp_path / "given"), **PLAIN).load().to("cpu", torch.float32)
    assert "\n" not in str(raised.value)


def test_damaged_pictures_are_left_out_and_counted_if_asked(tmp_path, caplog) -> None:
    damaged(tmp_path / "given")
    splits = ImageFolder(str(tmp_path / "given"), skip_damaged=True, **PLAIN).load()
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 3
    assert "2 pictures cannot be decoded and are left out, the first is" in caplog.text


def test_training_pictures_are_transformed_in_the_size_of_their_files(tmp_path) -> None:
    folder(tmp_path, cat=3)
    crop = [{"CenterCrop": {"size": 3}}]
    train = ImageFolder(str(tmp_path), transforms=crop, **PLAIN).load().train
    shapes = [
        next(split.batches([torch.tensor([0])]))[0].shape[-1]
        for split in (train, for_epoch(train, 0))
    ]
    assert shapes == [2, 3]


@cases(
    "keys, message",
    ({"mean": [0.5]}, "data.mean must have a number per channel"),
    ({"std": [0, 1, 1]}, "std must be a list of numbers above 0"),
    ({"validation": 0.5, "test": 0.5}, "data.validation . data.test must be below 1"),
    ({"classes": 10}, "the folder cat of .* must have the number of its class for a name"),
)
def test_wrong_values_are_refused(tmp_path, keys, message) -> None:
    with pytest.raises(ValueError, match=message):
        ImageFolder(str(folder(tmp_path, cat=3)), **{**PLAIN, **keys}).load()
