"""Tests when masks are updated and by how much, and what all mask_updates keep to."""

import math

import pytest
import torch
from conftest import cases, component, every

from harness.mask_updates.rigl import Rigl
from harness.mask_updates.set import Set
from harness.mask_updates.snfs import Snfs
from harness.mask_updates.soft import Soft
from harness.vocabulary.tensors import clone_tensors

KINDS = pytest.mark.parametrize("kind", [Rigl, Set, Snfs])


@every("mask_updates")
def test_mask_updates_give_back_all_masks_and_change_no_input(mask_updates) -> None:
    if mask_updates.unmasks_between_levels:
        return  # updates nothing by itself
    torch.manual_seed(0)
    masks = {
        "a": torch.rand(20, 30) < 0.3,
        "b": torch.rand(40) < 0.5,
        "a.bias": torch.tensor([True, False]),
    }
    weights = {name: torch.randn(masks[name].shape) * masks[name] for name in ("a", "b")}
    gradients = {name: torch.randn(weight.shape) for name, weight in weights.items()}
    given = (masks, weights, gradients)
    before = [clone_tensors(tensors) for tensors in given]

    statistics = mask_updates.accumulate({}, gradients)
    seen = clone_tensors(statistics)
    new = mask_updates.update_masks(weights, masks, statistics, step=100, steps=1000, seed=0)

    assert new is not masks and list(new) == list(masks)
    assert all(new[n].shape == m.shape and new[n].dtype == torch.bool for n, m in masks.items())
    assert sum(int(m.sum()) for m in new.values()) == sum(int(m.sum()) for m in masks.values())
    assert new["a.bias"].tolist() == [True, False]
    for tensors, copies in zip((*given, statistics), (*before, seen), strict=True):
        assert all(torch.equal(tensors[name], copy) for name, copy in copies.items())


@every("mask_updates")
def test_mask_updates_may_grow_and_look_no_later_than_they_update(mask_updates) -> None:
    assert mask_updates.may_grow
    mask_updates.check(1000)
    if mask_updates.unmasks_between_levels:
        return
    updates = [step for step in range(1000) if mask_updates.updates(step, 1000)]
    looks = [step for step in range(1000) if mask_updates.needs_dense_gradients(step, 1000)]
    assert updates
    assert max(looks, default=0) <= max(updates, default=0)


def test_soft_lets_masks_go_and_never_updates_them() -> None:
    soft = component("mask_updates", "soft")
    assert soft == Soft() and Soft.unmasks_between_levels and Soft.may_grow
    soft.check(1)
    assert not hasattr(soft, "updates")


def test_the_exchanged_share_falls_along_a_cosine_to_0() -> None:
    mask_updates = Rigl(drop_fraction=0.4, stop_fraction=0.5)
    shares = [mask_updates.fraction(step, 120) for step in (0, 20, 30, 40, 60, 119)]
    # cos(pi / 3) = 1/2 and cos(2 pi / 3) = -1/2
    assert shares == pytest.approx([0.4, 0.3, 0.2, 0.1, 0, 0])


@cases(
    "until, steps, updates",
    (0.75, 400, [100, 200]),  # 300 = 0.75 of 400: masks hold from there on
    (1.0, 400, [100, 200, 300]),
    (1.0, 401, [100, 200, 300, 400]),
    (1, 101, [100]),
    (0.07, 10_000, [100, 200, 300, 400, 500, 600]),  # 0.07 * 10000 is above 700
)
def test_updates_fall_on_multiples_before_masks_hold(until, steps, updates) -> None:
    mask_updates = Rigl(stop_fraction=until)
    assert [step for step in range(steps) if mask_updates.updates(step, steps)] == updates
    assert [
        step for step in range(steps) if mask_updates.needs_dense_gradients(step, steps)
    ] == updates
    assert not any(
        Set(stop_fraction=until).needs_dense_gradients(step, steps) for step in range(steps)
    )


@KINDS
def test_an_interval_longer_than_the_training_is_refused(kind) -> None:
    with pytest.raises(
        ValueError, match=r"mask_updates.update_interval=100 is longer than a training of 99 st"
    ):
        kind().check(99)


@KINDS
def test_an_interval_without_an_update_before_masks_hold_is_refused(kind) -> None:
    with pytest.raises(
        ValueError, match=r"update_interval=75: no update falls before step 75, .* 100 steps"
    ):
        kind(update_interval=75).check(100)
    kind(update_interval=74).check(100)


@KINDS
@cases(
    "field, value, says",
    *(
        ("drop_fraction", drop, r"drop_fraction must be a number in \(0, 1\)")
        for drop in (0, 1, -0.1, 30, math.nan)
    ),
    *(("drop_fraction", drop, "write e.g. 0.3") for drop in ("0.3", True, None)),
    *(
        ("stop_fraction", until, r"stop_fraction must be a number in \(0, 1\]")
        for until in (0, 1.1, math.nan)
    ),
    *(("stop_fraction", until, "stop_fraction must be") for until in ("1", True)),
    *(
        ("update_interval", every, "update_interval must be a whole number of at least 1")
        for every in (0, -1, 1.5)
    ),
    *(("update_interval", every, "write e.g. 100") for every in (True, "100", None)),
)
def test_fields_out_of_range_are_refused(kind, field, value, says) -> None:
    with pytest.raises(ValueError, match=says) as error:
        kind(**{field: value})
    assert f"got {value!r}" in str(error.value)
