import errno
import os

import pytest

from harness.system.atomic_files import (
    CannotWrite,
    make_writable,
    read_json,
    write_atomic,
    write_json,
)


def test_a_file_is_written_and_nothing_is_left_beside_it(tmp_path) -> None:
    write_atomic(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path, monkeypatch) -> None:
    write_atomic(tmp_path / "a.txt", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match=r"a\.txt \(no space left on device\); make room"):
        write_atomic(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_reader_in_the_middle_of_the_file_sees_the_old_content(tmp_path) -> None:
    write_atomic(tmp_path / "a.txt", "old")
    with (tmp_path / "a.txt").open() as file:
        write_atomic(tmp_path / "a.txt", "new")
        assert file.read() == "old"


def test_json_comes_back_and_a_missing_file_is_none(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None]})
    assert read_json(tmp_path / "a.json") == {"b": [1, None]}
    assert read_json(tmp_path / "no.json") is None


def test_equal_values_are_equal_files(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"x": 1, "y": 2})
    write_json(tmp_path / "b.json", {"y": 2, "x": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_folder_is_created_with_its_parents_and_left_empty(tmp_path) -> None:
    make_writable(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write into .*file/runs .*choose another folder"):
        make_writable(tmp_path / "file" / "runs")
