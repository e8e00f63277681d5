"""Tests what scripts/benchmark compaction decides by itself."""

import torch
from benchmarks.compaction_program import checked, chosen
from torch import nn

from harness.groups.compact import compact_model
from harness.groups.find import groups_of
from harness.groups.group import group_masks


def test_a_wrong_smaller_network_is_seen_apart_from_the_proof() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    inputs = torch.randn(4, 5, dtype=torch.float64)
    groups = groups_of(model, inputs)
    kept = chosen(model, groups, lambda: 0.5)
    masks = group_masks(groups, kept, dict(model.named_parameters()))
    compacted = compact_model(model, masks, groups, inputs)
    assert compacted.model[0].out_features == 3
    assert checked(model, masks, compacted, groups, kept, inputs) < 1e-12
    compacted.model[2].bias.data[0] += 1e-6
    assert checked(model, masks, compacted, groups, kept, inputs) > 1e-9
