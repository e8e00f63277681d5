"""Tests Wanda and SparseGPT with n of m against small implementations of their papers."""

import pytest
import torch
from conftest import cases
from simulated import total
from torch import Tensor, nn

import harness
from harness.saliency.base import CalibrationData
from harness.saliency.sparsegpt import SparseGpt
from harness.saliency.wanda import Wanda
from harness.structure.n_m import NM


def calibrated(layer: nn.Module, inputs: Tensor) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    return layer.double(), [(inputs.double(), torch.zeros(len(inputs), dtype=torch.int64))]


def linear() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    return calibrated(nn.Linear(20, 6, bias=False), torch.randn(50, 20) @ torch.randn(20, 20))


def convolution() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(1)
    return calibrated(nn.Conv2d(8, 4, (2, 3), groups=2, bias=False), torch.randn(9, 8, 5, 5))


def kernel_first(weight: Tensor) -> Tensor:
    """Returns (out, kh x kw x in): all channels of a position, then those of the next."""
    return weight.movedim(1, -1).flatten(1) if weight.dim() > 2 else weight


def patches(layer: nn.Module, inputs: Tensor, row: int) -> Tensor:
    """Returns the inputs of this output as rows, in the order of `kernel_first`."""
    if not isinstance(layer, nn.Conv2d):
        return inputs
    group, channels = row // (len(layer.weight) // layer.groups), layer.weight.shape[1]
    part = inputs[:, group * channels : (group + 1) * channels]
    cut = nn.functional.unfold(part, layer.kernel_size)  # (samples, channels x positions, places)
    unfolded = cut.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1, 2)
    return unfolded.transpose(1, 2).flatten(0, 1)


def wanda_row(weight: Tensor, inputs: Tensor, n: int, m: int) -> Tensor:
    """Returns the row with the n of each m that have the largest |w| x norm of their input."""
    sizes = weight.abs() * inputs.norm(dim=0)
    kept = torch.zeros_like(weight, dtype=torch.bool)
    for start in range(0, len(weight), m):
        kept[start + sizes[start : start + m].topk(n).indices] = True
    return weight * kept


def sparsegpt_row(weight: Tensor, hessian: Tensor, n: int, m: int) -> Tensor:
    """Goes column by column, with the inverse of what is left of H, as the paper derives it."""
    weight, columns = weight.clone(), len(weight)
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(columns).double()
    inverses = [damped[i:, i:].inverse() for i in range(columns)]
    for i in range(columns):
        if i % m == 0:
            scores = torch.stack([weight[j] ** 2 / inverses[j][0, 0] for j in range(i, i + m)])
            kept = i + scores.topk(n).indices
        if i not in kept:
            weight[i:] -= weight[i] / inverses[i][0, 0] * inverses[i][0]
            weight[i] = 0.0
    return weight


@cases("n, m", (2, 4), (1, 4), (3, 4), (1, 2))
@cases("made", linear, convolution)
def test_wanda_takes_the_best_of_each_group_of_an_output(made, n, m) -> None:
    layer, batches = made()
    weight = layer.weight.detach().clone()
    rows = [
        wanda_row(row, patches(layer, batches[0][0], number), n, m)
        for number, row in enumerate(kernel_first(weight))
    ]
    harness.prune(layer, saliency=Wanda(), structure=NM(n, m), batches=batches)
    assert torch.equal(kernel_first(layer.weight.detach()), torch.stack(rows))


@cases("n, m", (2, 4), (1, 4), (3, 4), (1, 2))
@cases("block", 1, 6, 8, 128)
@cases("made", linear, convolution)
def test_sparsegpt_chooses_a_group_when_it_reaches_it(made, block, n, m) -> None:
    layer, batches = made()
    weight, inputs = layer.weight.detach().clone(), batches[0][0]
    rows = []
    for number, row in enumerate(kernel_first(weight)):
        seen = patches(layer, inputs, number)
        rows.append(sparsegpt_row(row, 2 / len(inputs) * seen.T @ seen, n, m))
    saliency = SparseGpt(block=block)
    masks = harness.prune(layer, saliency=saliency, structure=NM(n, m), batches=batches)
    found, expected = kernel_first(layer.weight.detach()), torch.stack(rows)
    assert torch.equal(kernel_first(masks["weight"]), expected != 0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_later_groups_see_the_weights_that_earlier_ones_have_moved() -> None:
    layer, batches = linear()
    moving, still = (
        SparseGpt(update_weights=update).solve_n_of_m(
            NM(2, 4).n_of_m, {"weight": layer.weight.detach()}, {"weight": 60},
            SparseGpt().statistics(CalibrationData(layer, batches, total)),
        )[0]["weight"]
        for update in (True, False)
    )  # fmt: skip
    assert torch.equal(moving[:, :4], still[:, :4]) and not torch.equal(moving, still)


def test_sparsegpt_of_fewer_weights_alive_keeps_what_there_is() -> None:
    layer, batches = linear()
    masks = {"weight": torch.ones(6, 20, dtype=torch.bool)}
    masks["weight"][:, 1:4] = False
    call = {"saliency": SparseGpt(), "structure": NM(2, 4), "batches": batches}
    kept = harness.prune(layer, masks=masks, **call)["weight"].view(6, 5, 4).sum(2)
    assert kept[:, 0].tolist() == [1] * 6 and bool((kept[:, 1:] == 2).all())


@pytest.mark.parametrize("saliency", ["obs", "woodfisher", "sparsegpt"])
def test_kept_weights_move_and_the_pattern_stays(saliency) -> None:
    torch.manual_seed(0)
    layer, before = nn.Linear(8, 4), None
    before = layer.weight.detach().clone()
    data = [(torch.randn(32, 8), torch.arange(32) % 4)]
    mask = harness.prune(layer, saliency=saliency, structure="n_m", batches=data)["weight"]
    assert torch.equal(layer.weight != 0, mask) and mask.view(4, 2, 4).sum(2).unique().tolist() == [
        2
    ]
    assert not torch.equal(layer.weight[mask], before[mask])
