import pytest
import torch
from lockstep import cut, on_ranks
from probes import Net, check_close, data, inputs, smooth
from simulated import cross_entropy, squared, total
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call

from harness.saliency.base import CalibrationData
from harness.saliency.grasp import GraSP, mean_hessian_product
from harness.saliency.shared.gradient_statistics import mean_gradients
from harness.vocabulary.tensors import Batch, Loss, Tensors, prunable_weights


def explicit(model: nn.Module, batch: Batch, loss: Loss, temperature: float) -> Tensors:
    """Returns H g with the whole Hessian of the prunable weights in memory."""
    weights = prunable_weights(model)

    def mean_loss(flat: Tensor) -> Tensor:
        parts = flat.split([w.numel() for w in weights.values()])
        state = {n: p.view(w.shape) for (n, w), p in zip(weights.items(), parts, strict=True)}
        outputs = functional_call(model, state, (batch[0],))
        return loss(outputs / temperature, batch[1]) / len(batch[1])

    flat = torch.cat([w.flatten() for w in weights.values()])
    product = hessian(mean_loss, flat) @ jacobian(mean_loss, flat)
    parts = product.split([w.numel() for w in weights.values()])
    return {n: p.view(w.shape) for (n, w), p in zip(weights.items(), parts, strict=True)}


def test_grasp_of_a_line_by_hand() -> None:
    # One sample, loss (w1 x1 + w2 x2)^2 / 2 with w = (2, -1) and x = (1, 3): the output is -1, so
    # g = -1 (1, 3) and H = ((1, 3), (3, 9)); H g = -(10, 30), w x H g = (-20, 30).
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -1.0]]))
    batch = (torch.tensor([[1.0, 3.0]]), torch.zeros(1, dtype=torch.int64))

    method = GraSP(temperature=1.0)
    statistics = method.statistics(CalibrationData(model, [batch], squared))

    assert statistics["weight"].tolist() == [[-10.0, -30.0]]
    assert method.score(prunable_weights(model), statistics)["weight"].tolist() == [[-20.0, 30.0]]
    absolute = GraSP(temperature=1.0, absolute=True)
    assert absolute.score(prunable_weights(model), statistics)["weight"].tolist() == [[20.0, 30.0]]


@pytest.mark.parametrize("layer", ["0.weight", "2.weight"])
def test_on_its_way_to_0_a_weight_of_high_score_shrinks_the_gradients_norm(layer) -> None:
    # |g|^2 after a share t of the weight is gone: its slope at t = 0 is -2 w (H g).
    model, method, step = smooth(), GraSP(temperature=1.0), 1e-6
    weights = prunable_weights(model)
    scores = method.score(
        weights, method.statistics(CalibrationData(model, [data()], cross_entropy))
    )[layer]

    def norm(place: int, gone: float) -> float:
        before = weights[layer].clone()
        weights[layer].view(-1)[place] *= 1 - gone
        gradient = mean_gradients(CalibrationData(model, [data()], cross_entropy))
        weights[layer].copy_(before)
        return sum(float(g.square().sum()) for g in gradient.values())

    for place, score in enumerate(scores.flatten().tolist()):
        slope = (norm(place, step) - norm(place, -step)) / (2 * step)
        assert score == pytest.approx(-slope / 2, rel=1e-5, abs=1e-9)
    assert scores.min() < -1e-4 and scores.max() > 1e-4


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_product_is_that_of_the_explicit_hessian(temperature) -> None:
    model = smooth()
    method = GraSP(temperature=temperature)
    statistics = method.statistics(CalibrationData(model, cut(data(), 4, 2), cross_entropy))
    check_close(statistics, explicit(model, data(), cross_entropy, temperature))


def test_product_is_the_derivative_of_the_gradient_along_the_vector() -> None:
    model, batch, step = smooth(), data(), 1e-5
    stream = torch.Generator().manual_seed(2)
    vector = {
        name: torch.randn(w.shape, generator=stream, dtype=w.dtype)
        for name, w in prunable_weights(model).items()
    }

    def gradient(by: float) -> Tensors:
        moved = {
            n: (w + by * vector[n]).requires_grad_() for n, w in prunable_weights(model).items()
        }
        value = cross_entropy(functional_call(model, moved, (batch[0],)), batch[1]) / len(batch[1])
        return dict(zip(moved, torch.autograd.grad(value, list(moved.values())), strict=True))

    product = mean_hessian_product(CalibrationData(model, cut(batch, 1, 5), cross_entropy), vector)

    ahead, behind = gradient(step), gradient(-step)
    check_close(product, {n: (ahead[n] - behind[n]) / (2 * step) for n in product}, rtol=1e-7)


@pytest.mark.parametrize("sizes", [(6,), (3, 3), (4, 2, 0), (0, 6), (1, 1, 1, 1, 1, 1)])
def test_ranks_and_cuts_change_nothing(sizes) -> None:
    model = smooth()
    shares = [[part] if len(part[1]) else [] for part in cut(data(), *sizes)]
    for statistics in on_ranks(GraSP(), model, shares, cross_entropy):
        check_close(statistics, explicit(model, data(), cross_entropy, 200.0))


def test_a_loss_that_is_linear_in_the_weights_has_no_curvature() -> None:
    model = nn.Linear(1, 1, bias=False)
    statistics = GraSP().statistics(CalibrationData(model, [inputs(1.0, 2.0)], total))
    assert statistics["weight"].tolist() == [[0.0]]


def test_no_calibration_samples_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="no calibration samples"):
        GraSP().statistics(CalibrationData(smooth(), [], cross_entropy))


def test_a_product_that_overflows_is_refused_by_name() -> None:
    # Outputs (w x)^2 / 2 of x = 1e10: the gradient 1e20 is finite in float32, x^2 g = 1e40 not.
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    with pytest.raises(ValueError, match="Hessian-vector product of weight is not finite"):
        GraSP(temperature=1.0).statistics(CalibrationData(model, [inputs(1e10)], squared))


class Attention(nn.Module):
    def __init__(self, fused: bool):
        super().__init__()
        torch.manual_seed(0)
        self.fused = fused
        self.mix = nn.Linear(4, 3 * 4)
        self.out = nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.mix(tokens).chunk(3, dim=-1)
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(1, 2) / 2).softmax(-1) @ v
        return self.out(mixed.mean(1))


def test_attention_has_a_second_derivative_and_its_kernels_stay_chosen() -> None:
    tokens = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    batch = (tokens, torch.tensor([0, 1, 1]))
    flash = torch.backends.cuda.flash_sdp_enabled()

    fused = GraSP().statistics(
        CalibrationData(Attention(fused=True).double(), [batch], cross_entropy)
    )

    check_close(fused, explicit(Attention(fused=False).double(), batch, cross_entropy, 200.0))
    assert torch.backends.cuda.flash_sdp_enabled() == flash


def test_a_transformer_layer_is_scored() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=8, batch_first=True)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(20, 2)).double()
    tokens = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    statistics = GraSP().statistics(
        CalibrationData(model, [(tokens, torch.tensor([0, 1, 1]))], cross_entropy)
    )
    assert all(product.abs().max() > 0 for product in statistics.values())


def test_the_mode_of_batch_norm_decides_what_it_divides_by() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    train = GraSP(batch_norm="train").statistics(CalibrationData(model, [data()], cross_entropy))
    evaluated = GraSP().statistics(CalibrationData(model, [data()], cross_entropy))

    check_close(evaluated, explicit(model.eval(), data(), cross_entropy, 200.0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    check_close(train, explicit(model.train(), data(), cross_entropy, 200.0))


def test_every_kind_of_prunable_weight_is_scored_frozen_ones_too() -> None:
    model = Net()
    model.conv.weight.requires_grad_(False)
    batch = (torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(4))
    statistics = GraSP().statistics(CalibrationData(model, [batch], cross_entropy))
    assert list(statistics) == ["conv.weight", "fc.weight"]
    assert statistics["conv.weight"].abs().max() > 0


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), float("nan"), True, "hot"])
def test_a_temperature_that_is_no_positive_number_is_refused(temperature) -> None:
    with pytest.raises(ValueError, match="temperature must be a number above 0"):
        GraSP(temperature=temperature)


def test_other_bad_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="absolute must be true or false, got 'yes'"):
        GraSP(absolute="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_norm must be eval or train, got 'off'"):
        GraSP(batch_norm="off")
