"""Compacts small networks of many kinds, and compares them with the masked ones."""

import pytest
import torch
from architectures import ARCHITECTURES, inputs_of
from torch import Tensor, nn

from harness.groups.compact import compact_model
from harness.groups.find import groups_of
from harness.groups.group import Group, group_masks
from harness.groups.living import living_indices, living_norms
from harness.groups.proving.differences import relative_error


def kept_of(group: Group, share: float, draw: torch.Generator) -> Tensor:
    kept = torch.ones(group.units, dtype=torch.bool)
    kept[torch.randperm(group.units, generator=draw)[: int(group.units * share)]] = False
    return kept


@pytest.mark.parametrize("uneven", [False, True], ids=["half", "uneven"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_compacted_network_is_the_masked_one(name, uneven) -> None:
    torch.manual_seed(0)
    model = ARCHITECTURES[name]()
    inputs, draw = inputs_of(model), torch.Generator().manual_seed(1)
    groups = groups_of(model, inputs)
    shares = [0.3 + 0.3 * float(torch.rand((), generator=draw)) if uneven else 0.5 for _ in groups]
    kept = {
        group.name: kept_of(group, share, draw)
        for group, share in zip(groups, shares, strict=True)
        if group.units > 1 and not group.pinned
    }
    masks = group_masks(groups, kept, dict(model.named_parameters()))

    compacted = compact_model(model, masks, groups, inputs, "living")

    assert compacted.proof is not None and compacted.proof.tolerance == 1e-9
    with torch.no_grad():  # seen apart from the proof, and in float32
        for parameter_name, mask in masks.items():
            model.get_parameter(parameter_name).mul_(mask)
        norms = living_indices(model, compacted.kept_indices, groups, kept)
        with living_norms(model.eval(), norms):
            masked, small = model(inputs), compacted.model.eval()(inputs)
    assert relative_error(small, masked) < 1e-4
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, compacted.model))
    assert before / after > (1.6 if uneven else 2.2)


class Positions(nn.Module):
    """Adds values of a table that has a dimension of one entry before a reshaping."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.table = nn.Parameter(torch.randn(1, 2, 3, 2))
        self.inner = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x) + self.inner(self.table).mean((0, 1, 2)))


def test_a_dimension_of_one_entry_does_not_become_another_one() -> None:
    groups = {group.name: group for group in groups_of(Positions(), torch.randn(2, 3))}
    assert groups["first"].units == 4 and not groups["first"].pinned
