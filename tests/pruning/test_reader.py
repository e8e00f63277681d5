"""A saliency that does not leave the network as it was is named, in a run and in the API."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest
import torch
from simulated import Small, cross_entropy, small_batches
from torch import nn

import harness
from harness.pruning.reader import Reader
from harness.saliency.base import CalibrationData
from harness.saliency.magnitude import Magnitude
from harness.vocabulary.tensors import Tensors, eval_mode

Change = Callable[[nn.Module], object]


class Meddling:
    """Magnitude that does something to the network when it is asked for statistics."""

    granularity: ClassVar[str] = "weight"

    def __init__(self, change: Change):
        self.change = change

    def statistics(self, data: CalibrationData) -> Tensors:
        self.change(data.module)
        return {}

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: weight.abs() for name, weight in weights.items()}


class Scaling(Magnitude):
    """Magnitude that normalises the weights themselves, not copies."""

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: weight.div_(weight.abs().max()).abs() for name, weight in weights.items()}


class Normed(Small):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.curve = nn.BatchNorm2d(2), nn.Identity()
        self.register_buffer("scale", torch.ones(1), persistent=False)
        self.gain, self.steps, self.calls = 1.0, [1], 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(self.norm(inputs) * self.scale)


class Mean2d(nn.BatchNorm2d):
    """Has the same attributes as its base, but another class."""


def nudge(model: nn.Module) -> None:
    model.fc1.weight.data[3, 1] += 1e-6


def look_in_train_mode(model: nn.Module) -> None:
    with torch.no_grad():
        model.train()(small_batches()[0][0])


def leave_gradients(model: nn.Module) -> None:
    cross_entropy(model(small_batches()[0][0]), small_batches()[0][1]).backward()


def freeze(model: nn.Module) -> None:
    model.fc1.weight.requires_grad_(False)


def watch_a_gradient(model: nn.Module) -> None:
    model.fc1.weight.register_hook(lambda gradient: gradient)


def replace_a_parameter(model: nn.Module) -> None:
    model.fc2.bias = nn.Parameter(model.fc2.bias.detach().clone())


CHANGES: dict[str, tuple[Change, str]] = {
    "a weight": (nudge, "values of fc1.weight"),
    "statistics": (look_in_train_mode, "values of norm.running_mean"),
    "a buffer that no checkpoint holds": (lambda m: m.scale.mul_(2), "values of scale"),
    "the sign of a zero": (lambda m: m.norm.bias.data.neg_(), "values of norm.bias"),
    "a mode": (lambda m: m.norm.eval(), "mode of norm"),
    "what is trained": (
        lambda m: m.fc1.weight.requires_grad_(False),
        "requires_grad of fc1.weight",
    ),
    "gradients": (leave_gradients, "gradient of "),
    "a hook": (lambda m: m.conv.register_forward_hook(lambda *_: None), "hooks of module conv"),
    "a hook of a weight": (
        lambda m: m.fc1.weight.register_hook(lambda g: g),
        "hooks of fc1.weight",
    ),
    "another object": (replace_a_parameter, "fc2.bias (another parameter)"),
    "a forward of its own": (
        lambda m: setattr(m.fc1, "forward", lambda x: x @ m.fc1.weight.t()),
        "forward of fc1",
    ),
    "a rule of a norm": (lambda m: setattr(m.norm, "eps", 0.5), "eps of norm"),
    "a choice of a norm": (
        lambda m: setattr(m.norm, "track_running_stats", False),
        "track_running_stats of norm",
    ),
    "an attribute of the network": (lambda m: setattr(m, "gain", 3.0), "gain of Normed"),
    "a list of the network": (lambda m: m.steps.append(2), "steps of Normed"),
    "a new buffer": (
        lambda m: m.register_buffer("mean", torch.ones(1)),
        "names of buffers of Normed",
    ),
    "another module": (lambda m: setattr(m, "curve", nn.Tanh()), "module curve"),
    "another class": (lambda m: setattr(m.norm, "__class__", Mean2d), "module norm"),
    "a hook behind a gradient": (
        lambda m: m.fc1.weight.register_post_accumulate_grad_hook(lambda p: None),
        "hooks of fc1.weight",
    ),
    "torch's grad mode": (lambda _: torch.set_grad_enabled(False), "torch's grad mode"),
    "torch's dtype": (lambda _: torch.set_default_dtype(torch.float64), "torch's default dtype"),
}


@pytest.fixture(autouse=True)
def fixture_modes_of_torch() -> Iterator[None]:
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("case", CHANGES)
def test_a_saliency_that_leaves_something_changed_is_named_with_it(case) -> None:
    change, named = CHANGES[case]
    with pytest.raises(ValueError, match="Meddling changed the model in its statistics") as no:
        harness.score(Normed().train(), Meddling(change), batches=small_batches())
    assert named in str(no.value)


def test_prune_names_it_too_and_in_score_as_in_statistics() -> None:
    with pytest.raises(ValueError, match="Meddling changed the model in its statistics: val"):
        harness.prune(Small(), 0.5, saliency=Meddling(nudge), batches=small_batches())
    with pytest.raises(ValueError, match="Scaling changed the model in its score: values "):
        harness.prune(Small(), 0.5, saliency=Scaling())


def test_a_weight_that_a_saliency_makes_infinite_is_its_fault_and_not_the_trainings() -> None:
    def overflow(model: nn.Module) -> None:
        model.fc1.weight.data[0, 0] = torch.inf

    with pytest.raises(ValueError, match="Meddling changed the model"):
        harness.score(Small(), Meddling(overflow), batches=small_batches())


@pytest.mark.parametrize("call", ["solve", "compensate"])
def test_every_call_is_looked_after_and_compared_over_ranks(call) -> None:
    model, compared = Small(), list[str]()
    part = Meddling(nudge)
    setattr(part, call, lambda *_: nudge(model))

    read = Reader(part, model, lambda digests, what: compared.append(what))
    with pytest.raises(ValueError, match=f"changed the model in its {call}"):
        read(call, {}, {})
    assert compared == [f"the model after {call} of Meddling"]


def test_what_one_rank_alone_has_changed_is_told_to_the_others() -> None:
    model, compared = Normed(), list[dict[str, str]]()
    for change in (lambda m: None, CHANGES["a rule of a norm"][0]):
        read = Reader(Meddling(change), model, lambda digests, _: compared.append(digests))
        with suppress(ValueError):
            read("statistics", CalibrationData(model))
    here, there = compared
    assert there.keys() - here.keys() == {"eps of norm"}


def test_what_a_networks_own_forward_counts_is_no_change() -> None:
    model = Normed()
    harness.score(model, "gradient", batches=small_batches())
    assert model.calls > 0


def test_what_is_undone_is_no_change() -> None:
    def there_and_back(model: nn.Module) -> None:
        before = model.fc1.weight.detach().clone()
        nudge(model)
        model.fc1.weight.data.copy_(before)

    harness.score(Small(), Meddling(there_and_back), batches=small_batches())


class Spiking(nn.Module):
    """Keeps its state from one forward to the next as a buffer that each call makes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.register_buffer("potential", torch.zeros(0), persistent=False)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.potential = self.fc(inputs)
        return self.potential


@pytest.mark.parametrize("saliency", ["weight_gradient", "taylor", "wanda", "fisher", "synflow"])
def test_looking_at_a_network_that_writes_to_its_buffers_leaves_them(saliency) -> None:
    model: Any = Spiking()
    with eval_mode(model):
        model(torch.zeros(3, 4))
    assert model.potential.shape == (0,)
    batches = [(torch.randn(5, 4), torch.zeros(5, dtype=torch.int64))]

    harness.score(model, saliency, batches=batches)

    assert model.potential.shape == (0,)
    assert model.calls.item() == 0
