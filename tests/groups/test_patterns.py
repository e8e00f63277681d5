"""Groups of what published networks are made of: token mixing and others, as small modules."""

from typing import Any

import torch
from torch import Tensor, nn

from harness.groups.compact import compact_model
from harness.groups.find import groups_of
from harness.groups.group import Group, group_masks


def compacted(model: nn.Module, inputs: Tensor) -> tuple[dict[str, Group], Any]:
    """Returns the groups, and the model without half of the units of the free ones, proven."""
    groups = groups_of(model, inputs)
    kept = {g.name: torch.arange(g.units) % 2 == 0 for g in groups if not g.pinned}
    masks = group_masks(groups, kept, dict(model.named_parameters()))
    small = compact_model(model, masks, groups, inputs, norms="living").model
    return {group.name: group for group in groups}, small


class TokenMixing(nn.Module):
    """Mixes positions by a linear layer over them, as MLP-Mixer and ResMLP do."""

    def __init__(self, norm: nn.Module, residual: bool) -> None:
        super().__init__()
        self.stem, self.norm, self.residual = nn.Linear(3, 8), norm, residual
        self.tokens, self.head = nn.Linear(5, 5), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        mixed = self.tokens(x.mT.contiguous()).mT
        x = x + mixed if self.residual else mixed
        return self.head(self.norm(x).mean(1))


def test_the_width_of_a_network_that_mixes_tokens_is_a_group() -> None:
    groups, small = compacted(TokenMixing(nn.LayerNorm(8), True), torch.randn(2, 5, 3))
    assert not groups["stem"].pinned and small.stem.out_features == 4
    assert "fixed size" in groups["tokens"].pinned


def test_a_bias_over_tokens_leaves_nothing_zero_that_an_rms_norm_could_skip() -> None:
    groups, _ = compacted(TokenMixing(nn.RMSNorm(8), False), torch.randn(2, 5, 3))
    assert "not 0 where it is removed" in groups["stem"].pinned
