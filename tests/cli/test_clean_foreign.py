"""Tests that what is not ours stays: files of others, and whatever lies behind a link."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import cases
from left_caches import DENSE, STAGE, kinds, run_in, written
from left_locks import GONE, lock_left_by

from harness.cli.clean import main
from harness.run_folder.checkpoints import STEP, Checkpoints
from harness.system.atomic_files import CannotWrite
from harness.system.deletion import CHECKPOINT, delete, open_folder, owned_files

RUN = Path("survey/ab/own")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def linked(link: Path, target: Path) -> None:
    shutil.rmtree(link, ignore_errors=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def checkpoints_are_a_link(runs: Path, elsewhere: Path) -> None:
    run_in(runs, "own", "finished")
    linked(runs / RUN / "checkpoints", elsewhere)


def checkpoints_are_a_relative_link(runs: Path, elsewhere: Path) -> None:
    run_in(runs, "own", "finished")
    linked(runs / RUN / "checkpoints", Path("../../../..") / elsewhere.name)


def a_link_is_inside(runs: Path, elsewhere: Path) -> None:
    inside = run_in(runs, "own", "finished") / "checkpoints"
    (inside / "000002-y.stage").symlink_to(elsewhere / "000001-x.stage")
    (inside / "below").symlink_to(elsewhere)


def a_cache_is_a_link(runs: Path, elsewhere: Path) -> None:
    for entry, file in ((DENSE, "epoch-00002.safetensors"), (STAGE, "state.stage")):
        written(elsewhere / Path(entry).relative_to(Path(entry).parents[1]) / file)
    linked(runs / ".cache/dense", elsewhere)
    linked(runs / ".cache/stages", elsewhere)


def the_folder_of_caches_is_a_link(runs: Path, elsewhere: Path) -> None:
    for entry, file in ((DENSE, "epoch-00002.safetensors"), (STAGE, "state.stage")):
        written(elsewhere / Path(entry).relative_to(".cache") / file)
    (elsewhere / "stages" / "57" / ("57" + 22 * "f")).mkdir(parents=True)  # empty
    linked(runs / ".cache", elsewhere)


def an_entry_of_a_cache_is_a_link(runs: Path, elsewhere: Path) -> None:
    written(elsewhere / "epoch-00002.safetensors")
    linked(runs / DENSE, elsewhere)


def a_lock_is_a_link(runs: Path, elsewhere: Path) -> None:
    lock_left_by(GONE, elsewhere)
    (runs / "survey").mkdir(parents=True)
    (runs / "survey" / ".lock").symlink_to(elsewhere / ".lock")


def a_sweep_is_a_link(runs: Path, elsewhere: Path) -> None:
    run_in(elsewhere, "own", "finished")
    runs.mkdir()
    (runs / "survey").symlink_to(elsewhere / "survey")


@pytest.mark.parametrize(
    "plant",
    [
        checkpoints_are_a_link, checkpoints_are_a_relative_link, a_link_is_inside,
        the_folder_of_caches_is_a_link, a_cache_is_a_link,
        an_entry_of_a_cache_is_a_link, a_lock_is_a_link, a_sweep_is_a_link,
    ],
)  # fmt: skip
def test_nothing_behind_a_link_is_deleted(tmp_path, plant) -> None:
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    written(elsewhere / "000001-x.stage", 100)
    plant(runs, elsewhere)
    before, links = contents(elsewhere), [p for p in runs.rglob("*") if p.is_symlink()]

    assert main([str(runs), "--free", "all", "--yes"]) == 0
    assert contents(elsewhere) == before
    assert links and all(link.is_symlink() for link in links)


@pytest.mark.parametrize("plant", [the_folder_of_caches_is_a_link, a_cache_is_a_link])
def test_a_cache_behind_a_link_is_not_listed(tmp_path, plant) -> None:
    plant(tmp_path / "runs", tmp_path / "elsewhere")

    assert not kinds(tmp_path / "runs").keys() & {"dense", "stages"}


def test_the_folder_that_is_named_may_be_a_link(tmp_path) -> None:
    run = run_in(tmp_path / "there", "own", "finished")
    (tmp_path / "runs").symlink_to(tmp_path / "there")

    assert main([str(tmp_path / "runs"), "--free", "checkpoints", "--yes"]) == 0
    assert not (run / "checkpoints").exists() and (run / "records.jsonl").exists()


@cases(
    "file",
    "notebooks/checkpoints/000001-x.stage",  # in no run's folder
    "survey/ab/own/checkpoints/best.pt",
    "survey/ab/own/checkpoints/000001-x.pt",
    "survey/ab/own/checkpoints/000002-x.step/data",
    ".cache/dense/12/mine/epoch-00001.safetensors",
    f"{DENSE}/notes.txt",
    f"{STAGE}/state.stage.bak",
    "survey/.lock/mine",
    "survey/.vimrc.0a1b2c3d",
)
def test_what_does_not_carry_our_mark_stays(tmp_path, file, monkeypatch) -> None:
    monkeypatch.setattr("harness.system.locks.LEASE_S", 0.1)
    run = run_in(tmp_path, "own", "finished")
    written(tmp_path / DENSE / "epoch-00002.safetensors")
    written(tmp_path / STAGE / "state.stage")
    theirs = written(tmp_path / file)

    assert main([str(tmp_path), "--free", "all", "--yes"]) == 0
    assert theirs.exists()
    assert not (run / "checkpoints" / "000001-x.stage").exists()


@cases("name", "000001-x.stage", "000009-y.step")
def test_a_file_that_is_only_named_as_a_checkpoint_stays(tmp_path, name) -> None:
    theirs = run_in(tmp_path, "own", "finished") / "checkpoints" / name
    theirs.write_bytes(b"a model of another tool")

    assert main([str(tmp_path), "--free", "checkpoints", "--yes"]) == 0
    assert theirs.read_bytes() == b"a model of another tool"


def test_a_folder_that_becomes_a_link_after_it_was_listed_is_left(tmp_path, monkeypatch, capsys):
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    run_in(elsewhere, "own", "finished")
    run_in(runs, "own", "finished")

    def exchanged(_: object) -> bool:
        linked(runs / "survey", elsewhere / "survey")
        return True

    monkeypatch.setattr("harness.cli.clean._confirmed", exchanged)
    before = contents(elsewhere)
    assert main([str(runs), "--free", "checkpoints"]) == 0
    assert contents(elsewhere) == before
    assert "left: " in capsys.readouterr().out


def test_a_path_that_leads_out_of_the_root_is_refused(tmp_path) -> None:
    written(tmp_path / "out" / "000001-x.stage")
    (tmp_path / "runs").mkdir()
    with (
        pytest.raises(ValueError, match="leads out of"),
        open_folder(tmp_path / "runs", tmp_path / "runs" / ".." / "out"),
    ):
        pass
    with pytest.raises(ValueError):
        delete(tmp_path / "runs", tmp_path / "out", [CHECKPOINT])
    assert (tmp_path / "out" / "000001-x.stage").exists()


def test_a_runs_own_checkpoints_leave_other_files_and_links_alone(tmp_path) -> None:
    files = Checkpoints(tmp_path / "checkpoints", keep=1)
    theirs = written(tmp_path / "elsewhere" / "000001-a.step")
    for name in ("a", "b"):
        files.save(name, STEP, {"a": 1})
    (files.folder / "notes.txt").write_text("mine")
    (files.folder / ".hidden").write_text("mine")
    (files.folder / "000000-z.step").symlink_to(theirs)
    files.save("c", STEP, {"a": 1})

    files.clear()
    assert {f.name for f in files.folder.iterdir()} == {"notes.txt", ".hidden", "000000-z.step"}
    assert theirs.exists()


def test_checkpoints_behind_a_link_are_not_written_read_or_cleared(tmp_path) -> None:
    there = Checkpoints(tmp_path / "elsewhere")
    there.save("a", STEP, {"a": 1})
    before = contents(there.folder)
    (tmp_path / "checkpoints").symlink_to(there.folder)
    files = Checkpoints(tmp_path / "checkpoints")

    with pytest.raises(CannotWrite, match="is a link"):
        files.save("b", STEP, {"a": 2})
    assert files.newest(lambda kind, state: "") is None
    files.clear()
    assert contents(there.folder) == before


def test_a_pipe_of_our_name_stops_nobody(tmp_path) -> None:
    folder = run_in(tmp_path, "own", "finished") / "checkpoints"
    os.mkfifo(folder / "000002-y.step")
    found = owned_files(tmp_path, folder, [CHECKPOINT])
    assert [one.name for one in found] == ["000001-x.stage"]
