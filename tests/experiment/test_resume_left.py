"""Tests what a restart loses, notes and leaves behind, and what it does not take from before."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import only_run, run_main
from cutting import EVERY_2, RUN, STEPS, counted, cut_and_restarted, cut_off

from harness.run_folder.checkpoints import Checkpoints
from harness.training.loop import Loop


@pytest.mark.parametrize(("every", "lost"), [(None, 3), (3, 0), (2, 1)])
def test_no_more_is_lost_than_the_epoch_or_every_steps(tmp_path, every, lost) -> None:
    policy = () if every is None else (f"checkpoint.every_steps={every}",)
    # Three steps of the second epoch of level 1's retraining are done.
    cut_off(tmp_path, Loop, "_update", 16, False, *policy)

    assert counted(tmp_path, *policy) == STEPS - 15 + lost


def test_a_restart_is_noted_beside_the_records(tmp_path) -> None:
    folder = cut_and_restarted(tmp_path, Loop, "_update", 16, False)

    lines = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
    (event,) = [line for line in lines if line.get("event") == "resumed"]
    assert (event["records"], event["epoch"], event["step"]) == (2, 1, 0)
    assert event["world_size"] == event["numerics_key"]["world_size"] == 1


def test_a_finished_run_leaves_no_checkpoints(tmp_path) -> None:
    cut_and_restarted(tmp_path, Loop, "_update", 5, False)
    assert not list(tmp_path.rglob("checkpoints"))


def test_only_the_newest_checkpoints_of_each_kind_stay(tmp_path) -> None:
    cut_off(tmp_path, Loop, "_update", STEPS, False, EVERY_2)

    names = sorted(f.name[7:] for f in (only_run(tmp_path) / "checkpoints").iterdir())
    assert names == [
        "level-01-finetuned.stage",
        "level-02-epoch-00001-step-000000.step",
        "level-02-epoch-00001-step-000002.step",
        "level-02-pruned.stage",
    ]


def test_another_run_takes_up_the_dense_training_that_one_left(tmp_path) -> None:
    cut_off(tmp_path, Loop, "_update", 7, False)

    # Its second epoch of dense training, and all the rest.
    assert counted(tmp_path, "method=random") == STEPS - 4


@pytest.mark.parametrize("named", [True, False])
def test_checkpoints_of_other_code_are_not_used(tmp_path, named, capfd) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        if not named:  # by the digest, but loaded by a computed name
            monkeypatch.setattr(
                "harness.training.checkpointing.undigested_sources", lambda: {"gone.py": "1"}
            )
        cut_off(tmp_path, Loop, "_update", 20, False)

    with pytest.MonkeyPatch.context() as monkeypatch:
        if named:
            monkeypatch.setattr("harness.launch.run_spec.code_of", lambda parts: "changed")
        assert run_main(monkeypatch, *RUN, f"output_dir={tmp_path}") == 0
    assert "was made by other code" in capfd.readouterr().err


REWIND = ("finetune=weight_rewind", "finetune.epoch=1")


@pytest.fixture(autouse=True)
def fixture_one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def cut_in_level_2(runs: Path) -> None:
    # 8 steps of dense training, 4 of level 1 (the dense recipe from epoch 1 on), 2 of level 2.
    cut_off(runs, Loop, "_update", 15, False, *REWIND, EVERY_2)


def test_under_other_numerics_it_goes_on_from_the_last_stage_and_the_same_dense_weights(
    tmp_path, capfd
) -> None:
    cut_in_level_2(tmp_path)

    # All of level 2's retraining, nothing of dense training.
    assert counted(tmp_path, *REWIND, "threads=2") == 4
    assert "inside a training on other numerics (threads 1 -> 2)" in capfd.readouterr().err
    assert len(list(tmp_path.glob(".cache/dense/*/*"))) == 1


def test_under_other_numerics_dense_weights_that_are_gone_are_not_trained_again(
    tmp_path, monkeypatch, capfd
) -> None:
    cut_in_level_2(tmp_path)
    (gone,) = tmp_path.rglob("epoch-00001.safetensors")
    gone.unlink()

    assert run_main(monkeypatch, *RUN, *REWIND, "threads=2", f"output_dir={tmp_path}") == 2
    assert "epoch 1 of dense training is not on disk" in capfd.readouterr().err


def test_a_restart_without_a_checkpoint_of_its_own_is_noted_too(tmp_path) -> None:
    folder = cut_and_restarted(tmp_path, Loop, "_update", 3, False)

    events = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if "event" in e] == ["restarted"]
    assert len(events) == 6


def test_half_a_line_of_timings_is_dropped_by_the_next_start(tmp_path) -> None:
    cut_off(tmp_path, Loop, "_update", 20, False)
    timings = only_run(tmp_path) / "timings.jsonl"
    timings.write_text(timings.read_text() + '{"level": 2, "sta')

    counted(tmp_path)
    assert [json.loads(line) for line in timings.read_text().splitlines()][-1]["level"] == 2


def test_a_state_that_could_not_be_loaded_again_is_told_at_once(tmp_path) -> None:
    with pytest.raises(ValueError, match="keep tensors, numbers and texts"):
        Checkpoints(tmp_path).save("x", ".step", {"optimizer": {"made by": Path("x")}})
    assert list(tmp_path.iterdir()) == []
