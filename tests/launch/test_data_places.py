"""A kept digest of data counts only where it is sure which files are read, here and now."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.launch.digests.data import cached_digest, digest_of
from harness.system.manifest import folders_of

OWN = """
import os
from pathlib import Path

class Below:
    def __init__(self, place=None, root=None):
        self.place = Path(place or root or os.environ["OWN_DATA_PLACE"])

    def files(self):
        return self.place.rglob("*.bin")

class Resolved(Below):
    def files(self):
        return [path.resolve() for path in super().files()]
"""


@pytest.fixture(name="base")
def fixture_base(tmp_path, monkeypatch) -> Path:
    """Returns a folder with other data in one/set and in two/set, each with an empty folder."""
    (tmp_path / "own_places.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    for name, content in (("one", b"1"), ("two", b"2")):
        for inner in ("full", "empty"):
            (tmp_path / name / "set" / inner).mkdir(parents=True)
        (tmp_path / name / "set" / "full" / "a.bin").write_bytes(content)
    shutil.copystat(*(tmp_path / name / "set" / "full" / "a.bin" for name in ("one", "two")))
    return tmp_path


def config_of(base: Path, kind: str = "Below", **said: str) -> dict[str, Any]:
    data = {"_target_": f"own_places.{kind}", **said}
    return {"output_dir": str(base / "runs"), "data": data, "progress": "none"}


@pytest.mark.parametrize("key", ["root", "place"])
@pytest.mark.parametrize("folder", ["empty", "full", "."])
def test_a_file_more_is_noticed_in_any_folder(base, key, folder) -> None:
    config = config_of(base, **{key: str(base / "one" / "set")})
    first = digest_of(config)
    assert cached_digest(config) == first
    (base / "one" / "set" / folder / "b.bin").write_bytes(b"3")
    assert cached_digest(config) is None
    second = digest_of(config)
    assert second == cached_digest(config) != first


@pytest.mark.parametrize("key", ["root", "place"])
def test_one_text_names_other_data_in_another_working_directory(base, key, monkeypatch) -> None:
    config, found = config_of(base, **{key: "set"}), []
    for name in ("one", "two"):
        monkeypatch.chdir(base / name)
        assert cached_digest(config) is None
        found.append(digest_of(config))
        assert cached_digest(config) == found[-1]
    assert found[0] != found[1]
    monkeypatch.chdir(base)
    assert cached_digest(config) is None


def test_a_place_that_the_config_does_not_name_is_asked_for_each_time(base, monkeypatch) -> None:
    config, found = config_of(base), []
    for name in ("one", "two", "one"):
        monkeypatch.setenv("OWN_DATA_PLACE", str(base / name))
        found.append(digest_of(config))
        assert cached_digest(config) is None
    assert found[0] == found[2] != found[1]


def test_a_built_set_says_itself_which_of_the_files_it_reads(base) -> None:
    @dataclass
    class Chosen:
        name: str

        def files(self) -> list[Path]:
            return [*(base / self.name).rglob("*.bin")]

    config = config_of(base, place=str(base))
    assert digest_of(config, Chosen("one")) != digest_of(config, Chosen("two"))


@pytest.mark.parametrize("key", ["root", "place"])
def test_a_link_to_equal_data_is_no_other_place_and_a_changed_one_is(base, key) -> None:
    link = base / "link"
    link.symlink_to(base / "one" / "set")
    plain = {digest_of(config_of(base, kind, **{key: str(base / "one" / "set")})) for kind in
             ("Below", "Resolved")}  # fmt: skip
    linked = {digest_of(config_of(base, kind, **{key: str(link)})) for kind in
              ("Below", "Resolved")}  # fmt: skip
    assert plain == linked and len(plain) == 1

    link.unlink()
    link.symlink_to(base / "two" / "set")
    assert cached_digest(config_of(base, **{key: str(link)})) is None
    assert digest_of(config_of(base, **{key: str(link)})) not in plain


def test_folders_behind_links_are_watched_once_and_results_are_not(base) -> None:
    (base / "one" / "more").symlink_to(base / "two")
    (base / "two" / "back").symlink_to(base / "one")
    (base / "one" / "runs" / "deep").mkdir(parents=True)
    found = folders_of([str(base / "one")], str(base / "one" / "runs"))
    inner = ("", "/set", "/set/full", "/set/empty")
    assert found.keys() == {f"{base}/{name}{each}" for name in ("one", "two") for each in inner}
    file = str(base / "one" / "set" / "full" / "a.bin")
    assert folders_of([file], "").keys() == {f"{base}/one/set/full"}


def test_a_link_to_another_file_of_the_same_size_and_time_is_noticed(base) -> None:
    file = base / "one" / "set" / "full" / "a.bin"
    other = base / "two" / "set" / "full" / "a.bin"
    shutil.move(file, base / "first.bin")
    shutil.copystat(base / "first.bin", other)
    file.symlink_to(base / "first.bin")
    times = [os.stat(file.parent), os.stat(file)]
    config = config_of(base, root=str(base / "one" / "set"))
    first = digest_of(config)
    assert cached_digest(config) == first

    file.unlink()
    file.symlink_to(other)
    os.utime(file.parent, ns=(times[0].st_atime_ns, times[0].st_mtime_ns))
    assert os.stat(file).st_mtime_ns == times[1].st_mtime_ns
    assert cached_digest(config) is None
    assert digest_of(config) != first


def test_a_file_that_is_changed_in_place_and_whose_time_is_set_back_is_noticed(base) -> None:
    file = base / "one" / "set" / "full" / "a.bin"
    config = config_of(base, root=str(base / "one" / "set"))
    first, before = digest_of(config), os.stat(file)
    file.write_bytes(b"9")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cached_digest(config) is None
    assert digest_of(config) != first
