"""Tests that operators that let no unit of their input go say why."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.groups.find import groups_of

SWAPPED = torch.tensor([1, 0, 2, 3])
FIRST = torch.zeros(1, 1, dtype=torch.long)


class Between(nn.Module):
    """Calls a function (2, 4) -> (2, 4) between two layers."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.head, self.between = nn.Linear(3, 4), nn.Linear(4, 2), between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.fc(x)))


class Picture(nn.Module):
    """Reads a stream as the columns of a picture too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.conv, self.head = nn.Linear(3, 4), nn.Conv2d(1, 2, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        return self.head(x).mean(1) + self.conv(x[:, None]).mean((2, 3))


def places(x: Tensor) -> Tensor:
    return x.long().clamp(0, 3)


def product_with_itself(x: Tensor) -> Tensor:
    return ((x[:, None] + 1) @ (x[:, :, None] + 1))[:, 0] * torch.ones(4)


def attended(x: Tensor) -> Tensor:
    x = x[:, None, :, None]
    return F.scaled_dot_product_attention(x, x, x)[:, 0, :, 0]


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda x: x.roll(1, 1), "it is a position"),
        (lambda x: x.roll(1), "it is a position"),
        (lambda x: x.index_select(1, SWAPPED), "it is a position"),
        (lambda x: x[:, 0, None] * torch.ones(4), "it is a position"),
        (lambda x: torch.stack(x.unbind(1), 1), "it is a position"),
        (lambda x: x.gather(1, SWAPPED.expand(2, 4)), "it is a position"),
        (lambda x: x.gather(0, torch.eye(4, dtype=torch.long)[:2]), "it is a position"),
        (lambda x: x.gather(0, FIRST.expand(2, 2)).repeat(1, 2), "it is a position"),
        (attended, "it is a position that attention weighs"),
        (lambda x: F.avg_pool1d(x, 3, 1, 1), "it is a position in a picture"),
        (lambda x: F.layer_norm(x.view(2, 2, 2), (2, 2)).flatten(1), "over several dimensions"),
        (lambda x: F.batch_norm(x[:, None], None, None, None, None, True)[:, 0], "batch norm"),
        (lambda x: x * x.prod(1, keepdim=True), "prod is taken over it"),
        (lambda x: x.cumsum(1), "cumsum is taken over it"),
        (lambda x: x * (x + 1).norm(dim=1, keepdim=True), "norm is taken over it"),
        (lambda x: x[:, :1].repeat(1, 4), "it is repeated for many units"),
        (lambda x: x[:, :1].expand(2, 4), "it is repeated for many units"),
        (lambda x: x[:, :1] + torch.zeros(4), "it is repeated for many units"),
        (lambda x: torch.cat([x[:, :2], torch.ones(2, 2)], 1), "it lies beside"),
        (lambda x: torch.cat([x, torch.ones(2, 4)])[:2], "it lies beside"),
        (lambda x: torch.stack([x, torch.ones(2, 4)])[0], "it lies beside"),
        (lambda x: torch.arange(4.0)[places(x)], "it is used as an index"),
        (lambda x: torch.ones(2, 4).gather(1, places(x)), "it is used as an index"),
        (lambda x: F.embedding(places(x), torch.ones(4, 1))[:, :, 0], "it is used as an index"),
        (lambda x: (x[:, :, None] * x[:, None]).flatten(1)[:, :4], "one of two kinds of units"),
        (product_with_itself, "nor is what it is multiplied with"),
    ],
)
def test_what_pins_a_unit_is_named(between, reason) -> None:
    groups = {group.name: group for group in groups_of(Between(between), torch.ones(2, 3))}
    assert reason in groups["fc"].pinned


def test_units_that_lie_along_a_picture_stay() -> None:
    groups = {group.name: group for group in groups_of(Picture(), torch.ones(2, 5, 3))}
    assert "it is a position in a picture" in groups["fc"].pinned
