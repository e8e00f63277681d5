"""pruning-harness data: what is here, and what is fetched."""

import os
import re
from pathlib import Path

from command import python
from conftest import CONF

from harness.cli.data import main
from harness.data.cifar10 import Cifar10


def test_the_list_has_a_line_for_every_data_set_and_says_what_is_missing(tmp_path, capsys) -> None:
    assert main(["list", "--root", str(tmp_path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["DATA", "TRAIN", "VALIDATION", "TEST", "SHAPE", "CLASSES", "WHERE"]
    assert [line.split()[0] for line in lines] == sorted(
        file.stem for file in (CONF / "data").glob("*.yaml")
    )
    found = {line.split()[0]: line for line in lines}
    assert re.match(r"digits +1197 +200 +400 +1x8x8 +10 +comes with", found["digits"])
    assert f"not here: data.root={tmp_path}: no cifar-10-batches-py" in found["cifar10"]
    assert found["cifar10"].endswith(f"run pruning-harness data prepare cifar10 {tmp_path}")


def test_a_set_that_comes_along_needs_no_preparation(capsys) -> None:
    assert main(["prepare", "digits"]) == 0
    assert capsys.readouterr().out == "digits needs no preparation\n"


def test_a_set_is_fetched_into_the_folder_that_is_named(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(Cifar10, "fetch", lambda part, given, say: Path(part.root) / "there")
    assert main(["prepare", "cifar10", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"cifar10 is in {tmp_path}/there\n"


def test_an_unknown_set_is_refused_with_the_names_of_all(capsys) -> None:
    assert main(["prepare", "cifar"]) == 2
    assert capsys.readouterr().err == (
        "harness: cifar: no such data set; there are: blobs, cifar10, cifar100, digits, "
        "fashion_mnist, image_folder, mnist, mnist5k, python, svhn, tensors, topics, "
        "torchvision, MNIST, FashionMNIST, KMNIST, QMNIST, EMNIST, CIFAR10, CIFAR100, "
        "SVHN, STL10, USPS\n"
    )


def test_without_network_it_is_one_line_and_status_1(tmp_path) -> None:
    closed = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = python("-m", "harness", "data", "prepare", "cifar10", tmp_path, **closed, no_proxy="")

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"could not fetch CIFAR10 into {tmp_path}: " in line
    assert os.listdir(tmp_path) == []
