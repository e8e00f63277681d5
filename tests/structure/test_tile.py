"""Tests tiles: height x width neighbours of a weight that is seen as a matrix."""

import pytest
import torch
from command import TINY, only_run, records_of, run_folders, run_main
from torch import nn

import harness
from harness.structure.tile import Tile

# 4 x 4, in tiles of 2 x 2: 0 1 4 5 | 2 3 6 7 | 8 ...
SCORES = torch.arange(16.0).view(4, 4)


@pytest.mark.parametrize(
    ("pool_by", "pooled"),
    [("mean", [[2.5, 4.5], [10.5, 12.5]]), ("sum", [[10.0, 18.0], [42.0, 50.0]])],
)
def test_a_tile_is_pooled_over_its_rows_and_columns(pool_by, pooled) -> None:
    assert Tile(2, 2, pool_by).pool(SCORES).tolist() == pooled


def test_tiles_of_any_two_sides_by_hand() -> None:
    assert Tile(1, 4).pool(SCORES).tolist() == [[1.5], [5.5], [9.5], [13.5]]
    assert Tile(2, 1, "l2").pool(torch.tensor([[3.0], [4.0]])).tolist() == [[5.0]]
    mask = Tile(2, 1).expand(torch.tensor([[True, False], [False, True]]), (4, 2))
    assert mask.int().tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


def test_a_convolution_is_a_matrix_of_its_outputs_and_all_else() -> None:
    weight = torch.arange(2 * 2 * 1 * 3.0).view(2, 2, 1, 3)
    # Row 0 is 0 1 2 | 3 4 5, row 1 is 6 7 8 | 9 10 11: a tile of 2 x 2 goes over channels.
    assert Tile(2, 2, "sum").pool(weight).tolist() == [[14.0, 22.0, 30.0]]
    mask = Tile(2, 2).expand(torch.tensor([[False, True, False]]), (2, 2, 1, 3))
    assert mask.flatten(1).int().tolist() == [[0, 0, 1, 1, 0, 0]] * 2


@pytest.mark.parametrize(("height", "width"), [(1, 8), (2, 4), (8, 1), (4, 4)])
def test_the_best_tiles_stay_whole(height, width) -> None:
    torch.manual_seed(0)
    model = nn.Linear(16, 8)
    weight = model.weight.detach().clone()
    (mask,) = harness.prune(model, 0.25, structure=Tile(height, width)).values()
    means = [
        (float(weight[i : i + height, j : j + width].abs().mean()), i, j)
        for i in range(0, 8, height)
        for j in range(0, 16, width)
    ]
    expected = torch.zeros(8, 16, dtype=torch.bool)
    for _, i, j in sorted(means)[-len(means) // 4 :]:
        expected[i : i + height, j : j + width] = True
    assert torch.equal(mask, expected) and torch.equal(model.weight != 0, mask)


def test_what_does_not_divide_is_refused_with_every_layer_to_exclude() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(4, 3))
    message = (
        r"^structure.width=4 does not divide the 6 columns of 0; choose a divisor, or leave "
        r"layers whole with exclude=\[0,2\]$"
    )
    with pytest.raises(ValueError, match=message):
        harness.prune(model, 0.5, structure=Tile(2, 4))
    masks = harness.prune(model, 0.5, structure=Tile(2, 4), exclude=["0", "2"])
    assert list(masks) == ["1.weight"] and int(masks["1.weight"].sum()) == 16


@pytest.mark.parametrize("field", ["height", "width"])
def test_sizes_are_whole_numbers(field) -> None:
    with pytest.raises(ValueError, match=f"{field} must be a whole number >= 1, got 0"):
        Tile(**{field: 0})


def test_a_run_keeps_tiles_and_counts_their_weights(tmp_path, monkeypatch, capfd) -> None:
    run = (*TINY, "training.epochs=1", "structure=tile", f"output_dir={tmp_path}")
    half = ("schedule.final=0.5", "allocation=uniform")
    assert run_main(monkeypatch, *run, *half, "structure.height=3") == 2
    assert "structure.height=3 does not divide the 32 rows of fc1" in capfd.readouterr().err
    assert run_folders(tmp_path) == []
    assert run_main(monkeypatch, *run, *half) == 0
    dense, pruned, last = records_of(only_run(tmp_path))
    assert (dense.density, pruned.density, last.density) == (1.0, 0.5, 0.5)
    assert dense.parameters - last.parameters == 32 * (8 + 32 + 4) // 2
    assert last.density_of.startswith("tiles by their parameters")
