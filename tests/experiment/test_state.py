"""Tests that what of a run changes is saved and loaded whole: no field is forgotten."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from whole_runs import SMALL

from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.state import RunState
from harness.launch.compose import compose_config
from harness.launch.execute import build

# One value for each field that is plain, other than that of a fresh run.
CHANGED: dict[str, Any] = {
    "done": 4, "found_records": [{"kept_fraction": 0.5, "record": {"level": 1}}],
    "kept_fraction": 0.5, "speedup": 2.5, "mixed_numerics": True,
}  # fmt: skip


def prepared(folder: Path) -> runner.Prepared:
    return runner.prepare(build(compose_config([*SMALL])), Ranks(), folder)


def test_every_field_of_the_state_is_saved_and_loaded(tmp_path) -> None:
    (_, one), (context, other) = prepared(tmp_path), prepared(tmp_path)
    assert one.state_dict().keys() == {field.name for field in fields(RunState)}
    for name, value in CHANGED.items():
        assert getattr(one, name) != value
        setattr(one, name, value)
    masks = {name: torch.rand(mask.shape) < 0.5 for name, mask in one.masks.masks.items()}
    one.masks.shrink_to(masks)
    one.pending_masks = {
        name: mask & (torch.rand(mask.shape) < 0.5) for name, mask in masks.items()
    }
    one.unmasked_params = {"fc1.bias": torch.rand(3)}
    with torch.no_grad():
        next(one.model.parameters()).add_(1)

    other.load_state_dict(one.state_dict(), context)

    for name, value in CHANGED.items():
        assert getattr(other, name) == value
    for found, wanted in (
        (other.model.state_dict(), one.model.state_dict()),
        (other.masks.masks, one.masks.masks),
        (other.pending_masks, one.pending_masks),
        (other.unmasked_params, one.unmasked_params),
    ):
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_a_training_under_way_is_saved_with_its_model(tmp_path) -> None:
    (_, one), (context, other) = prepared(tmp_path), prepared(tmp_path)
    under_way = {"epoch": 3, "step": 1, "model": one.model.state_dict()}
    saved = one.state_dict(under_way)
    assert saved["model"] is None
    other.load_state_dict(saved, context)
    assert other.training == under_way
