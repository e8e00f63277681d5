"""A run is named by the bytes of its data: equal ones in two places are one run, others are not."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import TINY, run_folders, run_main
from grids import points_of

from harness.data.base import Split, Splits
from harness.data.shared.digest import digest
from harness.launch.digests.data import (
    cached_digest,
    digest_of,
    with_data_digest,
    with_data_digests,
)
from harness.launch.execute import check_same_on_ranks
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import plan_runs
from harness.run_folder.overview import HOME
from harness.system.errors import RanksDisagree
from harness.system.manifest import Manifest

OWN = """
from pathlib import Path
import torch
from harness.data.base import Split, Splits

class InMemory:
    def __init__(self, root, **rest):
        self.root = root

    def load(self):
        values = torch.tensor(list((Path(self.root) / "values.bin").read_bytes())).float()
        split = Split(values.view(-1, 8), torch.arange(len(values) // 8) % 4)
        return Splits(split, split, split, 4)

class Computed(InMemory):
    def __init__(self, place):
        self.root = place

    def files(self):
        return []

class InFiles(InMemory):
    def files(self):
        return Path(self.root).rglob("*.bin")
"""


@pytest.fixture(name="place")
def fixture_place(tmp_path, monkeypatch) -> Path:
    """Returns a folder with a module of own data sets, and two folders of equal bytes."""
    (tmp_path / "own_data_sets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "values.bin").write_bytes(bytes(range(128)))
    return tmp_path


def config_of(place: Path, root: str, kind: str = "InFiles") -> dict[str, Any]:
    data = {"_target_": f"own_data_sets.{kind}", "root": str(place / root)}
    return {"output_dir": str(place / "runs"), "data": data, "progress": "none"}


def change_a_byte(file: Path) -> None:
    before = file.stat().st_mtime_ns
    file.write_bytes(b"\xff" + file.read_bytes()[1:])
    os.utime(file, ns=(before + 10**9, before + 10**9))


@pytest.mark.parametrize("kind", ["InFiles", "InMemory"])
def test_equal_bytes_are_equal_data_and_one_byte_makes_others(place, kind) -> None:
    one, two = config_of(place, "one", kind), config_of(place, "two", kind)
    first = digest_of(one)
    assert digest_of(two) == first

    change_a_byte(place / "two" / "values.bin")
    assert digest_of(two) != first
    assert digest_of(one) == first


def test_files_are_hashed_once_and_again_only_where_they_have_changed(place, monkeypatch) -> None:
    hashed: list[int] = []
    algorithm = "harness.system.manifest.hashlib.file_digest"
    plain = __import__("hashlib").file_digest
    monkeypatch.setattr(algorithm, lambda *a: (hashed.append(1), plain(*a))[1])
    (place / "one" / "deep").mkdir()
    (place / "one" / "deep" / "more.bin").write_bytes(b"0" * 8)
    config = config_of(place, "one")
    assert cached_digest(config) is None

    first = digest_of(config)
    assert len(hashed) == 2 and digest_of(config) == cached_digest(config) == first
    assert len(hashed) == 2
    change_a_byte(place / "one" / "values.bin")
    assert cached_digest(config) is None and digest_of(config) != first
    assert len(hashed) == 3
    # A file that nobody has seen yet is noticed, and one that goes too.
    (place / "one" / "deep" / "new.bin").write_bytes(b"0" * 8)
    second = digest_of(config)
    assert len(hashed) == 4
    (place / "one" / "deep" / "new.bin").unlink()
    assert digest_of(config) != second


def test_names_of_files_and_their_bytes_count_apart(tmp_path) -> None:
    found = set()
    for number, (name, content) in enumerate([("a", b"bc"), ("ab", b"c"), ("a", b"b")]):
        root = tmp_path / str(number)
        root.mkdir()
        (root / name).write_bytes(content)
        found.add(Manifest.of(str(root), [name], "", {}, None, False).sha256)
    assert len(found) == 3


def test_what_a_set_of_ours_reads_is_kept_and_what_others_read_is_not_known(place) -> None:
    blobs = {"_target_": "harness.data.blobs.Blobs", "classes": 2, "train": 4}
    config = {**config_of(place, "one"), "data": {**blobs, "validation": 2, "test": 2}}
    assert digest_of(config) and cached_digest(config) is None
    (place / "runs").mkdir()
    assert digest_of(config) == cached_digest(config)
    mine = config_of(place, "one", "InMemory")
    assert digest_of(mine) and cached_digest(mine) is None
    # But for one that says that it reads nothing.
    data = {"_target_": "own_data_sets.Computed", "place": str(place / "one")}
    computed = {**config_of(place, "one"), "data": data}
    assert digest_of(computed) == cached_digest(computed) == digest_of(mine)


@pytest.mark.parametrize("what", ["inputs", "labels", "shape", "classes", "dtype", "order"])
def test_every_fact_of_the_tensors_decides(what) -> None:
    split = Split(torch.arange(8.0).view(4, 2), torch.tensor([0, 1, 0, 1]))
    whole = Splits(split, split, split, 2)
    inputs, labels = split.inputs.clone(), split.labels.clone()
    inputs[3, 1] += 1e-6
    labels[0] = 1
    others = {
        "inputs": replace(whole, test=Split(inputs, split.labels)),
        "labels": replace(whole, validation=Split(split.inputs, labels)),
        "shape": replace(whole, train=Split(split.inputs.view(4, 1, 2), split.labels)),
        "classes": replace(whole, classes=3),
        "dtype": replace(whole, train=Split(split.inputs.double(), split.labels)),
        "order": replace(whole, train=Split(split.inputs.flip(0), split.labels.flip(0))),
    }
    assert digest(others[what]) != digest(whole)


def test_runs_on_other_bytes_share_nothing_and_on_equal_ones_all(place, monkeypatch, capfd) -> None:
    runs = place / "runs"

    def run(root: str) -> str:
        keys = ("data._target_=own_data_sets.InFiles", f"+data.root={place / root}")
        tiny = (*TINY, "calibration.samples=8", "training.batch_size=8", "retraining.batch_size=8")
        assert run_main(monkeypatch, *tiny, *keys, f"output_dir={runs}") == 0
        return capfd.readouterr().out

    assert "finished:" in run("one") and "skipped:" in run("two")
    change_a_byte(place / "two" / "values.bin")
    assert "finished:" in run("two")
    assert len(run_folders(runs)) == 2 and len(list(runs.glob(".cache/dense/*/*"))) == 2
    (hashed_config, _) = [json.loads((f / "identity.json").read_text()) for f in run_folders(runs)]
    assert len(hashed_config["hashed_config"]["data_sha256"]) == 64


def test_a_run_whose_data_have_changed_since_it_was_planned_is_refused(place) -> None:
    (point,) = points_of([[*TINY]])
    point = with_data_digest(replace(point, config={**point.config, **config_of(place, "one")}))
    assert with_data_digest(point) == point
    change_a_byte(place / "one" / "values.bin")
    with pytest.raises(ValueError, match="data=blobs has changed since this run was planned"):
        with_data_digest(point)


@dataclass(frozen=True)
class Told:
    """Three ranks, of which rank 1 says something else."""

    odd: dict[str, str]

    def all_gather_object(self, own: dict[str, str]) -> list[dict[str, str]]:
        return [own, {**own, **self.odd}, own]


@pytest.mark.parametrize("what", ["data", "latency_table", "code", "environment"])
def test_ranks_with_different_files_leave_together(what) -> None:
    (point,) = points_of([[*TINY]])
    check_same_on_ranks(point, Told({}))  # type: ignore[arg-type]
    with pytest.raises(RanksDisagree, match=rf"{what}: ranks \[0, 2\] and ranks \[1\] have"):
        check_same_on_ranks(point, Told({what: "odd"}))  # type: ignore[arg-type]


def plan_of(place: Path) -> Plan:
    """Returns a plan of two data folders, nothing read."""
    points = [
        replace(point, config={**point.config, **config_of(place, root)})
        for point, root in zip(points_of([[*TINY]] * 2), ("one", "two"), strict=True)
    ]
    found = plan_runs(enumerate(points), [[*TINY]] * 2)
    return Plan(place / "runs" / "single" / HOME / "plan-x.jsonl", "", place / "runs", [], found)


def test_a_plan_reads_no_data_and_its_runs_are_named_once_they_are_read(place) -> None:
    plan = plan_of(place)
    asked: list[str] = []
    assert plan.unread == 2 == len({point.folder for point in plan.runs})
    assert plan.with_data(lambda point: cached_digest(point.config)) is plan
    # What became of a run whose data could not be read stays known.
    before = Path(plan.runs[1].folder)
    before.mkdir(parents=True)
    (before / "status.json").write_text("{}")

    read = plan.with_data(
        lambda p: (asked.append(p.config["data"]["root"]), digest_of(p.config))[1]
    )
    (point,) = read.runs
    assert read.unread == 0 and len(asked) == 2
    assert (Path(point.folder) / "status.json").exists() and not before.exists()
    assert read.with_data(lambda point: digest_of(point.config)) is read


def test_data_are_asked_for_once_for_all_points_that_have_them(place) -> None:
    asked: list[int] = []
    points = points_of([[*TINY, f"seed={seed}"] for seed in range(3)])
    found = dict(with_data_digests(enumerate(points), lambda point: asked.append(1) or "da7a"))
    assert asked == [1] and {point.data_sha256 for point in found.values()} == {"da7a"}
