"""Tests values as people give them to calls: each is right, or refused in one line."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import harness

X, Y = torch.randn(12, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
META = torch.ones(8, 8, device="meta")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def refusal(call: Callable[[], object]) -> str:
    """Returns the message with which a call refuses its input, which is one line."""
    with pytest.raises(ValueError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


HALVES = [0.5, np.float32(0.5), np.float16(0.5), np.array(0.5), torch.tensor(0.5)]


@pytest.mark.parametrize("density", [*HALVES, Fraction(1, 2), Decimal("0.5")], ids=repr)
def test_a_density_is_any_real_number(density) -> None:
    assert sum(int(mask.sum()) for mask in harness.prune(network(), density).values()) == 44


@pytest.mark.parametrize(
    "value",
    ["0.5", True, np.bool_(True), np.float32("nan"), 0.5j, [0.5], torch.tensor([0.5])],
    ids=repr,
)
def test_a_density_that_is_no_number_is_refused(value) -> None:
    assert "density must be a finite number, got" in refusal(
        lambda: harness.prune(network(), value)
    )


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, torch.tensor, np.array])
def test_counts_and_rounds_and_seeds_are_whole_numbers_of_any_library(kind) -> None:
    masks = harness.prune(network(), keep=kind(5), rounds=kind(2), seed=kind(3), saliency="random")
    expected = harness.prune(network(), keep=5, rounds=2, seed=3, saliency="random")
    assert all(torch.equal(mask, expected[name]) for name, mask in masks.items())


@pytest.mark.parametrize("value", [2.5, None, "2", True, Decimal("2.5")], ids=repr)
def test_a_seed_that_is_no_whole_number_is_refused(value) -> None:
    given: Any = value
    assert "seed must be a whole number" in refusal(
        lambda: harness.prune(network(), 0.5, seed=given)
    )


MASK = torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) > 0.3
OF_MASK: dict[str, Callable[[torch.Tensor], Any]] = {
    "bool": lambda mask: mask, "float": torch.Tensor.float,
    "int8": lambda mask: mask.to(torch.int8), "numpy": lambda mask: mask.numpy(),
    "numpy float": lambda mask: mask.float().numpy(),
    "transposed": lambda mask: mask.t().contiguous().t(),
    "parameter": lambda mask: nn.Parameter(mask.float()),
}  # fmt: skip
TAKE: dict[str, Callable[[Any], Any]] = {
    "prune": lambda masks: harness.prune(network(), 0.25, masks=masks),
    "Masks": lambda masks: harness.Masks(network(), masks),
    "to_torch_prune": lambda masks: harness.to_torch_prune(network(), masks),
}


@pytest.mark.parametrize("kind", OF_MASK)
def test_masks_of_any_kind_mean_the_same(kind) -> None:
    given = {"0.weight": OF_MASK[kind](MASK)}
    assert torch.equal(TAKE["Masks"](given)["0.weight"], MASK)
    assert torch.equal(TAKE["to_torch_prune"](given)[0].weight_mask.bool(), MASK)
    kept = TAKE["prune"](given)["0.weight"]
    assert kept.any() and not (kept & ~MASK).any()


ODD_MASKS = {
    "list": [[1] * 8] * 8, "number": 1, "nothing": None, "no dimensions": torch.tensor(1.0),
    "another shape": torch.ones(8, 7), "half": torch.full((8, 8), 0.5),
    "negative": -torch.ones(8, 8), "nan": torch.full((8, 8), torch.nan), "on meta": META,
    "sparse": torch.ones(8, 8).to_sparse(),
}  # fmt: skip


@pytest.mark.parametrize("take", TAKE)
@pytest.mark.parametrize("kind", ODD_MASKS)
def test_what_is_no_mask_is_named(take, kind) -> None:
    assert "0.weight" in refusal(lambda: TAKE[take]({"0.weight": ODD_MASKS[kind]}))


@pytest.mark.parametrize("take", TAKE)
def test_masks_are_named_by_parameters(take) -> None:
    assert "dictionary of parameter name" in refusal(lambda: TAKE[take]([MASK]))
    assert "'0'" in refusal(lambda: TAKE[take]({"0": MASK})) or take == "Masks"


def test_masks_of_biases_are_kept_too() -> None:
    net = network()
    torch_prune.random_unstructured(net[0], "bias", 3)
    torch_prune.random_unstructured(net[2], "weight", 4)
    before = harness.from_torch_prune(net)
    after = harness.prune(net, 0.25, masks=before, exclude="last")
    assert int(after["0.weight"].sum()) == 16 and before.keys() < after.keys()
    for name, mask in before.items():
        assert torch.equal(after[name], mask)
        assert torch.equal(net.get_parameter(name) != 0, mask)


def test_a_shared_parameter_has_one_mask() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    mask = torch.eye(4)
    assert torch.equal(harness.prune(net, 1.0, masks={"2.weight": mask})["0.weight"], mask.bool())
    both = {"0.weight": mask, "2.weight": 1 - mask}
    assert "shared parameter and differ" in refusal(lambda: harness.prune(net, 1.0, masks=both))


ODD_BATCHES: dict[str, tuple[Any, str]] = {
    "one batch": ((X, Y), "got a tensor (12, 8)"),
    "inputs alone": (X, "got a tensor (12, 8)"),
    "dictionaries": ([{"x": X, "y": Y}], "got a dict of x, y"),
    "inputs in a dictionary": ([({"ids": X}, Y)], "inputs of batches are named ids"),
    "inputs in a tuple": ([((X, X), Y)], "got a tuple of a tuple, a tensor (12,)"),
    "triples": ([(X, Y, Y)], "got a tuple of a tensor (12, 8), a tensor (12,), a tensor (12,)"),
    "numpy": ([(X.numpy(), Y)], "got a tuple of a ndarray, a tensor (12,)"),
    "lists": ([(X, Y.tolist())], "got a tuple of a tensor (12, 8), a list"),
    "on meta": ([(X.to("meta"), Y)], "on the meta device"),
    "nothing in it": ([None], "got a NoneType"),
    "text": ("data", "must be a list of (inputs, labels)"),
    "a dictionary": ({"x": X}, "must be a list of (inputs, labels)"),
    "a number": (5, "must be a list of (inputs, labels)"),
    "a label above": ([(X, Y + 97)], "outside the 3 classes 0 to 2, such as 97"),
    "a label below": ([(X, Y - 1)], "4 of 12 labels of batches are outside the 3 classes 0 to 2"),
    "real labels": ([(X, Y.float())], "for torch.float32 labels (12,)"),
    "no number": ([(X * torch.nan, Y)], "inputs of batches hold NaN"),
    "whole numbers": ([(X.long(), Y)], "inputs of batches are torch.int64"),
    "truth values": ([(X > 0, Y)], "inputs of batches are torch.bool"),
    "complex numbers": ([(X + 0j, Y)], "inputs of batches are torch.complex64"),
}


@pytest.mark.parametrize("kind", ODD_BATCHES)
def test_batches_that_are_none_are_described(kind) -> None:
    batches, message = ODD_BATCHES[kind]
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for call in (harness.score, lambda *given, **more: harness.prune(given[0], 0.5, **more)):
        assert message in refusal(lambda call=call: call(net, saliency="gradient", batches=batches))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("labels", [Y.int(), Y.to(torch.uint8), Y.to(torch.int16)], ids=str)
def test_classes_may_be_integers_of_any_width(labels) -> None:
    one, other = (
        harness.score(network(), "gradient", batches=[(X, given)]) for given in (Y, labels)
    )
    assert all(torch.equal(score, other[name]) for name, score in one.items())


@pytest.mark.parametrize("value", [(X, Y), [X], {"x": 1}, X.numpy(), META, torch.tensor(1.0), 5])
def test_an_example_input_is_a_tensor(value) -> None:
    given: Any = value
    call = lambda: harness.prune(network(), 0.5, structure="row", example_input=given)  # noqa: E731
    assert "example_input must be a tensor" in refusal(call)


def embedding() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 8), nn.Flatten(), nn.Linear(16, 3))


IDS = torch.randint(0, 5, (12, 2), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("saliency", ["gradient", "wanda", "synflow"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_ids_stay_integers(saliency, dtype) -> None:
    assert harness.score(embedding(), saliency, batches=[(IDS.to(dtype), Y)])["2.weight"].any()


def test_ids_that_are_none_are_named() -> None:
    for ids, message in ((IDS + 3, "an id outside"), (IDS.float(), "an embedding needs int64 ids")):
        call = lambda ids=ids: harness.score(embedding(), "gradient", batches=[(ids, Y)])  # noqa: E731
        assert message in refusal(call)
