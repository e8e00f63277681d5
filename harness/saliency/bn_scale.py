from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.activations import norms_of
from harness.vocabulary.tensors import Companions, Tensors, clone_tensors


@dataclass(frozen=True)
class BNScale(Saliency):
    """|gamma| of the BatchNorms that a unit alone feeds: (units, norms) per layer. Needs no data.

    Norms behind a sum of layers count with the last of these. The structure pools the scales of all
    norms of a unit, over all layers that compute it.

    Source: Liu et al. 2017, Network Slimming (arXiv:1708.06519). The paper trains with an L1
    penalty on gamma first; on a model trained without one this is the bare scale.
    """

    granularity: ClassVar[str] = "unit"
    reads_samples: ClassVar[bool] = False

    def check(self, model: nn.Module, units: Companions) -> None:
        """Checks that every layer has a BatchNorm, before any training.

        Raises:
            ValueError: a layer has no BatchNorm among its companions.
        """
        for name, companions in units.items():
            _scales(model, name, companions)

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns copies of gamma, which are equal on all ranks, so that `data.mean` is not called.

        Raises:
            ValueError: data.units is None, or a layer has no BatchNorm among its companions.
        """
        if data.units is None:
            raise ValueError(
                "bn_scale scores units by the norm that goes with them, and no units are given; "
                "use a structure such as filter or group"
            )
        scales = {
            n: _scales(data.module, n, companions) for n, companions in data.selected_units.items()
        }
        return clone_tensors(scales)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: statistics[name].abs() for name in weights}


def _scales(model: nn.Module, name: str, companions: tuple[str, ...]) -> Tensor:
    """Returns the scales of a weight's norms: (units,) of one norm, (units, norms) of several."""
    norms = [norm for norm in norms_of(model, companions) if isinstance(norm, _BatchNorm)]
    if norms:
        scales = torch.stack([norm.weight.detach() for norm in norms], 1)
        return scales.squeeze(1) if len(norms) == 1 else scales
    layer = name.removesuffix(".weight")
    raise ValueError(
        f"bn_scale needs a BatchNorm with a scale that {layer} alone feeds, and there is none; "
        f"exclude {layer}, or choose another saliency"
    )
