"""A run cut off while masks change inside a training ends as one that was not."""

import os
import signal
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from command import only_run, run_main
from cutting import Cut, cut, places
from silent import ME, Silent
from torch.optim import SGD
from watched import SMALL, experiment, optimized

from harness.distributed import Ranks
from harness.distributed.stop_signal import StopSignal
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.experiment.state import resume
from harness.run_folder.checkpoints import Policy
from harness.run_folder.export import read_exported
from harness.run_folder.records import Record, to_line
from harness.system.signals import Stopped
from harness.training.checkpointing import Checkpointer
from harness.training.loop import Loop
from harness.vocabulary.tensors import Tensors

# 4 steps an epoch, 8 in all but for two levels of 4; dropout, batch statistics, momentum and a
# learning rate that falls.
RUN = (
    "model._target_=parts.Dropping", "model.hidden=[16]", "schedule.final=0.5", "data.train=500",
    "learning_rate@retraining.learning_rate=cosine", "saliency=weight_gradient",
)  # fmt: skip
STEPS = ("prune_at=during_training", "gradual.interval=2", "gradual.last_step=6")
LEVELS = ("schedule=geometric", "schedule.levels=2", "structure=neuron", "retraining.epochs=1")
MODES: dict[str, tuple[str, ...]] = {
    "cubic": (*STEPS, "schedule=cubic", "gradual.first_step=1", "gradual.last_step=7"),
    "rigl": (
        "mask_updates=rigl",
        "mask_updates.update_interval=2",
        "mask_updates.stop_fraction=1.0",
    ),
    # Looks from step 2 on, updates at 4: a checkpoint inside has a running mean gradient.
    "snfs": ("mask_updates=snfs", "mask_updates.update_interval=4", "mask_updates.history=3"),
    "ac_dc": (*STEPS, "gradual.last_step=4", "schedule=ac_dc", "structure=neuron"),
    "soft": (*STEPS, "mask_updates=soft", "schedule=linear"),
    "soft levels": ("mask_updates=soft", "rescore_trained=true", *LEVELS),
    # How long it trains follows from the masks before they were let go.
    "scratch_b": (
        *("mask_updates=soft", *LEVELS, "finetune=scratch_b", "training.epochs=1"),
        "rescore_trained=true",
    ),
}


class End(NamedTuple):
    lines: list[str]  # of records.jsonl
    state: Tensors
    masks: Tensors
    steps: int  # that this start made

    def like(self, other: "End") -> bool:
        return self.lines == other.lines and all(
            mine.keys() == theirs.keys() and all(torch.equal(v, theirs[n]) for n, v in mine.items())
            for mine, theirs in ((self.state, other.state), (self.masks, other.masks))
        )


class Written(Silent):
    """The lines that a run's earlier starts have left, and its own."""

    def __init__(self, lines: list[str]):
        super().__init__()
        self.lines = lines

    def log(self, record: Record) -> None:
        self.lines.append(to_line(record))


@cache
def method(mode: str) -> Any:
    optimizer = partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
    return optimized(experiment(*RUN, *MODES[mode]), optimizer)


def start(folder: Path, mode: str, every: int | None, lines: list[str]) -> End:
    """Starts or resumes a run, with the records that the newest checkpoint knows of."""
    with StopSignal(ranks := Ranks()) as stop, pytest.MonkeyPatch.context() as patch:
        steps, update = list[int](), Loop._update
        patch.setattr(Loop, "_update", lambda loop: (steps.append(1), update(loop))[1])
        checkpointer = Checkpointer(ranks, stop, Policy(every), {"world_size": 1}, "code")
        levels = runner.prepare(method(mode), ranks, folder / "ab" / "dense", checkpointer)
        files = checkpointer.checkpoints(folder)
        saved = checkpointer.latest(files)
        context, state = levels
        if saved:
            context = resume(context, state, saved)
        del lines[len(state.found_records) :]
        runner.run(Recorder(context, state, ME, Written(lines), files))
        return End(lines, state.model.state_dict(), state.masks.masks, len(steps))


@pytest.fixture(scope="module", name="whole")
def fixture_whole(tmp_path_factory) -> dict[str, End]:
    """Returns the ends of runs that nothing interrupted, by mode."""
    return {mode: start(tmp_path_factory.mktemp("whole"), mode, None, []) for mode in MODES}


@pytest.mark.parametrize("mode", places(MODES, few=3))
def test_cut_off_after_any_step(tmp_path, whole, mode) -> None:
    # Saved after three steps of an epoch and at its end; what came after that is made again.
    for step, lost in enumerate([1, 2, 0, 0, 1, 2, 0], start=1):
        lines: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            cut(patch, Loop, "_update", step + 1, False)
            with pytest.raises(Cut):
                start(tmp_path / str(step), mode, 3, lines)
        again = start(tmp_path / str(step), mode, 3, lines)

        assert again.like(whole[mode]), step
        assert again.steps == whole[mode].steps - step + lost


@pytest.mark.parametrize("mode", MODES)
def test_cut_off_again_and_again(tmp_path, whole, mode) -> None:
    lines: list[str] = []
    for _ in range(whole[mode].steps - 1):
        with pytest.MonkeyPatch.context() as patch, suppress(Cut):
            cut(patch, Loop, "_update", 2, False)  # each start makes one step
            start(tmp_path, mode, 1, lines)
    last = start(tmp_path, mode, 1, lines)

    assert last.steps == 1
    assert last.like(whole[mode])


@pytest.mark.parametrize("mode", MODES)
def test_stopped_by_a_signal(tmp_path, whole, mode) -> None:
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        update, calls = Loop._update, iter(range(1, 100))

        def signalled(loop: Loop) -> None:
            if next(calls) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            update(loop)

        patch.setattr(Loop, "_update", signalled)
        with pytest.raises(Stopped):
            start(tmp_path, mode, None, lines)
    again = start(tmp_path, mode, None, lines)

    assert again.steps == whole[mode].steps - 3
    assert again.like(whole[mode])


@pytest.mark.parametrize("mode", ["cubic", "soft levels"])
def test_from_the_command_line_records_and_network_are_those_of_a_whole_run(tmp_path, mode) -> None:
    overrides = (*SMALL, *RUN, *MODES[mode], "checkpoint.every_steps=3")
    for place in ("whole", "cut"):
        with pytest.MonkeyPatch.context() as patch, suppress(Cut):
            if place == "cut":
                cut(patch, Loop, "_update", 4, False)
            assert run_main(patch, *overrides, f"output_dir={tmp_path}/{place}") == 0
    with pytest.MonkeyPatch.context() as patch:
        assert run_main(patch, *overrides, f"output_dir={tmp_path}/cut") == 0

    one, other = only_run(tmp_path / "whole"), only_run(tmp_path / "cut")
    assert '"event": "resumed"' in (other / "timings.jsonl").read_text()
    assert (one / "records.jsonl").read_bytes() == (other / "records.jsonl").read_bytes()
    delivered, again = read_exported(one), read_exported(other)
    assert all(torch.equal(v, again.state[name]) for name, v in delivered.state.items())
    assert all(torch.equal(m, again.masks[name]) for name, m in delivered.masks.items())
