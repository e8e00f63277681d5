"""Checks what is known to be 0 where a unit is removed, and the norms that ask for it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.groups.find import groups_of
from harness.groups.operators.elementwise import CREATING
from harness.groups.operators.rules import RULES
from harness.groups.operators.zeros import KINDS

SOFTMAX = {"_log_softmax", "_safe_softmax", "_softmax"}  # of a 0 it makes another value


def test_every_operator_with_a_rule_says_where_it_is_zero() -> None:
    assert set(RULES) - set(KINDS) == {*CREATING, *SOFTMAX}


class Joined(nn.Module):
    def __init__(self, join, behind) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(3, 4), nn.Linear(3, 4), nn.LazyLinear(2)
        self.join, self.behind = join, behind

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.behind(self.join([self.one(x), self.two(x)])))


def beside(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts, 1)


def interleaved(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts, 2).flatten(1)


@pytest.mark.parametrize("join", [beside, interleaved])
@pytest.mark.parametrize("behind", [nn.RMSNorm(8), F.normalize])
def test_units_that_are_laid_side_by_side_are_still_0_where_removed(join, behind) -> None:
    model = Joined(join, behind)
    sample = torch.randn(2, 3)
    model(sample)
    free = {group.name for group in groups_of(model, sample) if not group.pinned}
    assert "one" in free and (join is interleaved or "two" in free)
