"""Group lasso: norms of whole units, which can be added up by hand."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from harness.groups.group import kept_indices
from harness.groups.units import GroupUnits, Units
from harness.penalty.group_lasso import GroupLasso
from harness.pruning.removal.compaction import Cut
from harness.pruning.removal.units_left import units_left
from harness.structure.element import Element
from harness.structure.group import Group
from harness.structure.kernel import Kernel
from harness.vocabulary.tensors import all_tensors

INPUTS = torch.ones(2, 1, dtype=torch.float64)


def chain(*hidden: int) -> nn.Sequential:
    """Returns Linear(1, a), Linear(a, b), ... in float64; ReLUs are left out, weights are 0."""
    sizes = (1, *hidden, 1)
    layers = [nn.Linear(*pair) for pair in zip(sizes, sizes[1:], strict=False)]
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
            parameter.grad = torch.zeros_like(parameter)
    return model


def filled(model: nn.Sequential, values: Mapping[str, Any]) -> nn.Sequential:
    with torch.no_grad():
        for name, value in values.items():
            parameter = model.get_parameter(name)
            parameter.copy_(torch.tensor(value, dtype=torch.float64).view_as(parameter))
    return model


def units_of(model: nn.Module) -> Units:
    return Group().units(model, INPUTS)


def gradients(model: nn.Module) -> dict[str, list[float]]:
    return {n: p.grad.flatten().tolist() for n, p in model.named_parameters() if p.grad is not None}


# Row, bias and column: squares 1 + 4 + 4 = 9, 0, and 16 + 0 + 9 = 25.
THREE = {"0.weight": [1.0, 0.0, 4.0], "0.bias": [2.0, 0.0, 0.0], "1.weight": [-2.0, 0.0, 3.0]}


def test_the_least_unit_is_pressed_two_to_the_alpha_times_as_strongly() -> None:
    model = filled(chain(3), THREE)
    GroupLasso(strength=0.5, alpha=2).make_gradient_hook(model, units_of(model), {})(0)
    # 0.5 x 4 of the unit of 9, and 0.5 x 1 of that of 25; the unit of 0 is pruned.
    assert gradients(model) == {
        "0.weight": [2.0, 0.0, 2.0], "0.bias": [4.0, 0.0, 0.0],
        "1.weight": [-4.0, 0.0, 1.5], "1.bias": [0.0],
    }  # fmt: skip


def test_between_the_least_and_the_largest_the_exponent_is_linear() -> None:
    # 1, 2 and 5: exponents 2, 1.5 and 0.
    model = filled(chain(3), {"0.weight": [1.0, 1.0, 2.0], "0.bias": [0.0, 1.0, 1.0]})
    GroupLasso(strength=1, alpha=2).make_gradient_hook(model, units_of(model), {})(0)
    assert gradients(model)["0.bias"] == pytest.approx([0.0, 2**1.5, 1.0])


def test_units_of_equal_size_are_pressed_alike() -> None:
    model = filled(chain(2), {"0.weight": [1.0, -1.0]})
    GroupLasso(strength=0.5).make_gradient_hook(model, units_of(model), {})(0)
    assert gradients(model)["0.weight"] == [0.5, -0.5]


def test_the_lasso_adds_unit_vectors_times_the_root_of_their_length() -> None:
    model = filled(chain(3), THREE)
    GroupLasso(strength=0.5, form="lasso").make_gradient_hook(model, units_of(model), {})(0)
    first, third = (0.5 * math.sqrt(3) / norm for norm in (3.0, 5.0))
    found = gradients(model)
    assert found["0.weight"] == pytest.approx([first, 0.0, 4 * third])
    assert found["0.bias"] == pytest.approx([2 * first, 0.0, 0.0])
    assert found["1.weight"] == pytest.approx([-2 * first, 0.0, 3 * third])


@pytest.mark.parametrize("form", ["squared", "lasso"])
def test_the_gradient_is_that_of_the_formula(form) -> None:
    torch.manual_seed(0)
    model = chain(3, 2)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    penalty, units = GroupLasso(strength=0.3, alpha=3, form=form), units_of(model)
    value = torch.zeros((), dtype=torch.float64)
    for layer, reader in ((0, 1), (1, 2)):
        rows, bias = model[layer].weight, model[layer].bias
        squares = rows.square().sum(1) + bias.square() + model[reader].weight.square().sum(0)
        if form == "squared":
            size, largest, least = squares.detach(), squares.max(), squares.min()
            factors = 2 ** (3 * (largest - size) / (largest - least)).detach()
            value = value + 0.3 / 2 * (factors * squares).sum()
        else:
            length = rows.shape[1] + 1 + model[reader].weight.shape[0]
            value = value + 0.3 * (length**0.5) * squares.sqrt().sum()
    parameters = dict(model.named_parameters())
    expected = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)

    penalty.make_gradient_hook(model, units, {})(0)

    for parameter, gradient in zip(parameters.values(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_all_columns_that_read_a_unit_are_its_own() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Flatten(), nn.Linear(4, 1)).double()
    values = {"0.weight": [1.0, 2.0], "0.bias": [0.0, 0.0], "2.weight": [0.0, 1.0, 2.0, 0.0]}
    filled(model, values)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    units = Group().units(model, INPUTS.view(1, 1, 2))
    GroupLasso(strength=1, form="lasso").make_gradient_hook(model, units, {})(0)
    one, two = math.sqrt(4 / 2), math.sqrt(4 / 8)  # squares 1 + 1 and 4 + 4 of 4 entries each
    assert gradients(model)["0.weight"] == pytest.approx([one, 2 * two])
    assert gradients(model)["2.weight"] == pytest.approx([0.0, one, 2 * two, 0.0])


def test_squares_of_half_precision_are_added_in_float32() -> None:
    model = filled(chain(2), {"0.weight": [300.0, 400.0]}).half()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    units = Group().units(model, INPUTS.half())
    GroupLasso(strength=1, form="lasso").make_gradient_hook(model, units, {})(0)
    assert gradients(model)["0.weight"] == pytest.approx([math.sqrt(3)] * 2, rel=1e-3)


def test_excluded_groups_are_spared() -> None:
    model = filled(chain(2, 2), {"0.weight": [1.0, 2.0], "1.bias": [3.0, 4.0]})
    units = {name: each for name, each in units_of(model).items() if name != "1.weight"}
    GroupLasso(strength=1).make_gradient_hook(model, units, {})(0)
    assert any(gradients(model)["0.weight"]) and not any(gradients(model)["1.bias"])


@pytest.mark.parametrize("structure", [Element(), Kernel()])
def test_units_inside_weights_are_refused_by_name(structure) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    units = structure.units(model, torch.zeros(2, 1, 4, 4))
    says = "penalty=group_lasso presses whole units .* inside 0.weight; use structure=filter"
    with pytest.raises(ValueError, match=says):
        GroupLasso().check(model, units)


@pytest.mark.parametrize("alpha", [-1, 17, math.nan, True])
def test_alpha_has_a_range(alpha) -> None:
    with pytest.raises(ValueError, match=r"alpha must be a number in \[0, 16\], got"):
        GroupLasso(alpha=alpha)


def test_in_a_smaller_model_what_is_left_is_pressed_as_before() -> None:
    torch.manual_seed(0)
    model = chain(4, 3)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    units = units_of(model)
    groups = [each.group for each in units.values() if isinstance(each, GroupUnits)]
    kept = {"0": torch.tensor([True, False, False, True]), "1": torch.tensor([False, True, True])}
    indices = kept_indices(groups, kept, all_tensors(model))
    for name, each in units.items():
        for parameter, mask in each.masks(kept[name.removesuffix(".weight")]).items():
            model.get_parameter(parameter).data.mul_(mask)
    smaller = Cut(indices, {}).apply(model)
    for parameter in smaller.parameters():
        parameter.grad = torch.zeros_like(parameter)
    left = units_left(units, indices)
    assert {name: (each.group.units, each.size) for name, each in left.items()} == {
        "0.weight": (2, 2), "1.weight": (2, 3)
    }  # fmt: skip

    for each, own in ((model, units), (smaller, left)):
        GroupLasso(strength=0.1).make_gradient_hook(each, own, {})(0)

    for name, dims in indices.items():
        whole = model.get_parameter(name).grad
        for dim, index in enumerate(dims):
            whole = whole if index is None else whole.index_select(dim, index)
        torch.testing.assert_close(smaller.get_parameter(name).grad, whole)
