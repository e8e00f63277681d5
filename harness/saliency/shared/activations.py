"""Measures feature maps of units, and the gradients of gates on them."""

from abc import ABC
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.derivatives import gradients_of
from harness.saliency.shared.gradient_statistics import check_finite, zero_sums
from harness.vocabulary.given.inputs import call_model, split_samples
from harness.vocabulary.recomputation import differentiable_checkpoints
from harness.vocabulary.tensors import PRUNABLE, Batch, Companions, Mean, Tensors, eval_mode

# One call's maps of a layer's units (units, ...) -> one value per unit.
MapMeasure = Callable[[Tensor], Tensor]
# One sample's (dL/dgate of each unit, positions that the gate acts on) -> one value per unit.
GateMeasure = Callable[[Tensor, int], Tensor]
# A weight's name, its module's output, and that output's dimension of units -> another output.
OutputHook = Callable[[str, Tensor, int], Tensor | None]


class UnitSaliency(Saliency, ABC):
    """Scores units by their statistics, which are the scores themselves, (units,) each."""

    granularity: ClassVar[str] = "unit"

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: statistics[name] for name in weights}


def mean_of_maps(data: CalibrationData, measure: MapMeasure) -> Tensors:
    """Returns the mean over samples of `measure` of each unit's map, per weight: (units,).

    measure gets the map of one sample, units first: (units, 1, H, W) of a Conv2d, (units, 1, T)
    of a Linear on (N, T, F). A unit's map is the output of the norm that goes with it (a
    BatchNorm, GroupNorm, InstanceNorm, LayerNorm or RMSNorm that owns a scale among its companions
    in `data.units`; of several the first named), else that of its layer, bias included. What the
    layer also sends past its norm is not seen. Several calls on a sample are averaged.

    Samples pass one by one, in eval mode, so that batches and ranks change nothing, and so that
    layers may see any number of rows per sample. The model comes back as it was.

    Raises:
        ValueError: the forward pass never calls a layer, it is a transposed convolution, there
            are no calibration samples on any rank (by `mean`), or a measure is not finite.
    """
    model, sources = data.module, sources_of(data.module, data.selected_units)
    tally = _Tally.of(sources)
    by_weight: dict[str, list[Tensor]] = {}

    def measure_output(name: str, output: Tensor, dim: int) -> None:
        by_weight.setdefault(name, []).append(measure(output.movedim(dim, 0)))

    with eval_mode(model), torch.no_grad(), hooked(sources, measure_output):
        for inputs, _ in _single_samples(data.batches):
            by_weight.clear()
            call_model(model, inputs)
            tally.add({n: torch.stack(calls).mean(0) for n, calls in by_weight.items()})
    return check_finite(tally.mean(data.mean), "activation")


def mean_of_gates(data: CalibrationData, measure: GateMeasure) -> Tensors:
    """Returns the mean over samples of `measure` of each unit's gate gradient: (units,).

    A gate is a factor 1 on a unit's map z, so that dL/dgate = sum over positions of z dL/dz; one
    gate and all positions for all calls of a layer. Maps, samples and errors as of
    `mean_of_maps`. Parameters need no gradients and get none.
    """
    model, loss = data.module, data.required_loss
    sources = sources_of(model, data.selected_units)
    tally = _Tally.of(sources)
    gates = {n: torch.ones_like(s.like).requires_grad_() for n, s in sources.items()}
    positions: dict[str, int] = {}

    def apply_gate(name: str, output: Tensor, dim: int) -> Tensor:
        gate = gates[name].to(output.dtype)
        positions[name] = positions.get(name, 0) + output.numel() // gate.numel()
        # A product of its own, so that what the model does in place later leaves the map alone.
        return output * gate.view(-1, *[1] * (output.dim() - dim - 1))

    with (
        eval_mode(model),
        torch.enable_grad(),
        differentiable_checkpoints(),
        hooked(sources, apply_gate),
    ):
        for inputs, labels in _single_samples(data.batches):
            positions.clear()
            value = loss(call_model(model, inputs), labels)
            seen = dict(positions)  # a checkpoint calls its layers once more for the gradients
            gradients = _gradients(value, gates)
            tally.add({name: measure(gradients[name], count) for name, count in seen.items()})
    return check_finite(tally.mean(data.mean), "gate gradient")


@dataclass(frozen=True)
class MapSource:
    """Holds the modules whose outputs are the maps of a weight's units.

    like: zeros (units,).
    """

    modules: tuple[nn.Module, ...]
    like: Tensor


def sources_of(model: nn.Module, units: Companions) -> dict[str, MapSource]:
    """Returns by weight name where its units' maps come from.

    Raises:
        ValueError: a layer is a transposed convolution.
    """
    sources = {}
    for name, companions in units.items():
        weight = model.get_parameter(name)
        # All of them: a weight may be shared by several layers.
        layers = [m for m in model.modules() if isinstance(m, PRUNABLE) and m.weight is weight]
        if any(getattr(layer, "transposed", False) for layer in layers):
            raise ValueError(
                f"{name} is of a transposed convolution, whose first dimension is its inputs: it "
                f"has no filters to score; exclude {name.removesuffix('.weight')}"
            )
        norms = norms_of(model, companions)
        modules = tuple(norms[:1] or layers)
        sources[name] = MapSource(modules, weight.detach().new_zeros(weight.shape[0]))
    return sources


def norms_of(model: nn.Module, companions: Iterable[str]) -> list[nn.Module]:
    """Returns the norms whose scales are among the companions, in their order.

    The structures name the norm nearest to the model's output first.
    """
    owners = [
        model.get_submodule(name.removesuffix(".weight"))
        for name in companions
        if name.endswith(".weight")
    ]
    return [module for module in owners if _is_norm(module)]


@contextmanager
def hooked(sources: dict[str, MapSource], on_call: OutputHook) -> Iterator[None]:
    """Calls on_call with every output of the sources; on_call may return a replacement.

    Raises:
        ValueError: an output does not have as many channels as there are units.
    """
    with ExitStack() as hooks:
        for name, source in sources.items():
            hook = _hook(name, source, on_call)
            for module in source.modules:
                hooks.callback(module.register_forward_hook(hook).remove)
        yield


def _hook(
    name: str, source: MapSource, on_call: OutputHook
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        dim = _units_dim(module) % output.dim()
        if output.shape[dim] != source.like.numel():
            raise ValueError(
                f"{name} has {source.like.numel()} units, but its {type(module).__name__} gives "
                f"shape {tuple(output.shape)}; exclude {name.removesuffix('.weight')}"
            )
        return on_call(name, output, dim)

    return hook


def _is_norm(module: nn.Module) -> bool:
    # Subclasses of the channels-last norms may permute, such as torchvision's LayerNorm2d.
    exact = type(module) in (nn.LayerNorm, nn.RMSNorm)
    return exact or isinstance(module, _NormBase | nn.GroupNorm)


def _units_dim(module: nn.Module) -> int:
    if isinstance(module, _ConvNd):
        return -1 - len(module.kernel_size)
    return -1 if isinstance(module, nn.Linear | nn.LayerNorm | nn.RMSNorm) else 1


def _single_samples(batches: Iterable[Batch]) -> Iterator[Batch]:
    for inputs, labels in batches:
        yield from zip(split_samples(inputs, 1), labels.split(1), strict=True)


def _gradients(value: Tensor, gates: Tensors) -> Tensors:
    if isinstance(value, Tensor) and not value.requires_grad:
        return {name: torch.zeros_like(gate) for name, gate in gates.items()}  # none on its way
    return gradients_of(value, gates)


@dataclass
class _Tally:
    """Keeps sums per unit, their number of samples, and the layers that were called."""

    sums: Tensors
    samples: int = 0
    seen: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, sources: dict[str, MapSource]) -> "_Tally":
        return cls(zero_sums({name: source.like for name, source in sources.items()}))

    def add(self, values: Tensors) -> None:
        for name, value in values.items():
            self.sums[name] += value
        self.samples += 1
        self.seen |= values.keys()

    def mean(self, mean: Mean) -> Tensors:
        missing = [name for name in self.sums if name not in self.seen]
        if self.samples and missing:
            raise ValueError(
                f"the forward pass never calls the module that makes the units of {missing[0]}, so "
                "there are no activations to score; exclude "
                f"{missing[0].removesuffix('.weight')}"
            )
        return mean(self.sums, self.samples)
