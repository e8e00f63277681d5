"""A run's folder holds what the run has made, or it is made again; a changed file is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import TINY, only_run, run_main
from cutting import RUN, STEPS, counted, cut_off

import harness
from harness.experiment.run import Run
from harness.run_folder.export import MASKS, MODEL, export_model
from harness.run_folder.followers import Sinks
from harness.run_folder.outcome import COMPACT, EXPORTS, RESULTS, finished
from harness.run_folder.status_file import SUMMED, Status
from harness.training.loop import Loop

ELSE = ("sensitivity.jsonl", *COMPACT, *EXPORTS.values())  # that this run does not make
FILES = [name for name in SUMMED if name not in ELSE]
COMMAND = (*TINY, "training.epochs=1", "retraining.epochs=1")


def flipped(content: bytes) -> bytes:
    """Flips one bit of a number or a word in the middle of a text, or of a tensor."""
    rest = range(len(content) // 2, len(content) - 1)
    at = next((n for n in rest if chr(content[n]).isalnum()), len(content) - 1)
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": flipped,
    "high bit": lambda content: content[:-3] + bytes([content[-3] ^ 128]) + content[-2:],
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\n",
}


@pytest.fixture(scope="module", name="done")
def fixture_done(tmp_path_factory) -> Path:
    """Returns the folder of a finished run; tests take copies."""
    runs = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *COMMAND, f"output_dir={runs}") == 0
    return only_run(runs)


@pytest.fixture(name="copy")
def fixture_copy(done, tmp_path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "copy"))


def outcome_of(folder: Path) -> str:
    found = finished(folder, Status(folder, "").read()["code"], "never")
    return found.reason if found else "to be done"


def test_a_finished_run_has_a_sum_of_each_file_but_those_that_may_grow(done) -> None:
    rest = {file.name for file in done.iterdir()} - set(FILES)
    assert set(Status(done, "").read()["sha256"]) == set(FILES)
    assert rest == {"status.json", "timings.jsonl"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_finished_run_with_a_changed_file_is_not_skipped(copy, name, damage) -> None:
    assert outcome_of(copy).startswith("finished before")
    (copy / name).write_bytes(DAMAGES[damage]((copy / name).read_bytes()))
    assert outcome_of(copy) == "to be done"
    assert Status(copy, "").damage() == (
        f"{copy / name} is damaged: its SHA-256 is not the one in status.json"
    )


@pytest.mark.parametrize("name", [MODEL, MASKS, "config.yaml"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_changed_network_is_not_loaded(copy, name, damage) -> None:
    (copy / name).write_bytes(DAMAGES[damage]((copy / name).read_bytes()))
    with pytest.raises(ValueError, match=f"{name} is damaged: .*; repeat the run's command"):
        harness.load(copy)


UNFINISHED = {
    "": "state=None", "{}": "state=None", '{"state": "running"}': "state=running",
    '{"state": "interrupted"}': "state=interrupted", '{"state": "failed"}': "state=failed",
    '{"state": ["finished"]}': "state=['finished']", "{": "is damaged",
    "[]": "is damaged (it is no JSON object)", '"x"': "is damaged (it is no JSON object)",
    "null": "is damaged (it is no JSON object)",
}  # fmt: skip


@pytest.mark.parametrize("status", UNFINISHED)
def test_a_network_whose_run_is_not_finished_is_not_loaded(copy, status) -> None:
    (copy / "status.json").unlink()
    if status:
        (copy / "status.json").write_text(status)
    with pytest.raises(ValueError) as caught:
        harness.load(copy)
    said = str(caught.value)
    assert said.startswith(f"{copy / 'status.json'}") and UNFINISHED[status] in said
    assert "run" in said.partition("; ")[2] and "\n" not in said


def test_what_grows_after_the_end_is_no_damage(copy) -> None:
    with (copy / "timings.jsonl").open("a") as file:
        file.write("{}\n")
    (copy / "error.log").write_text("of an earlier start")
    assert outcome_of(copy).startswith("finished before")
    harness.load(copy)


def test_sums_that_are_gone_or_of_no_kind_are_damage(copy) -> None:
    status = Status(copy, "").read()
    for sums in ({}, None, ["records.jsonl"], {"records.jsonl": "0" * 64}):
        (copy / "status.json").write_text(json.dumps({**status, "sha256": sums}))
        assert outcome_of(copy) == "to be done"


@pytest.mark.parametrize("name", [MASKS, "identity.json", "environment.json"])
def test_a_damaged_run_is_done_again_and_says_so(done, tmp_path, monkeypatch, capfd, name) -> None:
    runs = Path(shutil.copytree(done.parents[2], tmp_path / "runs"))
    folder = only_run(runs)
    (folder / name).write_bytes(flipped((folder / name).read_bytes()))

    assert run_main(monkeypatch, *COMMAND, f"output_dir={runs}") == 0
    assert f"warning: {folder / name} is damaged" in capfd.readouterr().err
    for result in RESULTS:
        assert (folder / result).read_bytes() == (done / result).read_bytes()
    assert json.loads((folder / "environment.json").read_text())["numerics_key"]
    assert outcome_of(folder).startswith("finished before")


@pytest.fixture(scope="module", name="whole")
def fixture_whole(tmp_path_factory) -> bytes:
    runs = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, f"output_dir={runs}") == 0
    return (only_run(runs) / "records.jsonl").read_bytes()


CHANGES: dict[str, Callable[[Path], object]] = {
    "one bit": lambda file: file.write_bytes(flipped(file.read_bytes())),
    "no text": lambda file: file.write_bytes(DAMAGES["high bit"](file.read_bytes())),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_records_of_an_unfinished_run_are_those_of_its_checkpoint(
    tmp_path, whole, capfd, change
) -> None:
    cut_off(tmp_path, Loop, "_update", 20, False)
    file = only_run(tmp_path) / "records.jsonl"
    CHANGES[change](file)

    assert counted(tmp_path) == STEPS - 16  # nothing is trained anew for it
    assert file.read_bytes() == whole
    assert f"warning: {file} " in (said := capfd.readouterr().err) and "; rewritten" in said


@pytest.mark.parametrize(("change", "call"), [("one bit", 5), ("gone", 2)])
def test_records_that_somebody_changes_while_the_run_works_are_whole_in_the_end(
    tmp_path,
    whole,
    monkeypatch,
    capfd,
    change,
    call,
) -> None:
    log, calls = Sinks.log, iter(range(1, 9))

    def changing(sinks: Sinks, *record: object) -> None:
        log(sinks, *record)
        if next(calls) == call:
            CHANGES[change](only_run(tmp_path) / "records.jsonl")

    monkeypatch.setattr(Sinks, "log", changing)
    assert run_main(monkeypatch, *RUN, f"output_dir={tmp_path}") == 0
    folder = only_run(tmp_path)
    assert (folder / "records.jsonl").read_bytes() == whole
    assert f"warning: {folder / 'records.jsonl'} " in capfd.readouterr().err
    assert outcome_of(folder).startswith("finished before")


def test_a_network_that_goes_before_the_run_ends_makes_it_fail_and_the_next_start_whole(
    tmp_path, monkeypatch, capfd
) -> None:
    def lost(folder: Path, delivery: object) -> None:
        export_model(folder, delivery)  # type: ignore[arg-type]
        (folder / MASKS).unlink()

    with monkeypatch.context() as once:
        once.setattr("harness.experiment.results.model_files.export_model", lost)
        assert run_main(once, *COMMAND, f"output_dir={tmp_path}") == 1
    folder = only_run(tmp_path)
    last = capfd.readouterr().err.splitlines()[-1]
    assert f"{folder / MASKS} was deleted during the run" in last
    assert Status(folder, "").read()["state"] == "failed"

    assert run_main(monkeypatch, *COMMAND, f"output_dir={tmp_path}") == 0
    assert (folder / MASKS).exists() and not (folder / "checkpoints").exists()


def test_a_run_folder_is_described_by_what_the_run_holds(tmp_path, monkeypatch) -> None:
    finish = Run._finish
    monkeypatch.setattr(Run, "_finish", lambda *given: None)
    assert run_main(monkeypatch, *COMMAND, f"output_dir={tmp_path}") == 0
    folder = only_run(tmp_path)
    before = {name: (folder / name).read_bytes() for name in FILES}
    for name in ("config.yaml", "environment.json"):
        (folder / name).write_bytes(DAMAGES["cut"](before[name]))

    monkeypatch.setattr(Run, "_finish", finish)
    assert run_main(monkeypatch, *COMMAND, f"output_dir={tmp_path}") == 0
    assert {name: (folder / name).read_bytes() for name in FILES} == before
