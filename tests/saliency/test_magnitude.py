import pytest
import torch

from harness.groups.units import pooled
from harness.saliency.magnitude import Magnitude

WEIGHTS = {"layer.weight": torch.tensor([[1.0, -2.0, 2.0], [3.0, 0.0, -1.0]])}


def test_l2_squares_and_l1_does_not() -> None:
    l1, l2 = (Magnitude(norm).score(WEIGHTS, {})["layer.weight"] for norm in ("l1", "l2"))
    assert l1.tolist() == [[1.0, 2.0, 2.0], [3.0, 0.0, 1.0]]
    assert l2.tolist() == [[1.0, 4.0, 4.0], [9.0, 0.0, 1.0]]


def test_pooled_by_sum_the_norms_rank_units_differently() -> None:
    # Rows of L1 norm 5 and 4, of squared L2 norm 9 and 10.
    l1, l2 = (Magnitude(norm).score(WEIGHTS, {})["layer.weight"] for norm in ("l1", "l2"))
    assert pooled(l1, (1,), "sum").tolist() == [5.0, 4.0]
    assert pooled(l2, (1,), "sum").tolist() == [9.0, 10.0]


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="norm must be l1 or l2, got 'l3'"):
        Magnitude("l3")
