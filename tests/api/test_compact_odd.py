"""Tests odd models and inputs of harness.compact: cut right, or told in one line."""

import warnings

import numpy as np
import pytest
import torch
from test_compact import INPUTS, residual, some_masks
from torch import Tensor, nn

import harness


def refusal(model: nn.Module, masks: dict[str, Tensor], example: object) -> str:
    with pytest.raises(ValueError) as error:
        harness.compact(model, masks, example)
    assert "\n" not in str(error.value)
    return str(error.value)


def told(model: nn.Module, masks: dict[str, Tensor]) -> tuple[nn.Module, list[str]]:
    """Returns the smaller model, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small = harness.compact(model, masks, INPUTS)
    return small, [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (INPUTS[:0], "example_input of shape (0, 3, 8, 8) has no values"),
        (INPUTS.to("meta"), "example_input of shape (2, 3, 8, 8) has no values"),
        (INPUTS / 0, "example_input of shape (2, 3, 8, 8) holds values that are not finite"),
        (INPUTS.numpy(), "example_input holds no tensor, it is a ndarray"),
        (None, "example_input holds no tensor, it is a NoneType"),
        ({"input": INPUTS[:0]}, "example_input of shape (0, 3, 8, 8) has no values"),
    ],
)
def test_an_example_that_proves_nothing_is_refused(example, message) -> None:
    model = residual()
    assert refusal(model, some_masks(model), example).startswith(message)


def test_structures_of_groups_refuse_an_example_without_samples() -> None:
    with pytest.raises(ValueError, match=r"must be a tensor with values, \(samples, ...\)"):
        harness.prune(residual(), 0.5, structure="filter", example_input=INPUTS[:0])


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (nn.DataParallel, "model is a DataParallel, which calls the module inside on devices of"),
        (lambda m: nn.Sequential(nn.DataParallel(m)), "give 0.module, and wrap the result anew"),
        (lambda m: torch.jit.trace(m.eval(), INPUTS), "whose operators cannot be seen; give the"),
    ],
)
def test_what_hides_the_operators_of_a_model_is_named(wrap, message) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        model = wrap(residual())
    masks = {name: torch.ones(p.shape) for name, p in model.named_parameters()}
    assert message in refusal(model, masks, INPUTS)


def test_groups_of_a_wrapped_model_are_refused_before_they_are_followed() -> None:
    with pytest.raises(ValueError, match="give model.module, and wrap the result anew"):
        harness.prune(nn.DataParallel(residual()), 0.5, structure="group", example_input=INPUTS)


def test_masks_of_the_module_inside_have_their_name_in_the_wrapper_told() -> None:
    model = residual()
    said = refusal(torch.compile(model), some_masks(model), INPUTS)
    assert "its name here is '_orig_mod.3.one.weight'" in said


def test_masked_units_that_cannot_go_are_told_with_the_reason() -> None:
    model = residual()
    scale = torch.arange(1.0, 7.0).view(1, 6, 1, 1)
    model[3].one.register_forward_hook(lambda module, inputs, output: output * scale)
    small, (said,) = told(model, some_masks(model))
    assert small[3].one.out_channels == 6 and not small[3].one.weight[1::2].any()
    assert said.startswith("compact leaves 3.one whole, its masked units as 0: it meets values of")


def test_units_that_are_masked_in_part_are_told_to_stay() -> None:
    model = residual()
    masks = {"3.one.weight": some_masks(model)["3.one.weight"]}  # but not its bias
    small, (said,) = told(model, masks)
    assert small[3].one.out_channels == 6
    assert said.startswith("compact removes nothing: no unit is masked in all that computes it")


def test_a_removal_and_masks_of_ones_warn_of_nothing() -> None:
    model = residual()
    assert told(model, some_masks(model))[1] == []
    assert told(model, {"6.weight": np.ones((5, 8))})[1] == []


def test_inside_inference_mode_units_go_and_the_result_trains() -> None:
    model = residual()
    with torch.inference_mode():
        given = {"structure": "filter", "allocation": "uniform", "example_input": INPUTS + 1}
        masks = harness.prune(model, 0.5, **given)
        small = harness.compact(model, masks, INPUTS + 1)
    assert not masks["3.one.weight"].all()
    small(INPUTS).sum().backward()
    assert small[6].weight.grad is not None
    left, before = (sum(p.numel() for p in each.parameters()) for each in (small, model))
    assert left < before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_narrow_model_loses_the_same_units_in_its_own_dtype(dtype) -> None:
    model = residual()
    small = harness.compact(model.to(dtype), some_masks(model), INPUTS.to(dtype))
    assert small[3].one.out_channels == 3
    assert {p.dtype for p in small.parameters()} == {dtype}


def test_frozen_parameters_stay_frozen_and_shared_ones_shared() -> None:
    layers = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)
    model = nn.Sequential(*layers, nn.ReLU(), layers[0], nn.ReLU(), layers[2])
    model[0].weight.requires_grad_(False)
    inputs = torch.randn(3, 4)
    masks = harness.prune(model, 0.5, structure="neuron", example_input=inputs)
    small = harness.compact(model, masks, inputs)
    assert small[0] is small[4] and small[2] is small[6]
    assert [p.requires_grad for p in small.parameters()] == [False, True, True, True]
    assert small[0].out_features < 8 or small[2].out_features < 4
