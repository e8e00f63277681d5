"""Tests SNFS: a mean gradient over some steps, and layers that exchange weights."""

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from conftest import cases
from torch import Tensor

from harness.mask_updates.snfs import Snfs, split_total
from harness.vocabulary.tensors import Tensors


def swapped(
    layers: dict[str, tuple[list[float], str, list[float]]], **fields: Any
) -> dict[str, str]:
    """Masks after an update at step 0; layers hold weights, mask and mean gradients."""
    new = Snfs(**fields).update_masks(
        weights={name: torch.tensor(weight) for name, (weight, _, _) in layers.items()},
        masks={name: live_of(live) for name, (_, live, _) in layers.items()},
        statistics={name: torch.tensor(mean) for name, (_, _, mean) in layers.items()},
        step=0,
        steps=100,
        seed=0,
    )
    return {name: "".join(str(int(bit)) for bit in mask) for name, mask in new.items()}


def live_of(bits: str) -> Tensor:
    return torch.tensor([bit == "1" for bit in bits])


def test_the_mean_gradient_runs_from_0() -> None:
    snfs, statistics = Snfs(momentum=0.5), dict[str, Tensor]()
    for gradient in (8.0, 4.0, -2.0):
        statistics = snfs.accumulate(statistics, {"w": torch.tensor([gradient, -gradient])})
    # 4, then 4, then 1
    assert statistics["w"].tolist() == [1.0, -1.0]


def test_the_mean_gradient_holds_no_gradient_and_reuses_its_own_memory() -> None:
    gradients: Tensors = {"w": torch.ones(3)}
    first = Snfs(momentum=0.0).accumulate({}, gradients)
    there = first["w"].data_ptr()
    gradients["w"].zero_()
    assert first["w"].tolist() == [1.0] * 3
    assert Snfs().accumulate(first, gradients)["w"].data_ptr() == there


@pytest.mark.parametrize(
    ("given", "kept"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64,) * 2],
)
def test_the_mean_gradient_is_float32_or_wider(given, kept) -> None:
    statistics = Snfs(momentum=0.75).accumulate({}, {"w": torch.ones(2, dtype=given)})
    assert statistics["w"].dtype == kept
    assert Snfs(momentum=0.0).accumulate(statistics, {"w": torch.full((2,), 3, dtype=given)})[
        "w"
    ].tolist() == [3.0, 3.0]


def test_it_looks_at_the_steps_before_an_update_and_at_its_own() -> None:
    snfs = Snfs(update_interval=10, stop_fraction=0.75, history=3)
    looks = [step for step in range(40) if snfs.needs_dense_gradients(step, 40)]
    assert looks == [8, 9, 10, 18, 19, 20]  # step 30 is 0.75 of 40: masks hold from there on


def test_a_history_of_one_looks_at_the_update_alone() -> None:
    snfs = Snfs(update_interval=10, stop_fraction=1.0, history=1)
    assert [step for step in range(40) if snfs.needs_dense_gradients(step, 40)] == [10, 20, 30]


@cases("history", 10, 11, 500)
def test_a_history_over_the_whole_interval_looks_at_every_step_up_to_the_last_update(history):
    snfs = Snfs(update_interval=10, stop_fraction=0.75, history=history)
    # A history of exactly `every` steps ends before step 0, which no update reaches.
    first = 1 if history == 10 else 0
    assert [step for step in range(40) if snfs.needs_dense_gradients(step, 40)] == list(
        range(first, 21)
    )


def test_a_lone_layer_exchanges_as_rigl_does_by_its_mean_gradient() -> None:
    weight = [1.0, -2.0, 3.0, -4.0, 0.0, 0.0, 0.0]
    mean = [0.0, 7.0, 99.0, 99.0, 1.0, -8.0, 2.0]
    assert swapped({"w": (weight, "1111000", mean)}, drop_fraction=0.5) == {"w": "0111010"}


def test_layers_grow_in_proportion_to_the_mean_gradient_of_their_live_weights() -> None:
    # Each drops 2 of 4. Live means 3 and 1, of which that of "b" is not raised by its pruned
    # weights: of 4 grown weights "a" gets 3.
    layers = {
        "a": (
            [1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0],
            "1111000",
            [-3.0, 3.0, -3.0, 3.0, 9.0, 8.0, 7.0],
        ),
        "b": (
            [4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0],
            "1111000",
            [1.0, 1.0, 1.0, 1.0, 50.0, 50.0, 60.0],
        ),
    }
    assert swapped(layers, drop_fraction=0.5) == {"a": "0011111", "b": "1100001"}


def test_the_mean_counts_live_weights_alone_so_a_wider_layer_gets_no_more() -> None:
    # 4 + 2 are dropped. Sums of 8 and 4 over 8 and 4 live weights: equal means, so 3 for each.
    layers = {
        "wide": ([float(n) for n in range(1, 9)] + [0.0] * 8, "1" * 8 + "0" * 8, [1.0] * 16),
        "thin": ([float(n) for n in range(1, 5)] + [0.0] * 8, "1" * 4 + "0" * 8, [1.0] * 12),
    }
    new = swapped(layers, drop_fraction=0.5)
    assert {name: bits.count("1") for name, bits in new.items()} == {"wide": 4 + 3, "thin": 2 + 3}


def test_what_a_layer_has_no_room_for_goes_to_the_others() -> None:
    # All gradient is in "a", which drops 1 of its 2 and is full with it; "b" drops 2 and gets 2.
    layers = {
        "a": ([1.0, 2.0], "11", [5.0, 5.0]),
        "b": ([4.0, 3.0, 2.0, 1.0, 0.0], "11110", [0.0, 0.0, 0.0, 0.0, 0.0]),
    }
    assert swapped(layers, drop_fraction=0.5) == {"a": "11", "b": "11110"}


def test_an_empty_layer_stays_empty_while_others_have_room() -> None:
    layers = {
        "empty": ([0.0] * 4, "0000", [9.0] * 4),
        "b": ([2.0, 1.0, 0.0, 0.0], "1100", [1.0, 1.0, 0.0, 2.0]),
    }
    assert swapped(layers, drop_fraction=0.5) == {"empty": "0000", "b": "1001"}


@cases(
    "total, sizes, room, counts",
    (0, {"a": 0, "b": 0}, {"a": 0, "b": 0}, {"a": 0, "b": 0}),
    (4, {"a": 3, "b": 1}, {"a": 9, "b": 9}, {"a": 3, "b": 1}),
    (5, {"a": 1, "b": 1, "c": 1}, {"a": 9, "b": 9, "c": 9}, {"a": 2, "b": 2, "c": 1}),
    (5, {"a": 1, "b": 2}, {"a": 9, "b": 9}, {"a": 2, "b": 3}),  # 1.67 and 3.33
    (9, {"b": 1, "a": 8}, {"a": 2, "b": 9}, {"b": 7, "a": 2}),
    (9, {"a": 8, "b": 1, "c": 0}, {"a": 2, "b": 3, "c": 9}, {"a": 2, "b": 3, "c": 4}),
    (4, {"a": 0, "b": 0}, {"a": 6, "b": 2}, {"a": 3, "b": 1}),
    (8, {"a": 1, "b": 0}, {"a": 6, "b": 2}, {"a": 6, "b": 2}),
)
def test_shares_are_by_largest_remainder_within_the_room(total, sizes, room, counts) -> None:
    found = split_total(total, {name: Fraction(size) for name, size in sizes.items()}, room)
    assert found == counts and list(found) == list(sizes)


@pytest.mark.parametrize("seed", range(30))
def test_shares_sum_to_the_total_and_fit(seed) -> None:
    stream = torch.Generator().manual_seed(seed)
    many = [str(layer) for layer in range(1 + seed % 7)]
    sizes = torch.rand(len(many), generator=stream).pow(9).tolist()
    room = torch.randint(0, 50, (len(many),), generator=stream).tolist()
    there = dict(zip(many, room, strict=True))
    for total in range(sum(room) + 1):
        counts = split_total(total, dict(zip(many, map(Fraction, sizes), strict=True)), there)
        assert sum(counts.values()) == total
        assert all(0 <= counts[name] <= there[name] for name in many)


@cases("value", math.nan, math.inf)
def test_a_mean_gradient_that_is_not_finite_names_its_layer(value) -> None:
    with pytest.raises(ValueError, match="w: .*, so its mask cannot be updated; did the training"):
        swapped({"w": ([1.0, 2.0, 0.0], "110", [value, 1.0, 1.0])})


@cases("momentum", 1, -0.1, math.nan, "0.9", True)
def test_momentum_must_be_a_share_below_1(momentum) -> None:
    with pytest.raises(
        ValueError, match=r"momentum must be a number in \[0, 1\), got .*; write e.g. 0.9"
    ):
        Snfs(momentum=momentum)


@cases("history", 0, -1, 2.0, True, "50")
def test_history_must_be_a_number_of_steps(history) -> None:
    with pytest.raises(ValueError, match="history must be a whole number of at least 1"):
        Snfs(history=history)


def test_fields_of_all_mask_updates_are_checked_too() -> None:
    with pytest.raises(ValueError, match="drop_fraction must be"):
        Snfs(drop_fraction=2)
