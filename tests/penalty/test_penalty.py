import math
from typing import Any

import pytest
import torch
from conftest import every
from torch import Tensor, nn

from harness.groups.units import Units
from harness.models.mlp import Mlp
from harness.penalty.bn_l1 import BnL1
from harness.penalty.growing_l2 import GrowingL2
from harness.penalty.l1 import L1
from harness.structure.neuron import Neuron

KINDS = [L1, BnL1, GrowingL2]


def line(*weights: float, bias: float = 0.0) -> nn.Linear:
    """Returns a layer of one output, in float64, whose gradients are 0."""
    layer = nn.Linear(len(weights), 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
        layer.bias.fill_(bias)
    return zero_gradients(layer)


def zero_gradients(model: Any) -> Any:
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return model


def gradients(model: nn.Module) -> dict[str, list[Any]]:
    return {n: p.grad.tolist() for n, p in model.named_parameters() if p.grad is not None}


def everything(model: nn.Module) -> dict[str, Tensor]:
    """Returns pending masks that mark every element of every parameter."""
    return {n: torch.ones_like(p, dtype=torch.bool) for n, p in model.named_parameters()}


def units_of(model: nn.Module) -> Units:
    """Returns the hidden neurons of a model of two inputs."""
    return Neuron().units(model, torch.zeros(2, 2).to(next(model.parameters())))


def test_l1_adds_the_sign_of_each_weight_and_spares_biases() -> None:
    model = line(2.0, -0.5, 0.0, bias=3.0)
    model.weight.grad.fill_(1.0)

    L1(strength=0.25).make_gradient_hook(model, {}, {})(0)

    # 1 + 0.25 x (1, -1, 0)
    assert gradients(model) == {"weight": [[1.25, 0.75, 1.0]], "bias": [0.0]}


def test_l1_reaches_every_prunable_weight_and_no_norm() -> None:
    model = zero_gradients(Mlp(hidden=[3], batch_norm=True).build((2,), 2))
    L1(strength=0.5).make_gradient_hook(model, {}, {})(0)

    touched = {name for name, grad in gradients(model).items() if torch.tensor(grad).any()}
    assert touched == {"fc1.weight", "fc2.weight"}
    for name in touched:
        weight = model.get_parameter(name)
        assert torch.equal(weight.grad, 0.5 * weight.detach().sign())


def test_one_step_of_sgd_with_l1_by_hand() -> None:
    # Output w1 x1 + w2 x2, loss its square / 2, x = (1, 1), w = (2, -1): output 1, gradient (1, 1).
    # With 0.5 sign(w): (1.5, 0.5); w - 0.1 g = (1.85, -1.05).
    model = line(2.0, -1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    add = L1(strength=0.5).make_gradient_hook(model, {}, {})

    (model(torch.ones(1, 2, dtype=torch.float64)).square().sum() / 2).backward()
    add(0)
    optimizer.step()

    assert model.weight.tolist() == [[pytest.approx(1.85), pytest.approx(-1.05)]]


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("penalty", [L1(strength=0.5), GrowingL2(step_size=0.5, interval=1)])
def test_pruned_weights_stay_exactly_0(penalty, make) -> None:
    model = line(0.0, 0.5, -0.0)
    optimizer, add = (
        make(model.parameters(), lr=0.3),
        penalty.make_gradient_hook(model, {}, everything(model)),
    )
    for step in range(5):
        zero_gradients(model)
        add(step)
        optimizer.step()

    assert model.weight[0, [0, 2]].tolist() == [0.0, 0.0]
    assert model.weight[0, 1] != 0.5


def test_bn_l1_adds_the_sign_of_each_scale_and_touches_nothing_else() -> None:
    model = zero_gradients(nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.LayerNorm(3)))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.5, -2.0, 0.0]))
        model[1].bias.fill_(1.0)

    BnL1(strength=0.25).make_gradient_hook(model, {}, {})(0)

    found = gradients(model)
    assert found.pop("1.weight") == [0.25, -0.25, 0.0]
    assert not any(torch.tensor(grad).any() for grad in found.values())


def test_a_scale_that_stands_in_two_norms_is_penalised_once() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1), nn.BatchNorm1d(1))
    model[1].weight = model[0].weight
    zero_gradients(model)

    BnL1(strength=0.25).make_gradient_hook(model, {}, {})(0)

    assert model[0].weight.grad.tolist() == [0.25]


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3, affine=False), nn.LayerNorm(3)])
def test_bn_l1_refuses_a_model_without_scales_by_name(norm) -> None:
    says = r"bn_l1 needs a BatchNorm with a scale \(affine\), but Sequential has none; .*penalty=l1"
    with pytest.raises(ValueError, match=says):
        BnL1().check(nn.Sequential(nn.Linear(3, 3), norm), {})


def test_bn_l1_takes_a_model_where_only_some_norms_have_scales() -> None:
    BnL1().check(nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(3)), {})


@pytest.mark.parametrize("penalty", [L1(), GrowingL2()])
def test_a_model_without_prunable_layers_is_refused(penalty) -> None:
    with pytest.raises(ValueError, match="Sequential has no Conv or Linear layer to prune"):
        penalty.check(nn.Sequential(nn.BatchNorm1d(3)), {})


def test_growing_l2_adds_strength_times_weight_where_it_goes() -> None:
    model = line(2.0, -4.0, 8.0, bias=6.0)
    model.weight.grad.fill_(1.0)
    going = {"weight": torch.tensor([[True, False, True]]), "bias": torch.tensor([True])}

    GrowingL2(step_size=0.25, interval=1, max_strength=1.0).make_gradient_hook(model, {}, going)(1)

    # At step 1 the strength is 0.5: 1 + 0.5 x (2, -, 8) and 0.5 x 6.
    assert gradients(model) == {"weight": [[2.0, 1.0, 5.0]], "bias": [3.0]}


def test_two_steps_of_sgd_with_growing_l2_by_hand() -> None:
    # w = 8, lr 0.5: 8 - 0.5 x 0.5 x 8 = 6; then at strength 1: 6 - 0.5 x 1 x 6 = 3.
    model = line(8.0, 8.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    going = {"weight": torch.tensor([[True, False]])}
    add = GrowingL2(step_size=0.5, interval=1).make_gradient_hook(model, {}, going)
    for step in range(2):
        zero_gradients(model)
        add(step)
        optimizer.step()

    assert model.weight.tolist() == [[3.0, 8.0]]


def test_the_strength_is_a_step_at_first_grows_every_so_many_steps_and_stops_at_the_ceiling():
    growing = GrowingL2(step_size=0.25, interval=3, max_strength=0.6)
    found = [growing.strength(step) for step in range(8)]
    assert found == [0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.6, 0.6]


def test_growing_l2_reaches_its_ceiling_after_100000_steps_by_default() -> None:
    assert GrowingL2().strength(99_980) < 1.0
    assert GrowingL2().strength(99_990) == GrowingL2().strength(10**6) == 1.0


@pytest.mark.parametrize("going", [{}, {"weight": torch.tensor([[False, False]])}])
def test_growing_l2_adds_nothing_where_nothing_goes(going) -> None:
    model = line(1.0, 2.0)
    GrowingL2(step_size=1.0).make_gradient_hook(model, {}, going)(0)
    assert gradients(model) == {"weight": [[0.0, 0.0]], "bias": [0.0]}


def test_only_growing_l2_needs_to_know_what_goes() -> None:
    assert [kind.needs_pending_masks for kind in KINDS] == [False, False, True]


@every("penalty")
def test_a_penalty_changes_gradients_alone_and_leaves_parameters_without_one_alone(penalty) -> None:
    torch.manual_seed(0)
    model = zero_gradients(Mlp(hidden=[3], batch_norm=True).build((2,), 2))
    frozen = [name for name, _ in model.named_parameters() if name.startswith(("fc1", "bn1.bias"))]
    for name in frozen:
        model.get_parameter(name).grad = None
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    penalty.check(model, units_of(model))

    add = penalty.make_gradient_hook(
        model, units_of(model), everything(model) if penalty.needs_pending_masks else {}
    )
    add(0)

    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not set(frozen) & set(gradients(model))
    assert any(torch.tensor(grad).any() for grad in gradients(model).values())


@every("penalty")
def test_a_penalty_pulls_towards_0_and_a_model_without_gradients_passes(penalty) -> None:
    torch.manual_seed(0)
    model = Mlp(hidden=[3], batch_norm=True).build((2,), 2).double()
    add = penalty.make_gradient_hook(
        model, units_of(model), everything(model) if penalty.needs_pending_masks else {}
    )
    add(0)
    assert gradients(model) == {}

    zero_gradients(model)
    add(0)
    for parameter in model.parameters():
        assert parameter.grad.dtype == torch.float64
        assert not parameter.grad.requires_grad
        assert (parameter.grad * parameter >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "1"])
def test_epochs_must_be_a_whole_number(kind, epochs) -> None:
    with pytest.raises(ValueError, match=r"epochs must be a whole number in \[1, 1000000\], got"):
        kind(epochs=epochs)


@pytest.mark.parametrize(
    ("kind", "key"),
    [(L1, "strength"), (BnL1, "strength"), (GrowingL2, "step_size"), (GrowingL2, "max_strength")],
)
@pytest.mark.parametrize("value", [0, -1e-4, math.nan, math.inf, True, "1"])
def test_strengths_must_be_finite_and_above_0(kind, key, value) -> None:
    with pytest.raises(ValueError, match=f"{key} must be a number above 0, got"):
        kind(**{key: value})


@pytest.mark.parametrize("value", [0, -1, 2.0, True])
def test_steps_between_growths_must_be_a_whole_number(value) -> None:
    with pytest.raises(ValueError, match="interval must be a whole number >= 1, got"):
        GrowingL2(interval=value)
