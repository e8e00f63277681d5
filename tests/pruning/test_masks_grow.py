"""Masks that may revive what was pruned, where the run has declared it."""

import pytest
import torch
from conftest import cases
from torch import nn
from torch.optim import SGD

from harness.pruning.masks import MaskStore


def growing() -> MaskStore:
    store = MaskStore({"a": torch.zeros(3), "b": torch.zeros(2)}, may_grow=True)
    store.shrink_to({"a": torch.tensor([True, False, False])})
    return store


def test_replaced_masks_may_revive_and_prune_at_once() -> None:
    store = growing()
    store.replace({"a": torch.tensor([False, True, True])})
    assert store.masks["a"].tolist() == [False, True, True]
    assert store.masks["b"].tolist() == [True, True]


def test_masks_only_shrink_where_nothing_declared_that_they_may_grow() -> None:
    store = MaskStore({"a": torch.zeros(2)})
    both = "neither schedule nor mask_updates of this run declares may_grow; choose .*=ac_dc or "
    with pytest.raises(ValueError, match=f"masks only shrink here: {both}"):
        store.replace({"a": torch.tensor([True, False])})
    assert store.masks["a"].tolist() == [True, True]


def test_shrinking_revives_nothing_even_where_masks_may_grow() -> None:
    with pytest.raises(ValueError, match="a: the new mask revives 2 pruned weights"):
        growing().shrink_to({"a": torch.tensor([True, True, True])})


@cases("name, length, says", ("c", 3, "there is none"), ("a", 2, r"it has shape \(3,\)"))
@cases("change", "replace", "shrink_to")
def test_masks_of_another_model_are_refused_and_change_nothing(change, name, length, says) -> None:
    store = growing()
    before = store.digest
    masks = {"b": torch.tensor([False, True]), name: torch.zeros(length, dtype=torch.bool)}
    with pytest.raises(ValueError, match=f"{name}: .*{says}; is it of another model"):
        getattr(store, change)(masks)
    assert store.digest == before


def test_a_revived_weight_starts_at_0_without_momentum_and_trains_again() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = SGD(model.parameters(), lr=0.5, momentum=0.9)
    store = MaskStore({"weight": model.weight}, may_grow=True)
    mask_gradients = store.gradient_masker(model)

    def step() -> None:
        model(torch.ones(1, 2)).sum().backward()
        mask_gradients()
        optimizer.step()
        optimizer.zero_grad()

    step()
    store.shrink_to({"weight": torch.tensor([[True, False]])})
    store.apply_to(model, optimizer)
    step()
    store.replace({"weight": torch.tensor([[False, True]])})
    store.apply_to(model, optimizer)
    assert model.weight.tolist() == [[0.0, 0.0]]

    step()

    # One step of 0.5 along a gradient of 1: nothing of earlier steps is left.
    assert model.weight.tolist() == [[0.0, -0.5]]
