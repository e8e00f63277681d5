"""The rehearsal of a run: what it refuses, what it leaves out, and that it changes nothing."""

import logging
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import cases
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from watched import experiment

from harness.distributed import Ranks
from harness.experiment.experiment import Experiment
from harness.experiment.rehearsals import rehearsal
from harness.experiment.runner import Prepared, prepare
from harness.metrics.latency import Latency
from harness.run_folder.identity import rehearsal_hash
from harness.saliency.magnitude import Magnitude
from harness.task.classification import Classification
from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.tensors import Tensors, all_tensors, clone_tensors

TRAINED = ("prune_at=after_training", "training.epochs=1")
Forward = Callable[["Net", Tensor], Any]


class Net(nn.Module):
    """Has layers of any kind; `forward` is the test's own."""

    def __init__(self, inputs: int, classes: int, forward: Forward) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(inputs, 6), nn.Linear(6, classes)
        self.lstm, self.passes = nn.LSTM(6, 6, batch_first=True), forward

    def forward(self, x: Tensor) -> Any:
        return self.passes(self, x)


class Building:
    def __init__(self, forward: Forward, wrap: Callable[[nn.Module], nn.Module] = lambda m: m):
        self.passes, self.wrap = forward, wrap

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return self.wrap(Net(shape[0], classes, self.passes))


def first(outputs: Any) -> Tensor:
    return next(iter_tensors(outputs))


class First(Classification):
    """Takes the first output of several."""

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        return super().loss(first(outputs), labels)

    def measure(self, outputs: Any, labels: Tensor) -> Tensors:
        return super().measure(first(outputs), labels)


def plain(net: Net, x: Tensor) -> Tensor:
    return net.two(net.one(x).relu())


def recurrent(net: Net, x: Tensor) -> Tensor:
    start = torch.zeros(1, len(x), 6)
    return net.two(net.lstm(net.one(x).unsqueeze(1), (start, start))[0][:, -1])


def checkpointed(net: Net, x: Tensor, reentrant: bool) -> Tensor:
    return checkpoint(lambda h: net.two(h.relu()), net.one(x), use_reentrant=reentrant)


def prepared(*overrides: str, **parts: Any) -> Prepared:
    return prepare(changed(*overrides, **parts), Ranks(), Path("unused"))


def changed(*overrides: str, **parts: Any) -> Experiment:
    return replace(experiment(*overrides), **parts)


def rehearse(*overrides: str, latency: Latency | None = None, **parts: Any) -> None:
    ready = prepared(*overrides, **parts)
    rehearsal.rehearse(ready.context, ready.state.model, latency)


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


def fails(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


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
        rehearse(model=Building(forward), latency=Latency(batch_size=size))
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


class Counting(Classification):
    """Keeps what it has seen, as an own part may."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "seen", [])

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(len(labels))  # type: ignore[attr-defined]
        return super().loss(outputs, labels)


def streams() -> list[Any]:
    return [torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist()]


def test_model_parts_data_and_random_streams_stay_as_they_were() -> None:
    def draws(net: Net, x: Tensor) -> Tensor:
        random.random(), numpy.random.rand()
        return plain(net, nn.functional.dropout(x, 0.5))

    task = Counting()
    ready = prepared(*TRAINED, model=Building(draws), task=task)
    model, splits = ready.state.model, ready.context.workload.splits
    before, seen, at = clone_tensors(all_tensors(model)), list(task.seen), streams()
    inputs = splits.train.inputs.clone()

    rehearsal.rehearse(ready.context, model, Latency(batch_size=3))

    assert all(torch.equal(value, before[name]) for name, value in all_tensors(model).items())
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())
    assert task.seen == seen and streams() == at and torch.equal(inputs, splits.train.inputs)
    assert ready.state.masks.masks.keys() and all(
        mask.all() for mask in ready.state.masks.masks.values()
    )


class Others(Ranks):
    """Stands for a rank whose peer has found `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        object.__setattr__(self, "reason", reason)

    def all_gather_object(self, value: Any) -> list[Any]:
        return [value, self.reason]  # type: ignore[attr-defined]


def test_what_one_rank_finds_all_raise() -> None:
    ready = prepared()
    for reason in ("", "task=x: no"):
        workload = replace(ready.context.workload, ranks=Others(reason))
        context = replace(ready.context, workload=workload)
        if reason:
            with pytest.raises(ValueError, match="task=x: no"):
                rehearsal.rehearse(context, ready.state.model, None)
        else:
            rehearsal.rehearse(context, ready.state.model, None)


def test_equal_parts_are_rehearsed_once_in_a_process_unless_they_were_refused(monkeypatch) -> None:
    ready, calls = prepared(), list[int]()
    monkeypatch.setattr(rehearsal, "passed", set())
    monkeypatch.setattr(rehearsal, "_prune", lambda _: calls.append(1))
    for name in ("a", "a", "b", "", ""):
        rehearsal.rehearse(ready.context, ready.state.model, None, name=name)
    assert len(calls) == 4

    monkeypatch.setattr(rehearsal, "_measure", fails(RuntimeError("no")))
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            rehearsal.rehearse(ready.context, ready.state.model, None, name="c")


def test_seeds_and_lengths_make_no_other_rehearsal_and_all_else_does() -> None:
    def name(code: str = "", latency: int | None = None, lr: float = 0.1, **changes: Any) -> str:
        recipe = {"epochs": 3, "optimizer": {"lr": lr}}
        config = {"seed": 0, "training": recipe, "retraining": recipe, "data_sha256": "0"}
        config |= {"schedule": {"_target_": "one", "final": 0.5}} | changes
        return rehearsal_hash(config, {"batch_size": latency}, code, {})

    longer = {"epochs": 9, "optimizer": {"lr": 0.1}}
    schedule = {"_target_": "one", "final": 0.1}
    drawn = [name(saliency={"_target_": "random", "seed": seed}) for seed in (0, 1)]
    assert len({name(), name(seed=1), name(retraining=longer), name(schedule=schedule)}) == 1
    assert len({*drawn, name()}) == 2
    others = [name("other"), name(latency=1), name(lr=0.2), name(data_sha256="1"), name(task="x")]
    none = {"epochs": 0, "optimizer": {"lr": 0.1}}
    assert len({name(), *others, name(schedule={"_target_": "two"}), name(training=none)}) == 8
