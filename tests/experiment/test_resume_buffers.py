"""A network with buffers that no state_dict holds goes on as if nothing had stopped it."""

from pathlib import Path

import pytest
import torch
from command import only_run, run_main
from conftest import cases
from cutting import RUN, cut_and_restarted

import harness
from harness.run_folder.checkpoints import Checkpoints
from harness.run_folder.export import read_exported
from harness.training.loop import Loop

BANKED = "model._target_=parts.Banked"
REWIND = ("finetune=weight_rewind", "finetune.epoch=1")


def whole(runs: Path, *more: str) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, BANKED, *more, f"output_dir={runs}") == 0
    return only_run(runs)


@pytest.fixture(scope="module", name="plain")
def fixture_plain(tmp_path_factory) -> Path:
    """Returns the folder of a run that nothing interrupted."""
    return whole(tmp_path_factory.mktemp("whole"))


@cases(
    "owner, name, call, more",
    (Loop, "_update", 6, ()),  # from the end of an epoch of dense training
    (Loop, "_update", 15, ()),  # from the end of an epoch of retraining
    (Loop, "_update", 15, ("checkpoint.every_steps=1",)),  # from inside an epoch
    (Checkpoints, "save", 4, ()),  # from the end of a stage
    (Loop, "_update", 15, REWIND),  # rewound to what the cache of dense trainings holds
)
def test_cut_off_it_ends_in_equal_records_and_weights(tmp_path, plain, owner, name, call, more):
    expected = whole(tmp_path / "whole", *more) if more == REWIND else plain
    folder = cut_and_restarted(tmp_path / "cut", owner, name, call, True, BANKED, *more)
    for file in ("records.jsonl", "model.safetensors"):
        assert (folder / file).read_bytes() == (expected / file).read_bytes()


def test_its_buffers_are_delivered_and_loaded(plain) -> None:
    state = read_exported(plain).state
    model, _ = harness.load(plain, trust="parts")
    assert state["1.bank"].any() and torch.equal(model[1].bank, state["1.bank"])
    assert torch.equal(model[1].last, state["1.last"])
