import pytest
import torch
from simulated import Small, cross_entropy, linear, over_ranks, rows, small_batches, squared, total
from torch import Tensor, nn

from harness.saliency.base import CalibrationData
from harness.saliency.hutchinson import Hutchinson
from harness.vocabulary.tensors import Tensors, prunable_weights

WEIGHTS = {"w": torch.tensor([2.0, 2.0, 1.0])}
DIAGONAL = {"w": torch.tensor([-1.0, 0.5, 4.0])}


def scores(negative: str) -> list[float]:
    return Hutchinson(0, negative=negative).score(WEIGHTS, DIAGONAL)["w"].tolist()


def test_a_diagonal_hessian_is_exact_with_a_single_probe() -> None:
    model = linear((3.0, -1.0))
    # Loss (w x)^2 / 2 of each sample: H = mean of x x^T = diag(2^2 / 2, 4^2 / 2).
    batches = [rows((2.0, 0.0)), rows((0.0, 4.0))]
    saliency = Hutchinson(seed=0, probes=1)
    statistics = saliency.statistics(CalibrationData(model, batches, squared))
    assert statistics["weight"].tolist() == [[2.0, 8.0]]
    # 9 * 2 / 2 and 1 * 8 / 2.
    assert saliency.score(prunable_weights(model), statistics)["weight"].tolist() == [[9.0, 4.0]]


def test_one_probe_mixes_in_a_row_of_the_hessian_with_signs() -> None:
    # H = [[1, 2], [2, 4]]: v1 (H v)1 = 1 +- 2 and v2 (H v)2 = 4 +- 2, with the same sign.
    found = set()
    for seed in range(20):
        statistics = Hutchinson(seed, probes=1).statistics(
            CalibrationData(linear((1.0, 1.0)), [rows((1.0, 2.0))], squared)
        )
        found.add(tuple(statistics["weight"].flatten().tolist()))
    assert found == {(3.0, 6.0), (-1.0, 2.0)}


class Curved(nn.Module):
    """Two layers, so that H has entries between them; a second derivative everywhere."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.one = nn.Linear(3, 4)
        self.two = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.two(self.one(inputs).tanh())


def hessian(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensors]:
    """Computes the whole Hessian of the mean loss by autograd, and its diagonal by weight."""
    weights = prunable_weights(model)
    sizes = [weight.numel() for weight in weights.values()]

    def value(flat: Tensor) -> Tensor:
        cut = zip(weights, flat.split(sizes), strict=True)
        replaced = {name: part.view(weights[name].shape) for name, part in cut}
        outputs = torch.func.functional_call(model, replaced, (inputs,))
        return cross_entropy(outputs, labels) / len(labels)

    flat = torch.cat([weight.flatten() for weight in weights.values()])
    whole = torch.autograd.functional.hessian(value, flat)
    parts = whole.diagonal().split(sizes)
    return whole, dict(zip(weights, parts, strict=True))


def test_the_mean_over_probes_comes_near_the_diagonal_of_the_hessian() -> None:
    model = Curved().double()
    inputs, labels = torch.randn(6, 3).double(), torch.arange(6) % 2
    whole, diagonal = hessian(model, inputs, labels)
    probes = 400
    batches = [(inputs[:4], labels[:4]), (inputs[4:], labels[4:])]
    statistics = Hutchinson(0, probes).statistics(CalibrationData(model, batches, cross_entropy))
    # The variance of v_i (H v)_i is the sum of the squares of H_ij, j != i.
    off = whole.square().sum(dim=1) - whole.diagonal().square()
    error = torch.cat([statistics[n].flatten() - diagonal[n] for n in diagonal])
    assert (error.abs() <= 4 * (off / probes).sqrt()).all()
    # And not nearer than chance allows: the signs are really drawn.
    assert (error.square().mean() / (off / probes).mean()).sqrt() > 0.5


def test_the_diagonal_is_the_same_on_any_number_of_ranks() -> None:
    model, saliency = Small(), Hutchinson(seed=3, probes=5)
    whole = saliency.statistics(CalibrationData(model, small_batches(), cross_entropy))
    parts = over_ranks(
        lambda batches, mean: saliency.statistics(
            CalibrationData(model, batches, cross_entropy, mean)
        ),
        small_batches()[:1],
        [],
        small_batches()[1:],
    )
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6)


def test_signed_scores_may_be_negative() -> None:
    assert scores("signed") == [-2.0, 1.0, 2.0]


def test_absolute_scores_are_how_much_the_loss_is_bent() -> None:
    assert scores("absolute") == [2.0, 1.0, 2.0]


def test_subtracting_the_minimum_makes_the_smallest_score_of_a_tensor_0() -> None:
    assert scores("subtract_min") == [0.0, 3.0, 4.0]


def test_a_loss_that_is_linear_in_the_weights_has_no_curvature() -> None:
    statistics = Hutchinson(0).statistics(
        CalibrationData(linear((1.0, 2.0)), [rows((3.0, 4.0))], total)
    )
    assert statistics["weight"].tolist() == [[0.0, 0.0]]


def test_attention_has_a_second_derivative() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one = nn.Linear(4, 12)

        def forward(self, inputs: Tensor) -> Tensor:
            query, key, value = self.one(inputs).unsqueeze(1).chunk(3, dim=-1)
            found: Tensor = nn.functional.scaled_dot_product_attention(query, key, value)
            return found.flatten(1)

    batch = (torch.randn(2, 3, 4), torch.zeros(2))
    statistics = Hutchinson(0, probes=2).statistics(CalibrationData(Attention(), [batch], squared))
    assert statistics["one.weight"].count_nonzero() == 48


def test_the_seed_decides_the_probes() -> None:
    model = Small()
    one, again, other = (
        Hutchinson(seed, 1).statistics(CalibrationData(model, small_batches(), cross_entropy))
        for seed in (0, 0, 1)
    )
    assert torch.equal(one["fc1.weight"], again["fc1.weight"])
    assert not torch.equal(one["fc1.weight"], other["fc1.weight"])


@pytest.mark.parametrize("probes", [0, -1, 1.5, True])
def test_a_number_of_probes_below_1_is_refused(probes) -> None:
    with pytest.raises(ValueError, match=r"probes must be a whole number in \[1, 1000000\], got"):
        Hutchinson(0, probes)


def test_an_unknown_treatment_of_negative_curvature_is_refused() -> None:
    with pytest.raises(ValueError, match="negative must be one of signed, absolute, subtract_min"):
        Hutchinson(0, negative="clip")


def test_too_much_memory_is_refused_before_the_forward() -> None:
    # 50 weights: their sums and three more of each, or sums, copies and means; 8 bytes each.
    model = nn.Linear(5, 10, bias=False)
    Hutchinson(seed=0, memory_limit_gb=1.7e-6).check(model, {})
    with pytest.raises(ValueError, match="saliency hutchinson needs 1.6e-06 GB .* saliency=fisher"):
        Hutchinson(seed=0, memory_limit_gb=1.5e-6).statistics(CalibrationData(model))
    with pytest.raises(
        ValueError, match="memory_limit_gb must be a number above 0 or inf, got nan"
    ):
        Hutchinson(seed=0, memory_limit_gb=float("nan"))
