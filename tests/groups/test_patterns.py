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


class SelectiveKernel(nn.Module):
    """Weighs two paths, channel by channel, by a softmax over the paths, as SKNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.select, self.head = nn.Conv2d(8, 16, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.stack([self.one(x), self.two(x)], 1)
        weights = self.select(x.sum(1).mean((2, 3), keepdim=True))
        x = x * weights.view(len(x), 2, -1, 1, 1).softmax(1)
        return self.head(x.sum(1).mean((2, 3)))


def test_a_softmax_over_paths_leaves_the_channels_of_all_paths_a_group() -> None:
    groups, small = compacted(SelectiveKernel(), torch.randn(2, 3, 5, 5))
    members = {(m.name, m.dim): m.indices[1].tolist() for m in groups["one"].members}
    assert members["select.weight", 0] == [1, 9] and members["two.weight", 0] == [1]
    assert small.select.out_channels == 8


class ClassToken(nn.Module):
    """Sends a token alone through a linear layer, which flattens the dimension of size 1."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.stem = nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(3, 8)
        self.inner, self.head = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        token = self.token.expand(len(x), -1, -1)
        token = token + self.inner(torch.cat([token, self.stem(x)], 1))[:, :1]
        return self.head(token + self.inner(token))[:, 0]


def test_a_dimension_of_size_one_does_not_take_the_place_of_the_width() -> None:
    groups, small = compacted(ClassToken(), torch.randn(2, 5, 3))
    assert [g.name for g in groups.values() if not g.pinned] == ["stem"]
    assert small.token.shape == (1, 1, 4)


class Gathered(nn.Module):
    """Adds to the scores of attention, per head, those of relative positions, as DeBERTa does."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(3, 8)
        self.relative, self.head, self.num_heads = nn.Linear(8, 8), nn.Linear(8, 2), 4
        self.register_buffer("table", torch.randn(9, 8))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.heads(layer(x)) for layer in (self.q, self.k, self.v))
        places = torch.arange(5)[:, None] - torch.arange(5) + 4
        near = q @ self.heads(self.relative(self.table)).mT
        near = near.gather(2, places.expand(len(q), -1, -1))
        x = (q @ k.mT + near).softmax(-1) @ v
        return self.head(x.view(-1, self.num_heads, 5, 2).transpose(1, 2).flatten(2))

    def heads(self, x: Tensor) -> Tensor:
        """Returns (samples x heads, positions, width); a table is the same for all samples."""
        x = x.view(-1, x.shape[-2], self.num_heads, 2).transpose(1, 2).flatten(0, 1)
        return x if x.shape[0] > self.num_heads else x.repeat(2, 1, 1)


def test_what_is_gathered_by_position_leaves_heads_a_group() -> None:
    groups = {g.name: g for g in groups_of(Gathered(), torch.randn(2, 5, 3))}
    assert groups["q"].units == 4 and not groups["q"].pinned
    assert {m.name for m in groups["q"].members} >= {"relative.weight", "v.weight", "head.weight"}
