"""HRank: ranks of maps that can be seen, behind the ReLU."""

import pytest
import torch
from torch import nn
from units_by_hand import filled, measured

from harness.saliency.hrank import HRank


def rank(image: object, layer: type[nn.Module] = nn.Conv2d) -> float:
    return measured(HRank(), filled(layer(1, 1, 1, bias=False), [1.0]), image)[0]


def test_ranks_by_hand() -> None:
    assert rank([[[[1.0, 0.0], [0.0, 1.0]]]]) == 2
    assert rank([[[[1.0, 1.0], [1.0, 1.0]]]]) == 1
    assert rank([[[[1.0, 1.0], [1.0, 1.0]]], [[[1.0, 0.0], [0.0, 1.0]]]]) == 1.5
    assert rank([[[[0.0, -1.0], [-2.0, 0.0]]]]) == 0
    # A small singular value is one.
    assert rank([[[[1.0, 0.0], [0.0, 1e-5]]]]) == 2
    # Of rank 1 before the ReLU, of rank 2 behind it.
    assert rank([[[[1.0, -1.0], [-1.0, 1.0]]]]) == 2


def test_a_vector_has_rank_1_or_0() -> None:
    assert rank([[[1.0, 2.0, 3.0]], [[-1.0, -2.0, -3.0]]], nn.Conv1d) == 0.5
    tokens = torch.tensor([[[1.0], [2.0]], [[-1.0], [0.0]]])
    assert measured(HRank(), filled(nn.Linear(1, 1, bias=False), [1.0]), tokens) == [0.5]


def test_the_depth_of_a_volume_makes_rows() -> None:
    # Slices (1, 0) and (0, 1), each 1 x 2, stand above each other.
    assert rank([[[[[1.0, 0.0]], [[0.0, 1.0]]]]], nn.Conv3d) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_of_the_map_makes_no_rank(dtype) -> None:
    stream = torch.Generator().manual_seed(0)
    for _ in range(20):
        column, row = torch.rand(2, 24, generator=stream, dtype=dtype)
        image = torch.outer(column, row).view(1, 1, 24, 24)
        layer = filled(nn.Conv2d(1, 1, 1, bias=False), [0.7]).to(dtype)
        assert measured(HRank(), layer, image) == [1.0]
