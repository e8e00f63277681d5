"""Layers and maps that cannot be measured are refused by name; hooks go after an error."""

import pytest
import torch
from simulated import total
from torch import Tensor, nn
from units_by_hand import IMAGES, POINTS, batch, kernel, line, measured

from harness.saliency.apoz import APoZ
from harness.saliency.base import CalibrationData
from harness.saliency.hrank import HRank
from harness.saliency.mean_activation import MeanActivation
from harness.saliency.shared.activations import mean_of_maps
from harness.saliency.taylor_unit import TaylorUnit
from harness.vocabulary.tensors import local_mean

MEASURES = [MeanActivation(), APoZ(), HRank(), TaylorUnit()]


class Uncalled(nn.Module):
    """The second layer's module is never called, only its weight is used."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(self.used(inputs), self.spare.weight)


@pytest.mark.parametrize("saliency", MEASURES)
@pytest.mark.parametrize("units", [None, {"spare.weight": ()}])
def test_a_layer_that_is_never_called_is_refused_by_name(saliency, units) -> None:
    model = Uncalled().requires_grad_(False)
    with pytest.raises(ValueError, match=r"never calls .* spare.weight, .* exclude spare$"):
        saliency.statistics(CalibrationData(model, [batch(POINTS)], total, local_mean, units))


@pytest.mark.parametrize("saliency", MEASURES)
def test_a_transposed_convolution_is_refused_by_name(saliency) -> None:
    model = nn.Sequential(nn.ConvTranspose2d(1, 3, 1))
    with pytest.raises(ValueError, match=r"0.weight is of a transposed convolution.*exclude 0$"):
        saliency.statistics(CalibrationData(model, [batch(IMAGES)], total))


def test_an_output_of_another_width_is_refused_by_name() -> None:
    class Halved(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs)[..., :1]

    with pytest.raises(ValueError, match=r"weight has 2 units, .* Halved gives shape \(1, 1\)"):
        measured(APoZ(), Halved(1, 2), POINTS)


@pytest.mark.parametrize("saliency", [*MEASURES, MeanActivation("none")])
def test_an_activation_that_is_not_finite_is_refused_with_its_tensor(saliency) -> None:
    with pytest.raises(ValueError, match="of weight is not finite"):
        measured(saliency, kernel(), [[[[torch.nan, 1.0]]]])


@pytest.mark.parametrize("saliency", MEASURES)
def test_hooks_are_gone_after_an_error_in_the_model(saliency) -> None:
    model = nn.Sequential(nn.Linear(1, 2), nn.Linear(3, 1)).train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        saliency.statistics(CalibrationData(model, [batch(POINTS)], total))
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


def test_hooks_are_gone_after_an_error_in_the_measure() -> None:
    def failing(z: Tensor) -> Tensor:
        raise ZeroDivisionError

    model = line()
    with pytest.raises(ZeroDivisionError):
        mean_of_maps(CalibrationData(model, [batch(POINTS)]), failing)
    assert not model._forward_hooks


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="activation must be relu or none, got 'gelu'"):
        MeanActivation("gelu")
