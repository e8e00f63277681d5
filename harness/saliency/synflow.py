from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.derivatives import gradients_of
from harness.saliency.shared.gradient_statistics import differentiable_weights
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.inputs import Inputs, call_model, first_samples, floats_to, map_inputs
from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.tensors import Tensors, prunable_weights
from harness.vocabulary.undisturbed import deepcopy_model


@dataclass(frozen=True)
class SynFlow(Saliency):
    """|dR/d|w| x |w||, R = sum of the outputs for an input of ones, all weights at |w|.

    This is the part of the flow from inputs to outputs that passes through a weight. Needs one
    batch, for the shape of a sample; its values and labels are not read. Scores are float64: they
    are sums over paths of products of a weight per layer, which leave the range of float32 in deep
    models. The model is copied, in eval mode.

    bias: what the other tensors become. "abs": every floating-point entry of the state dict is
    replaced by its absolute value, as in the authors' code: biases, BatchNorm's scale and shift,
    running mean and variance alike. "zero": biases, shifts and running means are 0, the others
    as before; in a chain of such layers and ReLUs, each layer's scores then sum to R.

    rounds: a level is reached in so many prunings, each with new scores, as in the paper; in a
    single one a layer can empty. schedule.rounds overrides it.

    Source: Tanaka et al. 2020, SynFlow (arXiv:2006.05467). The authors' code runs in float32
    (its double() is commented out), and decides every round's mask among all weights; here what
    is pruned stays pruned, as everywhere.

    Raises:
        ValueError: bias is neither.
    """

    bias: Literal["abs", "zero"] = "abs"

    rounds: ClassVar[int] = 100
    reads_samples: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns dR/d|w| per prunable weight, float64.

        Raises:
            ValueError: no rank has a batch, or the flow is not finite.
        """
        inputs = next((inputs for inputs, _ in data.batches), None)
        if inputs is None:
            weights = prunable_weights(data.module)
            sums = {n: torch.zeros_like(w, dtype=torch.float64) for n, w in weights.items()}
        else:
            sums = flow_gradients(positive_copy(data.module, self.bias), inputs)
        try:
            flows = data.mean(sums, int(inputs is not None))
        except ValueError as error:
            raise ValueError(
                "SynFlow needs one batch on some rank, for the shape of its input of ones; "
                f"give it calibration samples ({error})"
            ) from error
        return _finite(flows)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: (statistics[name] * w.double()).abs() for name, w in weights.items()}


def positive_copy(model: nn.Module, bias: str = "abs") -> nn.Module:
    """Returns a float64 copy whose state is made positive, or 0, as `SynFlow.bias` says."""
    positive = deepcopy_model(model).double()
    for name, value in positive.state_dict().items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        own = name.rpartition(".")[2]
        # "in": the biases of an attention are named in_proj_bias, bias_k and bias_v.
        if bias == "zero" and ("bias" in own or own == "running_mean"):
            value.zero_()
        else:
            # An infinite entry, as of a mask of attention, keeps its sign.
            value.copy_(torch.where(value.isinf(), value, value.abs()))
    return positive


def flow_gradients(model: nn.Module, inputs: Inputs) -> Tensors:
    """Returns d(sum of outputs)/dw per prunable weight, for one sample of ones.

    The sample has the shape of those given.

    Whole-number inputs stay of their dtype, the others become float64.
    """
    ones = map_inputs(torch.ones_like, first_samples(floats_to(inputs, torch.float64), 1))
    with differentiable_weights(model) as parameters:
        return gradients_of(_flow(call_model(model, ones)), parameters)


def _flow(outputs: Any) -> Tensor:
    """Returns the sum over all floating-point tensors that a model returns."""
    sums = [tensor.sum() for tensor in iter_tensors(outputs) if tensor.is_floating_point()]
    if not sums:
        raise ValueError(
            f"SynFlow adds up the model's outputs, and in {type(outputs).__name__} it finds no "
            "floating-point tensor; return tensors, lists, tuples, dictionaries or dataclasses of "
            "them, or use saliency=magnitude"
        )
    return sum(sums[1:], sums[0])


def _finite(flows: Tensors) -> Tensors:
    for name, flow in flows.items():
        if not flow.isfinite().all():
            raise ValueError(
                f"the synaptic flow through {name} is not finite in float64; look for a weight "
                "that is NaN, or start from smaller weights: without signs they add up from "
                "layer to layer"
            )
    return flows
