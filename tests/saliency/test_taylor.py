"""Taylor of single weights and of units: squares of what each sample says."""

import pytest
import torch
from gates import BARE, IMAGES, kernel, line, samples, score
from simulated import cross_entropy
from torch import Tensor, nn
from units_by_hand import batch, filled

from harness.saliency.base import CalibrationData
from harness.saliency.taylor import Taylor
from harness.saliency.taylor_activation import TaylorActivation
from harness.saliency.taylor_unit import TaylorUnit
from harness.vocabulary.tensors import Loss, Tensors, local_mean, prunable_weights


def norm(scale: float, shift: float) -> nn.BatchNorm1d:
    """Returns a norm that is scale * x + shift in eval mode."""
    made = nn.BatchNorm1d(1, eps=0.0)
    nn.init.constant_(made.weight, scale)
    nn.init.constant_(made.bias, shift)
    return made


class Net(nn.Module):
    """Has strided and grouped convolutions, one behind a norm, and linear layers on tokens."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.fc1 = nn.Linear(4, 5)
        self.fc2 = nn.Linear(5, 3)
        self.inplace = inplace
        nn.init.uniform_(self.norm.weight, 0.5, 2.0)
        nn.init.normal_(self.norm.bias)
        nn.init.normal_(self.norm.running_mean)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        one = nn.functional.relu(self.norm(self.conv1(inputs)), self.inplace)
        two = self.conv2(one)
        two = two.add_(one) if self.inplace else two + one
        tokens = nn.functional.relu(two, self.inplace).flatten(2).transpose(1, 2)
        return self.fc2(nn.functional.relu(self.fc1(tokens), self.inplace)).mean(1)


def per_sample(model: nn.Module, names: list[str], loss: Loss = cross_entropy) -> list[Tensors]:
    """Returns the gradients of each sample's loss, by plain autograd."""
    model.eval()
    xs, ys = samples()
    parameters = [model.get_parameter(name) for name in names]
    return [
        dict(
            zip(names, torch.autograd.grad(loss(model(x[None]), y[None]), parameters), strict=True)
        )
        for x, y in zip(xs, ys, strict=True)
    ]


def test_taylor_is_the_squared_weight_times_the_mean_squared_gradient() -> None:
    # The gradients of z are x: (1 + 9 + 1) / 3, times 2^2 and (-1)^2.
    scores = score(Taylor(), line(), batch([[1.0], [3.0], [-1.0]]))["0.weight"]
    torch.testing.assert_close(scores, torch.tensor([[44 / 3], [11 / 3]]))


def test_taylor_squares_the_whole_gradient_of_a_shared_kernel() -> None:
    # Per sample the kernel's gradient is the sum of x over positions, 3 and -1: 2^2 (9 + 1) / 2.
    assert score(Taylor(), kernel(), IMAGES)["0.weight"].flatten().tolist() == [20.0]


def test_taylor_does_not_let_the_gradients_of_samples_cancel() -> None:
    assert score(Taylor(), line(), batch([[1.0], [-1.0]]))["0.weight"].tolist() == [[4.0], [1.0]]


def test_taylor_is_w_squared_times_the_empirical_fisher_diagonal() -> None:
    model = Net()
    statistics = Taylor().statistics(CalibrationData(model, [samples()], cross_entropy))
    gradients = per_sample(model, list(prunable_weights(model)))
    for name, weight in prunable_weights(model).items():
        fisher = torch.stack([g[name] ** 2 for g in gradients]).mean(0)
        torch.testing.assert_close(statistics[name], fisher)
        torch.testing.assert_close(
            Taylor().score({name: weight}, statistics)[name], weight**2 * fisher
        )


def test_taylor_unit_squares_the_gate_of_each_neuron_per_sample() -> None:
    # z = (3, -1) at x = 1 and (-3, 2) at x = -2; dL/dz = 1. Over both at once unit 0 would be 0.
    scores = score(TaylorUnit(), line(), batch([[1.0], [-2.0]]))
    assert scores["0.weight"].tolist() == [9.0, 2.5]


def test_taylor_unit_sums_positions_before_the_square() -> None:
    # (3 + 5)^2 and (1 - 1)^2, over two samples.
    assert score(TaylorUnit(), kernel(), IMAGES)["0.weight"].tolist() == [32.0]


def test_taylor_unit_gates_the_norm_that_goes_with_the_unit() -> None:
    model = nn.Sequential(filled(nn.Linear(1, 1, bias=False), [2.0]), norm(3.0, 1.0))
    # Behind the norm z = 6 x + 1 = 7; at the layer z dL/dz = 2 x * 3 = 6.
    units = {"0.weight": ("1.weight", "1.bias")}
    assert score(TaylorUnit(), model, batch([[1.0]]), units=units)["0.weight"].tolist() == [49.0]
    assert score(TaylorUnit(), model, batch([[1.0]]))["0.weight"].tolist() == [36.0]


@pytest.mark.parametrize("name", ["conv1", "conv2", "fc1", "fc2"])
def test_the_gate_of_a_plain_layer_is_the_sum_over_its_weights_and_bias(name) -> None:
    model = Net()
    weight, bias = f"{name}.weight", f"{name}.bias"
    changes = []
    for gradients in per_sample(model, [weight, bias]):
        by_weight = (model.get_parameter(weight) * gradients[weight]).flatten(1).sum(1)
        changes.append(by_weight + model.get_parameter(bias) * gradients[bias])
    expected = torch.stack(changes).square().mean(0).detach()

    statistics = TaylorUnit().statistics(CalibrationData(model, [samples()], cross_entropy))

    torch.testing.assert_close(statistics[weight], expected)


def test_the_gate_of_a_norm_is_the_sum_over_its_scale_and_shift() -> None:
    model = Net()
    names = ["norm.weight", "norm.bias"]
    changes = [
        sum(model.get_parameter(name) * gradients[name] for name in names)
        for gradients in per_sample(model, names)
    ]
    units = {"conv1.weight": ("conv1.bias", *names)}
    statistics = TaylorUnit().statistics(
        CalibrationData(model, [samples()], cross_entropy, local_mean, units)
    )
    torch.testing.assert_close(
        statistics["conv1.weight"], torch.stack(changes).square().mean(0).detach()
    )


def test_removing_a_unit_from_a_linear_model_changes_the_loss_by_its_gate() -> None:
    model, point = line(), torch.tensor([[3.0]])
    with torch.no_grad():
        before = float(model(point).sum())
        model[0].weight[0], model[0].bias[0] = 0.0, 0.0
        change = before - float(model(point).sum())
    assert score(TaylorUnit(), line(), batch([[3.0]]))["0.weight"][0] == change**2 == 49.0


@pytest.mark.parametrize("saliency", [TaylorUnit(), BARE])
def test_what_the_model_does_in_place_changes_no_gate(saliency) -> None:
    one, two = (
        saliency.statistics(
            CalibrationData(Net(inplace), [samples()], cross_entropy, local_mean, units)
        )
        for inplace in (False, True)
        for units in [{"conv1.weight": ("norm.weight", "norm.bias"), "conv2.weight": ()}]
    )
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("saliency", [TaylorUnit(), BARE])
def test_frozen_parameters_have_gates_too(saliency) -> None:
    frozen = Net().requires_grad_(False)
    one, two = (
        saliency.statistics(CalibrationData(m, [samples()], cross_entropy)) for m in (Net(), frozen)
    )
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert all(float(value.max()) > 0 for value in two.values())


def test_gates_are_there_although_the_caller_turned_gradients_off() -> None:
    with torch.no_grad():
        scores = score(TaylorUnit(), line(), batch([[1.0]]))
    assert scores["0.weight"].tolist() == [9.0, 1.0]
    assert not scores["0.weight"].requires_grad


def test_a_loss_that_no_unit_reaches_scores_0() -> None:
    def constant(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.detach().sum()

    statistics = TaylorUnit().statistics(CalibrationData(line(), [batch([[1.0]])], constant))
    assert statistics["0.weight"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("saliency", [Taylor(), TaylorUnit(), TaylorActivation()])
def test_gradients_that_overflow_are_refused_with_their_tensor(saliency) -> None:
    def overflowing(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.sum() * torch.inf

    with pytest.raises(ValueError, match=r"gradient of 0.weight is not finite"):
        saliency.statistics(CalibrationData(line(), [batch([[1.0]])], overflowing))


def test_squares_of_bfloat16_gradients_add_up_in_float32() -> None:
    # 1,000 gradients of 1: in bfloat16 the sum would stop growing at 256.
    model = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    data = [(torch.ones(1000, 1, dtype=torch.bfloat16), torch.zeros(1000))]
    found = Taylor().statistics(CalibrationData(model, data, lambda outputs, labels: outputs.sum()))
    assert found["weight"].dtype == torch.float32 and found["weight"].item() == 1.0
