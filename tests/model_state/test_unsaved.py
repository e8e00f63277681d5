"""Attributes that change and that no checkpoint holds are named, once, with the way out."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from command import run_main
from conftest import cases
from cutting import RUN
from torch import nn
from torch.func import functional_call

from harness.model_state.unsaved import UnsavedState


class Tracker:
    __slots__ = ("best", "count")

    def __init__(self) -> None:
        self.count, self.best = 0, float("nan")


class Keeping(nn.Module):
    """Every kind of attribute beside those that are registered."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("bank", torch.zeros(2), persistent=False)
        self.calls, self.phase, self.mean, self.none = 0, "first", torch.zeros(2), None
        self.stats: dict[str, Any] = {"seen": 0, "worst": [1.0]}
        self.tracker = Tracker()
        self.stream = torch.Generator().manual_seed(0)
        self.python, self.numpy = random.Random(0), np.random.default_rng(0)
        self.array, self.layers = np.zeros(3), [self.layer]
        self.large = torch.zeros(2**21)  # 8 MiB
        self.sparse = torch.eye(2).to_sparse()
        self._hidden, self.flag = 0.5, False


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(Keeping()))


CHANGES: dict[str, Callable[[Any], object]] = {
    "calls": lambda it: setattr(it, "calls", it.calls + 1),
    "phase": lambda it: setattr(it, "phase", "second"), "mean": lambda it: it.mean.add_(1),
    "sparse": lambda it: it.sparse.mul_(2), "none": lambda it: setattr(it, "none", torch.ones(1)),
    "stats": lambda it: it.stats["worst"].append(2.0),
    "tracker.count": lambda it: setattr(it.tracker, "count", 3),
    "stream": lambda it: torch.rand(1, generator=it.stream),
    "python": lambda it: it.python.random(), "numpy": lambda it: it.numpy.random(),
    "array": lambda it: it.array.__setitem__(1, 2.0), "large": lambda it: it.large[-1:].add_(1),
    "_hidden": lambda it: setattr(it, "_hidden", 0.25),
    "flag": lambda it: setattr(it, "flag", True), "new": lambda it: setattr(it, "new", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_attribute_of_a_module_is_named_once_with_register_it_as_a_buffer(name, capsys):
    model, unsaved = network(), UnsavedState()
    unsaved.begin(model, {})
    unsaved.warn_changes(model)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        CHANGES[name](model[1][0])
        unsaved.warn_changes(model)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"warning: model.1.0.{name} changed") and "as a buffer" in said


def test_what_checkpoints_hold_and_what_training_sets_is_no_change(capsys) -> None:
    model, unsaved = network(), UnsavedState()
    it: Any = model[1][0]
    unsaved.begin(model, {"saliency": [model, it.layer.weight]})
    with torch.no_grad():
        it.layer.weight.add_(1)
        it.bank = it.bank + 1
        it.norm(torch.randn(4, 2))
    model.eval()
    it.layer.weight.requires_grad_(False)
    it.register_forward_hook(lambda *_: None)
    unsaved.warn_changes(model)
    assert capsys.readouterr().err == ""


def test_weights_that_a_recurrent_layer_lists_anew_in_each_pass_are_no_change(capsys) -> None:
    model, unsaved, x = nn.LSTM(2, 3), UnsavedState(), torch.zeros(4, 1, 2)
    model(x)
    unsaved.begin(model, {})
    # As a probe looks at it: the layer's list holds the stand-ins until the next pass.
    functional_call(model, {n: p.detach() + 1 for n, p in model.named_parameters()}, (x,))
    unsaved.warn_changes(model)
    assert capsys.readouterr().err == ""


class Extra(nn.Module):
    """Saves its counter in the way that torch has for it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.inner = 0, nn.Sequential(Keeping())

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor(self.calls)


def test_what_a_module_saves_as_its_extra_state_is_no_change_and_what_its_modules_keep_is(capsys):
    model, unsaved = nn.Sequential(Extra()), UnsavedState()
    unsaved.begin(model, {})
    model[0].calls += 1
    unsaved.warn_changes(model)
    assert capsys.readouterr().err == ""
    model[0].inner[0].calls += 1
    unsaved.warn_changes(model)
    assert capsys.readouterr().err.startswith("warning: model.0.inner.0.calls changed")


@dataclass(frozen=True)
class Part:
    rate: float = 0.1
    seen: dict[str, int] = field(default_factory=dict)
    net: nn.Module = field(default_factory=lambda: nn.BatchNorm1d(2))
    inner: Tracker = field(default_factory=Tracker)

    @cached_property
    def table(self) -> list[int]:
        return [1, 2]


@cases(
    "name, change",
    ("seen", lambda it: it.seen.update(a=1)),
    ("net.running_mean", lambda it: it.net.running_mean.add_(1)),
    ("net.weight", lambda it: it.net.weight.data.add_(1)),
    ("inner.count", lambda it: setattr(it.inner, "count", 1)),
)
def test_a_changed_attribute_of_a_part_is_named_with_what_is_possible_there(name, change, capsys):
    part, model, unsaved = Part(), nn.Linear(2, 2), UnsavedState()
    unsaved.begin(model, {"seed": 0, "penalty": part})
    assert part.table  # what is cached is computed again
    unsaved.warn_changes(model)
    assert capsys.readouterr().err == ""
    change(part)
    unsaved.warn_changes(model)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: penalty.{name} changed since the run began")
    assert "compute it from the arguments" in said


def test_a_run_names_what_its_network_its_optimizer_and_its_parts_count(
    tmp_path, monkeypatch, capfd
) -> None:
    counting = (
        *("model._target_=parts.Counted", "retraining.augmentation._target_=parts.Counting"),
        *("training.optimizer._target_=parts.CountingAdam", "penalty=l1"),
        *("penalty._target_=parts.CountingPenalty", "~penalty.strength"),
    )
    assert run_main(monkeypatch, *RUN, *counting, f"output_dir={tmp_path}") == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "changed since" in line]
    assert [line.split(" changed")[0] for line in lines] == [
        "warning: model.1.calls",
        "warning: optimizer.calls",
        "warning: retraining.augmentation.calls, penalty's gradient hook.calls",
    ]


def test_a_run_of_parts_that_keep_nothing_is_quiet(tmp_path, monkeypatch, capfd) -> None:
    assert run_main(monkeypatch, *RUN, f"output_dir={tmp_path}") == 0
    assert "changed since" not in capfd.readouterr().err
