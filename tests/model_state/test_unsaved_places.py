"""State that no checkpoint holds is found wherever an own part can keep it."""

import array
import csv
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import cases
from torch import Tensor, nn
from torch.optim import SGD, Adam

from harness.model_state.contents import MOST_BYTES
from harness.model_state.unsaved import UnsavedState

TOTAL = {"calls": 0}


class Nested:
    def __init__(self, depth: int):
        self.inner: Any = Nested(depth - 1) if depth else 0

    def add(self) -> None:
        if isinstance(self.inner, Nested):
            self.inner.add()
        else:
            self.inner += 1


def counter() -> Callable[[], int]:
    calls = 0

    def add() -> int:
        nonlocal calls
        calls += 1
        return calls

    return add


def calls_in(found: dict[str, int]) -> Callable[..., None]:
    def add(*_: object) -> None:
        found["calls"] = found.get("calls", 0) + 1

    return add


def rows() -> Iterator[int]:
    yield from (1, 2, 3)


class Places(nn.Module):
    """Keeps state in every place but a plain attribute of its own."""

    shared: ClassVar[int] = 0
    kept: ClassVar[list[float]] = []

    def __init__(self) -> None:
        super().__init__()
        self.long, self.ring = [0.0] * 1500, deque(map(float, range(1200)), maxlen=1200)
        self.table = {str(number): [number, None] for number in range(2000)}
        self.tensors = [torch.zeros(1) for _ in range(200)]
        self.bytes, self.array, self.buckets = bytearray(4), array.array("i", [0]), Counter("ab")
        self.objects = np.array([Nested(0)], dtype=object)
        self.position, self.numbers, self.rows = iter(range(9)), count(), rows()
        self.drawn = map(abs, iter([1, -2, 3]))
        self.closure, self.method = counter(), partial(Nested.add, Nested(1))
        self.deep, self.kind = Nested(9), torch.float32
        self.stream = np.random.RandomState(0)
        self.weight = nn.Parameter(torch.ones(1))
        self.register_forward_hook(calls_in({}))
        self.weight.register_hook(calls_in({}))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    def total(self) -> None:
        TOTAL["calls"] += 1

    @classmethod
    def defaults(cls, calls: list[int] = [0]) -> None:  # noqa: B006
        calls[0] += 1


CHANGES: dict[str, Callable[[Places], object]] = {
    "long": lambda it: it.long.__setitem__(3, 1.0),
    "ring": lambda it: it.ring.append(1.0),
    "table": lambda it: it.table["1999"].append(1),
    "tensors": lambda it: it.tensors[150].add_(1),
    "bytes": lambda it: it.bytes.__setitem__(0, 1),
    "array": lambda it: it.array.append(1),
    "buckets": lambda it: it.buckets.update("b"),
    "objects": lambda it: it.objects[0].add(),
    "position": lambda it: next(it.position),
    "numbers": lambda it: next(it.numbers),
    "rows": lambda it: next(it.rows),
    "drawn": lambda it: next(it.drawn),
    "closure.calls": lambda it: it.closure(),
    "method.args": lambda it: it.method(),
    "deep" + ".inner" * 10: lambda it: it.deep.add(),
    "kind": lambda it: setattr(it, "kind", torch.float64),
    "stream": lambda it: it.stream.rand(),
    "_forward_hooks.found": lambda it: it(torch.ones(1)),
    "weight._backward_hooks.found": lambda it: it.forward(torch.ones(1)).backward(),
    "Places.shared": lambda it: setattr(Places, "shared", random.random()),
    "Places.kept": lambda it: Places.kept.append(1.0),
    "Places.total.TOTAL": lambda it: it.total(),
    "Places.defaults.__defaults__": lambda it: it.defaults(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_is_named_once_wherever_it_is_kept(name, capsys) -> None:
    model, unsaved = nn.Sequential(Places()), UnsavedState()
    unsaved.begin(model, {})
    unsaved.warn_changes(model)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        CHANGES[name](model[0])
        unsaved.warn_changes(model)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"warning: model.0.{name} changed") and "as a buffer" in said


def test_another_network_of_the_same_kind_has_changed_nothing(capsys) -> None:
    unsaved = UnsavedState()
    unsaved.begin(nn.Sequential(Places()), {})
    unsaved.warn_changes(nn.Sequential(Places()))
    assert capsys.readouterr().err == ""


def test_what_cannot_be_looked_into_is_named_as_that(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("harness.model_state.attributes.ITEM", MOST_BYTES // 100)
    model: Any = nn.Linear(1, 1)
    model.table, model.many = csv.reader(["1", "2"]), [Nested(0) for _ in range(101)]
    model.file = (tmp_path / "log").open("w")  # a place to write to
    unsaved = UnsavedState()
    unsaved.begin(model, {})
    for _ in range(2):
        unsaved.warn_changes(model)
    said = capsys.readouterr().err
    model.file.close()
    assert said.startswith("warning: model.table, model.many cannot be looked into, and no")
    assert said.count("\n") == 1


class Counted(SGD):
    calls = 0

    def step(self, closure: Any = None) -> Any:
        self.calls += 1
        return super().step(closure)


class Saving(Counted):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "calls": self.calls}


class Stated(SGD):
    def step(self, closure: Any = None) -> Any:
        group = self.param_groups[0]
        group["calls"] = group.get("calls", 0) + 1
        return super().step(closure)


@cases(
    "kind, said",
    (Counted, True), (Saving, False), (Stated, False), (Adam, False),
    (partial(SGD, fused=True), False), (partial(Adam, fused=True), False),
)  # fmt: skip
def test_an_optimizer_is_named_for_what_its_state_does_not_hold(kind, said, capsys) -> None:
    model, unsaved = nn.Linear(1, 1), UnsavedState()
    unsaved.begin(model, {})
    optimizer = kind(model.parameters(), lr=0.1)
    unsaved.begin_training(model, {"optimizer": optimizer})
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    unsaved.warn_changes(model)
    err = capsys.readouterr().err
    assert (
        ("optimizer.calls changed" in err and "put it into its state" in err) == said == bool(err)
    )


def gradient_hook_of(weight: Tensor) -> Callable[[], None]:
    view, calls = weight.detach(), [0]

    def add() -> None:
        view.add_(1)
        calls[0] += 1

    return add


def test_a_training_begins_with_its_own_parts_and_ends_with_them(capsys) -> None:
    dense, model, unsaved = nn.Linear(1, 1), nn.Linear(1, 1), UnsavedState()
    unsaved.begin(model, {})
    unsaved.begin_training(dense, {"optimizer": SGD(dense.parameters(), lr=0.1)})
    unsaved.warn_changes(dense)
    unsaved.warn_changes(model)  # trained by none yet
    adders = [gradient_hook_of(model.weight), gradient_hook_of(model.weight)]
    adders[0]()
    for adder in adders:  # each begins with what it has by then
        unsaved.begin_training(model, {"penalty's gradient hook": adder})
        unsaved.warn_changes(model)
    assert capsys.readouterr().err == ""
    adders[1]()
    unsaved.warn_changes(model)
    assert capsys.readouterr().err.startswith("warning: penalty's gradient hook.calls changed")
