"""A run that was cut off anywhere goes on and ends in the records of one that was not."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from command import TINY, only_run
from test_main import run_main

from harness.checkpoints import Checkpoints
from harness.runs import Run
from harness.training.loop import Loop
from harness.watchers import Watchers

# 4 steps an epoch: 8 of dense training, then 2 levels of 8 (Adam) under masks.
RUN = (
    *TINY, "model._target_=parts.Dropping", "model.hidden=[16]", "schedule=geometric",
    "schedule.levels=2", "retraining.epochs=2", "+retraining.augmentation._target_=parts.Shifting",
)  # fmt: skip
STEPS = 24
EVERY_2 = "checkpoint.every_steps=2"


class Cut(BaseException):
    """The process ends here, as far as the run can tell."""


def cut(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool) -> None:
    """Ends the run at the call-th call of a method, before or after it."""
    method: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(1, 1000))

    def cutting(*arguments: Any) -> Any:
        now = next(calls) == call
        if now and not after:
            raise Cut
        result = method(*arguments)
        if now:
            raise Cut
        return result

    monkeypatch.setattr(owner, name, cutting)


@pytest.fixture(scope="module", name="whole")
def fixture_whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Records of a run that nothing interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, f"runs={runs}") == 0
    return (only_run(runs) / "records.jsonl").read_bytes()


def cut_and_restarted(
    runs: Path, owner: type, name: str, call: int, after: bool, *more: str
) -> Path:
    """The folder of a run that was cut off once and started again."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, owner, name, call, after)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, *more, f"runs={runs}")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, *more, f"runs={runs}") == 0
    return only_run(runs)


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_cut_off_at_any_step(tmp_path: Path, whole: bytes, step: int) -> None:
    folder = cut_and_restarted(tmp_path, Loop, "_update", step, False, EVERY_2)
    assert (folder / "records.jsonl").read_bytes() == whole


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", range(1, 6))
def test_cut_off_around_any_record(tmp_path: Path, whole: bytes, call: int, after: bool) -> None:
    folder = cut_and_restarted(tmp_path, Watchers, "log", call, after)
    assert (folder / "records.jsonl").read_bytes() == whole


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", range(1, 12))
def test_cut_off_around_any_checkpoint(
    tmp_path: Path, whole: bytes, call: int, after: bool
) -> None:
    folder = cut_and_restarted(tmp_path, Checkpoints, "save", call, after)
    assert (folder / "records.jsonl").read_bytes() == whole


MODES: dict[str, tuple[str, ...]] = {
    "init": ("when=init",),
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


@pytest.mark.parametrize("mode", list(MODES))
def test_cut_off_in_every_mode(tmp_path: Path, mode: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, *MODES[mode], f"runs={tmp_path}/whole") == 0
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
@pytest.mark.parametrize("name", ["deliver", "_finish"])
def test_cut_off_at_the_very_end_nothing_is_trained_again(
    tmp_path: Path, whole: bytes, name: str, after: bool
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        owner = Run if name == "_finish" else sys.modules["harness.runs"]
        cut(monkeypatch, owner, name, 1, after)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, f"runs={tmp_path}")

    assert counted(tmp_path) == 0
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole
    assert not list(tmp_path.rglob("checkpoints"))


def counted(runs: Path, *more: str) -> int:
    """Optimizer steps that a start of the run makes until it is finished."""
    steps = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        update = Loop._update
        monkeypatch.setattr(Loop, "_update", lambda self: (steps.append(1), update(self))[1])
        assert run_main(monkeypatch, *RUN, *more, f"runs={runs}") == 0
    return len(steps)


@pytest.mark.parametrize(("every", "lost"), [(None, 3), (3, 0), (2, 1)])
def test_no_more_is_lost_than_the_epoch_or_every_steps(
    tmp_path: Path, every: int | None, lost: int
) -> None:
    policy = () if every is None else (f"checkpoint.every_steps={every}",)
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Three steps of the second epoch of level 1's retraining are done.
        cut(monkeypatch, Loop, "_update", 16, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, *policy, f"runs={tmp_path}")

    assert counted(tmp_path, *policy) == STEPS - 15 + lost


def test_a_restart_is_noted_beside_the_records(tmp_path: Path) -> None:
    folder = cut_and_restarted(tmp_path, Loop, "_update", 16, False)

    lines = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
    (event,) = [line for line in lines if line.get("event") == "resumed"]
    assert (event["records"], event["epoch"], event["step"]) == (2, 1, 0)
    assert event["world_size"] == event["numerics_key"]["world_size"] == 1


def test_a_finished_run_leaves_no_checkpoints(tmp_path: Path) -> None:
    cut_and_restarted(tmp_path, Loop, "_update", 5, False)
    assert not list(tmp_path.rglob("checkpoints"))


def test_only_the_newest_checkpoints_of_each_kind_stay(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", STEPS, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, EVERY_2, f"runs={tmp_path}")

    names = sorted(f.name[7:] for f in (only_run(tmp_path) / "checkpoints").iterdir())
    assert names == [
        "level-01-finetuned.stage",
        "level-02-epoch-00001-step-000000.step",
        "level-02-epoch-00001-step-000002.step",
        "level-02-pruned.stage",
    ]


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty", "other version"])
@pytest.mark.parametrize("place", ["run", "dense"])
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_used(
    tmp_path: Path, whole: bytes, damage: str, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 16 if place == "run" else 8, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, EVERY_2, f"runs={tmp_path}")
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


def test_without_any_sound_checkpoint_the_run_starts_over(tmp_path: Path, whole: bytes) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 20, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, f"runs={tmp_path}")
    for file in tmp_path.rglob("checkpoints/*"):
        file.write_bytes(b"")

    # Dense training is in its cache.
    assert counted(tmp_path) == STEPS - 8
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole


def test_lost_records_are_made_again(tmp_path: Path, whole: bytes) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 20, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, f"runs={tmp_path}")
    (only_run(tmp_path) / "records.jsonl").unlink()

    assert counted(tmp_path) == STEPS - 8
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole


def test_another_run_takes_up_the_dense_training_that_one_left(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 7, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, f"runs={tmp_path}")

    # Its second epoch of dense training, and all the rest.
    assert counted(tmp_path, "method=random") == STEPS - 4


def test_checkpoints_of_other_code_are_not_used(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 20, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, f"runs={tmp_path}")

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("harness.launch.point.code_of", lambda parts, levels=True: "changed")
        assert run_main(monkeypatch, *RUN, f"runs={tmp_path}") == 0
    assert "was made by other code" in capfd.readouterr().err


def test_a_full_disk_stops_the_run_and_leaves_the_checkpoint_before_whole(
    tmp_path: Path, whole: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        save = Checkpoints.save
        calls = iter(range(100))

        def full(self: Checkpoints, *arguments: Any) -> None:
            if next(calls) == 5:
                monkeypatch.setattr("os.fsync", no_room)
            save(self, *arguments)

        monkeypatch.setattr(Checkpoints, "save", full)
        assert run_main(monkeypatch, *RUN, f"runs={tmp_path}") == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert "No space left on device" in last
    assert "level-01-epoch-00002-step-000000: " in last and "is whole)" in last

    assert counted(tmp_path) == STEPS - 12
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole


def no_room(_: int) -> None:
    raise OSError(28, "No space left on device")


REWIND = ("finetune=weight_rewind", "finetune.epoch=1")


@pytest.fixture(autouse=True)
def fixture_one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def cut_in_level_2(runs: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        # 8 steps of dense training, 4 of level 1 (the dense recipe from epoch 1 on), 2 of level 2.
        cut(monkeypatch, Loop, "_update", 15, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, *REWIND, EVERY_2, f"runs={runs}")


def test_under_other_numerics_it_goes_on_from_the_last_stage_and_the_same_dense_weights(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut_in_level_2(tmp_path)

    # All of level 2's retraining, nothing of dense training.
    assert counted(tmp_path, *REWIND, "threads=2") == 4
    assert "inside a training on other numerics (threads 1 -> 2)" in capfd.readouterr().err
    assert len(list(tmp_path.glob(".dense/*/*"))) == 1


def test_under_other_numerics_dense_weights_that_are_gone_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cut_in_level_2(tmp_path)
    (gone,) = tmp_path.rglob("epoch-00001.safetensors")
    gone.unlink()

    assert run_main(monkeypatch, *RUN, *REWIND, "threads=2", f"runs={tmp_path}") == 2
    assert "epoch 1 of dense training is not on disk" in capfd.readouterr().err


def test_a_restart_without_a_checkpoint_of_its_own_is_noted_too(tmp_path: Path) -> None:
    folder = cut_and_restarted(tmp_path, Loop, "_update", 3, False)

    events = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if "event" in e] == ["restarted"]
    assert len(events) == 6


def test_half_a_line_of_timings_is_dropped_by_the_next_start(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 20, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, f"runs={tmp_path}")
    timings = only_run(tmp_path) / "timings.jsonl"
    timings.write_text(timings.read_text() + '{"level": 2, "sta')

    counted(tmp_path)
    assert [json.loads(line) for line in timings.read_text().splitlines()][-1]["level"] == 2


def test_records_that_cannot_be_read_are_made_again(
    tmp_path: Path, whole: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 20, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, f"runs={tmp_path}")
    records = only_run(tmp_path) / "records.jsonl"
    records.write_text(records.read_text().replace('"batch_norm"', '"norm"'))

    assert counted(tmp_path) == STEPS - 8
    said = capfd.readouterr().err
    assert "goes with records that cannot be read" in said and "; starting over" in said
    assert records.read_bytes() == whole


def test_a_state_that_could_not_be_loaded_again_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep tensors, numbers and texts"):
        Checkpoints(tmp_path).save("x", ".step", {"optimizer": {"made by": Path("x")}})
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_half_written_is_removed_by_the_next_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".000001-x.step.12345678").write_bytes(b"half")
    Checkpoints(tmp_path).save("x", ".step", {})
    assert [file.name for file in tmp_path.iterdir()] == ["000001-x.step"]
