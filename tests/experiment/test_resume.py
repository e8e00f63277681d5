"""A run that was cut off anywhere goes on and ends in the records of one that was not."""

from typing import Any

import pytest
from command import only_run, run_main
from cutting import EVERY_2, RUN, STEPS, counted, cut_and_restarted, cut_off, places

from harness.experiment.results import model_files
from harness.experiment.run import Run
from harness.run_folder.checkpoints import Checkpoints
from harness.run_folder.followers import Sinks
from harness.training.loop import Loop


@pytest.fixture(scope="module", name="whole")
def fixture_whole(tmp_path_factory) -> bytes:
    """Returns the records of a run that nothing interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, f"output_dir={runs}") == 0
    return (only_run(runs) / "records.jsonl").read_bytes()


@pytest.mark.parametrize("step", places(range(1, STEPS + 1), few=8))
def test_cut_off_at_any_step(tmp_path, whole, step) -> None:
    folder = cut_and_restarted(tmp_path, Loop, "_update", step, False, EVERY_2)
    assert (folder / "records.jsonl").read_bytes() == whole


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", places(range(1, 6), few=2))
def test_cut_off_around_any_record(tmp_path, whole, call, after) -> None:
    folder = cut_and_restarted(tmp_path, Sinks, "log", call, after)
    assert (folder / "records.jsonl").read_bytes() == whole


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", places(range(1, 12), few=3))
def test_cut_off_around_any_checkpoint(tmp_path, whole, call, after) -> None:
    folder = cut_and_restarted(tmp_path, Checkpoints, "save", call, after)
    assert (folder / "records.jsonl").read_bytes() == whole


MODES: dict[str, tuple[str, ...]] = {
    "init": ("prune_at=init", "rescore_trained=true"),
    "no retraining": ("finetune=none",),
    "reinit": ("finetune=reinit",),
    "rewind to init": ("finetune=rewind_to_init",),
    "rewind": ("finetune=weight_rewind", "finetune.epoch=1"),
    "no dense training": ("training.epochs=0",),
    "accumulated": ("retraining.accumulate=3", "training.accumulate=3"),
    "float16": ("retraining.autocast=float16",),
    "bfloat16": ("retraining.autocast=bfloat16",),
    "momentum, cosine": (
        "training@retraining=sgd",
        "learning_rate@retraining.learning_rate=cosine",
    ),
}


@pytest.mark.parametrize("mode", places(MODES, few=4))
def test_cut_off_in_every_mode(tmp_path, mode) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, *MODES[mode], f"output_dir={tmp_path}/whole") == 0
    whole = (only_run(tmp_path / "whole") / "records.jsonl").read_bytes()

    for step in (3, 7):  # in dense training if there is one, else in level 1's
        folder = cut_and_restarted(
            tmp_path / str(step), Loop, "_update", step, False, EVERY_2, *MODES[mode]
        )
        assert (folder / "records.jsonl").read_bytes() == whole
    if mode != "no retraining":
        folder = cut_and_restarted(
            tmp_path / "late", Loop, "_update", 11, False, EVERY_2, *MODES[mode]
        )
        assert (folder / "records.jsonl").read_bytes() == whole


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["export_model", "_finish"])
def test_cut_off_at_the_very_end_nothing_is_trained_again(tmp_path, whole, name, after) -> None:
    owner = Run if name == "_finish" else model_files
    cut_off(tmp_path, owner, name, 1, after)

    assert counted(tmp_path) == 0
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole
    assert not list(tmp_path.rglob("checkpoints"))


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty", "other version"])
@pytest.mark.parametrize("place", ["run", "dense"])
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_used(
    tmp_path, whole, damage, place, capfd
) -> None:
    cut_off(tmp_path, Loop, "_update", 16 if place == "run" else 8, False, EVERY_2)
    newest = max(tmp_path.rglob("checkpoints/*"), key=lambda file: file.name)
    content = bytearray(newest.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 16
    newest.write_bytes(
        {
            "cut off": bytes(content[:middle]),
            "one bit": bytes(content),
            "empty": b"",
            "other version": b"2" + bytes(content),
        }[damage]
    )

    # From two steps earlier than the newest.
    lost = 2
    assert counted(tmp_path, EVERY_2) == STEPS - (14 if place == "run" else 6) + lost
    assert f"checkpoint {newest} is damaged" in capfd.readouterr().err
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole


def test_without_any_sound_checkpoint_the_run_starts_over(tmp_path, whole) -> None:
    cut_off(tmp_path, Loop, "_update", 20, False)
    for file in tmp_path.rglob("checkpoints/*"):
        file.write_bytes(b"")

    # Dense training is in its cache.
    assert counted(tmp_path) == STEPS - 8
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole


def test_a_full_disk_stops_the_run_and_leaves_the_checkpoint_before_whole(tmp_path, whole, capfd):
    with pytest.MonkeyPatch.context() as monkeypatch:
        save = Checkpoints.save
        calls = iter(range(100))

        def full(self: Checkpoints, *arguments: Any) -> None:
            if next(calls) == 5:
                monkeypatch.setattr("os.fsync", no_room)
            save(self, *arguments)

        monkeypatch.setattr(Checkpoints, "save", full)
        assert run_main(monkeypatch, *RUN, f"output_dir={tmp_path}") == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert "No space left on device" in last
    assert "level-01-epoch-00002-step-000000: " in last and "is whole)" in last

    assert counted(tmp_path) == STEPS - 12
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole


def no_room(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_what_a_kill_left_half_written_is_removed_by_the_next_checkpoint(tmp_path) -> None:
    (tmp_path / ".000001-x.step.12345678.harness-part").write_bytes(b"half")
    Checkpoints(tmp_path).save("x", ".step", {})
    assert [file.name for file in tmp_path.iterdir()] == ["000001-x.step"]
