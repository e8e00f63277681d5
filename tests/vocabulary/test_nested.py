"""Networks may return tensors in tuples, lists, dictionaries and dataclasses."""

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import cases
from torch import Tensor, nn

import harness
from harness.saliency.grasp import GraSP
from harness.vocabulary.nested import iter_tensors, map_tensors

DATA = [(torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, 2.0]]), torch.tensor([0, 1]))]
Named = namedtuple("Named", "first rest")


@dataclass(frozen=True)
class Frozen:
    logits: Tensor
    name: str = "kept"


class Ordered(OrderedDict[str, Any]):
    """Refuses to be updated and is read by attributes, as the outputs of transformers."""

    update = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Own:
    def __init__(self, logits: Tensor):
        self.logits = logits


class Net(nn.Sequential):
    def __init__(self, made: Callable[[Tensor], Any]):
        torch.manual_seed(0)
        super().__init__(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.made = made

    def forward(self, inputs: Tensor) -> Any:
        return self.made(super().forward(inputs))


# What a network makes of its logits, and how a loss finds them again.
KINDS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = {
    "tuple": (lambda o: (o.argmax(1), [o], None), lambda found: found[1][0]),
    "named tuple": (lambda o: Named(o, "text"), lambda found: found.first),
    "dict": (lambda o: {"ids": o.argmax(1), "logits": o}, lambda found: found["logits"]),
    "dict of a class": (lambda o: Ordered(logits=o), lambda found: found.logits),
    "dataclass": (Frozen, lambda found: found.logits),
}


@pytest.mark.parametrize("kind", KINDS)
@cases("saliency", "grasp", "synflow", "gradient")
def test_scores_are_those_of_the_network_that_returns_its_logits_alone(kind, saliency) -> None:
    made, found_in = KINDS[kind]

    def loss(outputs: Any, labels: Tensor) -> Tensor:
        return F.cross_entropy(found_in(outputs), labels, reduction="sum")

    found = harness.score(Net(made), saliency, batches=DATA, loss=loss)
    wanted = harness.score(Net(lambda o: o), saliency, batches=DATA)
    assert all(score.any() and score.equal(found[name]) for name, score in wanted.items())


def test_tensors_are_changed_where_they_are_and_the_rest_is_kept() -> None:
    one = torch.ones(1)
    before = {"a": Frozen(one), "b": [Named(one, "text"), (one, None)]}
    after = map_tensors(before, lambda tensor: tensor + 1)
    assert [float(tensor) for tensor in iter_tensors(after)] == [2.0, 2.0, 2.0]
    assert after["a"].name == "kept" and after["b"][0].rest == "text" and after["b"][1][1] is None
    assert [float(tensor) for tensor in iter_tensors(before)] == [1.0, 1.0, 1.0]


def test_synflow_adds_up_all_that_a_network_returns() -> None:
    both = harness.score(Net(lambda o: (o, 2 * o)), "synflow", batches=DATA, loss=_of_first)
    one = harness.score(Net(lambda o: o), "synflow", batches=DATA)
    assert torch.allclose(both["0.weight"], 3 * one["0.weight"])


@cases("saliency, said", ("grasp", "GraSP divides .* in Own"), ("synflow", "SynFlow .* in Own"))
def test_outputs_that_cannot_be_seen_into_are_refused(saliency, said) -> None:
    with pytest.raises(ValueError, match=f"{said} it finds no floating-point tensor; return"):
        harness.score(Net(Own), saliency, batches=DATA, loss=_of_own)


def test_grasp_at_temperature_1_divides_nothing_and_so_takes_any_outputs() -> None:
    found = harness.score(Net(Own), GraSP(temperature=1), batches=DATA, loss=_of_own)
    wanted = harness.score(Net(lambda o: o), GraSP(temperature=1), batches=DATA)
    assert found["0.weight"].equal(wanted["0.weight"])


def _of_own(outputs: Own, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs.logits, labels, reduction="sum")


def _of_first(outputs: Any, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs[0], labels, reduction="sum")
