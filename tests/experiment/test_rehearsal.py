"""The rehearsal of a run: what it refuses, what it leaves out, and that it changes nothing."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import cases
from rehearsing import (
    TRAINED,
    Building,
    First,
    Net,
    checkpointed,
    fails,
    plain,
    prepared,
    recurrent,
    rehearse,
)
from torch import Tensor, nn

from harness.experiment.rehearsals import rehearsal
from harness.metrics.latency import Latency
from harness.saliency.magnitude import Magnitude
from harness.task.classification import Classification
from harness.vocabulary.tensors import Tensors


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@cases(
    "forward, task",
    (recurrent, Classification()),
    (lambda net, x: net.two(net.one(x) @ torch.eye(6)), Classification()),
    (lambda net, x: checkpointed(net, x, reentrant=False), Classification()),
    (lambda net, x: checkpointed(net, x, reentrant=True), Classification()),
    (lambda net, x: (plain(net, x), net.one(x)), First()),
    (lambda net, x: {"logits": plain(net, x), "class": None}, First()),
)
def test_what_models_do_in_a_training_they_may_do_in_all_that_follows(
    forward, task, caplog
) -> None:
    caplog.set_level(logging.INFO)
    rehearse(*TRAINED, model=Building(forward), task=task)
    assert not [r for r in caplog.records if r.name == rehearsal.__name__]


def test_a_figure_that_will_stay_empty_is_said_before_the_training(caplog) -> None:
    caplog.set_level(logging.INFO)
    rehearse(model=Building(plain, nn.DataParallel))
    (line,) = [r.getMessage() for r in caplog.records if "effective" in r.getMessage()]
    assert line.startswith("not rehearsed: effective_density stays empty: the model does not run")
    assert "DataParallel" in line and "\n" not in line


class Failing(Classification):
    def measure(self, outputs: Tensor, labels: Tensor) -> Tensors:
        raise TypeError("no\nmeasure")


class Scoring(Magnitude):
    def __init__(self, act: Callable[[Any], Any]) -> None:
        object.__setattr__(self, "act", act)

    def statistics(self, data: Any) -> Tensors:
        self.act(data)
        return {}


def writes(data: Any) -> None:
    with torch.no_grad():
        next(data.module.parameters()).add_(1)


@cases(
    "parts, reason",
    ({"task": Failing()}, "task=Failing fails on two samples, before any training: TypeError: no"),
    ({"saliency": Scoring(fails(KeyError("x")))}, "saliency=Scoring fails .*: KeyError: 'x'"),
    ({"saliency": Scoring(writes)}, "Scoring changed the model in its statistics"),
)
def test_a_part_that_would_fail_after_the_training_is_refused_in_one_line(parts, reason) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        rehearse(**parts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["to_bytes", "load_exported"])
def test_an_export_that_would_fail_is_refused(monkeypatch, name) -> None:
    monkeypatch.setattr(rehearsal, name, fails(RuntimeError("no such dtype")))
    with pytest.raises(ValueError, match="model=.* RuntimeError: no such dtype"):
        rehearse()


@cases("error", ValueError("too few samples"), torch.OutOfMemoryError("1 GB"), OSError("disk"))
def test_what_two_samples_cannot_tell_is_left_out_and_named(error, caplog) -> None:
    caplog.set_level(logging.INFO)
    rehearse(saliency=Scoring(fails(error)))
    assert f"not rehearsed: saliency ({error})" in [r.getMessage() for r in caplog.records]


def test_a_forward_pass_that_cannot_be_timed_stops_no_run(caplog) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        if len(x) > 64:
            raise RuntimeError("too large")
        return plain(net, x)

    caplog.set_level(logging.INFO)
    for size, told in ((4, 0), (65, 1)):
        caplog.clear()
        rehearse(model=Building(forward), latency=Latency(batch_sizes=(size,)))
        assert len([r for r in caplog.records if "latency (too large)" in r.getMessage()]) == told


def test_samples_without_a_label_that_counts_are_not_chosen() -> None:
    ready = prepared()
    train = ready.context.workload.splits.train
    train.labels[:5] = -100
    seen: list[Tensor] = []

    class Seeing(Classification):
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            seen.append(labels)
            return super().loss(outputs, labels)

    context = replace(ready.context, experiment=replace(ready.context.experiment, task=Seeing()))
    rehearsal.rehearse(context, ready.state.model, None)
    assert seen and not any((labels == -100).any() for labels in seen)


@pytest.mark.parametrize("compact", ["end", "levels"])
def test_a_model_whose_code_does_not_run_smaller_is_refused_with_its_group(compact) -> None:
    model = Building(lambda net, x: net.two(net.one(x).view(-1, 6).relu()))
    keys = "structure=neuron", f"compact={compact}", "allocation.min_units=1"
    said = (
        f"compact={compact} cannot remove half of the units of group=one: module=two: .*; leave "
        r"its layers whole with exclude=\[one\], or use compact=never; rehearse=false starts the "
        "run nonetheless$"
    )
    with pytest.raises(ValueError, match=said) as error:
        rehearse(*keys, model=model)
    assert "\n" not in str(error.value)
    rehearse("structure=neuron", model=model)
