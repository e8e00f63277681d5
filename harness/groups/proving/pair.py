"""Holds copies of a masked network and of the smaller one, and runs them beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from harness.groups.group import Group
from harness.groups.layers.norms import epsilon_name, rescaled
from harness.groups.living import add_living_norms, living_indices, remove_living_norms
from harness.groups.proving.calls import Call, compare_calls, record_calls
from harness.groups.proving.differences import Difference, Layouts, relative_error
from harness.groups.proving.draws import RandomOff
from harness.groups.proving.values import random_inputs, random_values, widened
from harness.groups.removal import Removed, copy_model, slice_tensor
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.nested import map_tensors
from harness.vocabulary.tensors import Tensors, all_tensors, clone_tensors
from harness.vocabulary.undisturbed import preserve_model, uncompiled

# What a model raises that is called with other inputs than it expects.
REFUSALS = (
    RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError,
    ArithmeticError,
)  # fmt: skip
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}


def open_pair(
    model: nn.Module,
    masks: Tensors,
    removed: Removed,
    groups: Sequence[Group],
    example_input: Any,
) -> "Pair":
    """Returns both networks with the same random values, in float64 or, where that fails, float32.

    Raises:
        ValueError: the model cannot be called with the example input.
    """
    problem = Exception()
    for dtype in TOLERANCES:
        try:
            pair = _make_pair(model, masks, removed, groups, example_input, dtype)
        except TypeError as error:  # of a device without float64
            problem = error
            continue
        try:
            pair.load(random_values(model))
            pair.record(training=False)
            return pair
        except REFUSALS as error:
            problem = error
    raise ValueError(refused_input(model, problem))


def refused_input(model: nn.Module, error: Exception, mode: str = "eval") -> str:
    """Returns the message for an example input with which a model fails."""
    return (
        f"example_input: {type(model).__name__} fails with it in {mode} mode "
        f"({first_line(error)}); give a batch of at least two inputs as in training"
    )


@dataclass
class Pair:
    """Compares two networks in one dtype.

    Args:
        masked, smaller: copies in the dtype, which `load` gives the same values.
        removed: what `remove` returned.
        masks: of the masked network.
        inputs: what both are called with.
        narrows: True if the model computes in a narrower dtype inside.
        widened: True if the batch has more samples than the example.
    """

    masked: nn.Module
    smaller: nn.Module
    removed: Removed
    masks: Tensors
    layouts: Layouts
    inputs: Any
    dtype: torch.dtype
    narrows: bool = False
    widened: bool = False
    recorded: dict[bool, tuple[list[Call], Tensors]] = field(default_factory=dict)

    @property
    def tolerance(self) -> float:
        """Returns the relative error that rounding may cause in the narrowest dtype of a pass."""
        return TOLERANCES[torch.float32 if self.narrows else self.dtype]

    @torch.no_grad()
    def load(self, values: Tensors) -> None:
        """Gives both networks these values: masked here, the kept entries of them there."""
        self.recorded.clear()
        small = all_tensors(self.smaller)
        for name, tensor in all_tensors(self.masked).items():
            if name in values:
                tensor.copy_(values[name])
            if name in self.masks:
                tensor.mul_(self.masks[name].to(tensor.device))
            if name not in small:
                continue  # of a block that is removed
            kept = slice_tensor(tensor, self.removed.kept_indices.get(name, ()))
            scale = self.removed.scales.get(name)
            small[name].copy_(kept if scale is None else rescaled(kept, scale))

    def compare(self, training: bool) -> float:
        """Returns the worst relative error of outputs and of buffers after one pass.

        Raises:
            Difference: what differs first.
        """
        calls, buffers = self.record(training)
        with preserve_model(self.smaller):
            self.smaller.train(training)
            known = self.layouts, self.tolerance, self.removed.outputs
            error = compare_calls(self.smaller, self._run, calls, *known)
            return max(error, self._compare_buffers(len(calls), buffers))

    def record(self, training: bool) -> tuple[list[Call], Tensors]:
        """Returns calls and buffers of the masked network, from one pass after each `load`."""
        if training not in self.recorded:
            try:
                self.recorded[training] = self._pass(training)
            except ValueError:  # of BatchNorm, whose statistics need two samples
                if not (training and self.widen()):
                    raise
                self.recorded[training] = self._pass(training)
        return self.recorded[training]

    def widen(self) -> bool:
        """Runs more samples from here on; returns False if the batch cannot be made wider."""
        wider = None if self.widened else widened(self.inputs)
        if wider is None:
            return False
        self.inputs, self.widened = wider, True
        self.recorded.clear()
        return True

    def _pass(self, training: bool) -> tuple[list[Call], Tensors]:
        with preserve_model(self.masked):
            self.masked.train(training)
            calls = record_calls(self.masked, self._run, self.removed.blocks)
            return calls, clone_tensors(dict(self.masked.named_buffers()))

    def _compare_buffers(self, calls: int, masked: Tensors) -> float:
        worst = 0.0
        cut = self.removed.kept_indices
        for name, buffer in self.smaller.named_buffers():
            if name not in masked or masked[name].dim() != buffer.dim():
                error = float("inf")
            else:
                error = relative_error(buffer, slice_tensor(masked[name], cut.get(name, ())))
            if error > self.tolerance:
                module, _, leaf = name.rpartition(".")
                raise Difference((calls, 0), module, error, where=f"buffer {leaf}")
            worst = max(worst, error)
        return worst

    def _run(self, model: nn.Module) -> Any:
        off = RandomOff()
        with torch.enable_grad(), off, uncompiled():
            output = call_model(model, self.inputs)
        self.narrows |= off.narrows and self.dtype == torch.float64
        return output


def _make_pair(
    model: nn.Module,
    masks: Tensors,
    removed: Removed,
    groups: Sequence[Group],
    example_input: Any,
    dtype: torch.dtype,
) -> Pair:
    def cast(_: str, tensor: Tensor) -> Tensor:
        return tensor.to(dtype, copy=True) if tensor.is_floating_point() else tensor.clone()

    masked, smaller = copy_model(model, cast), copy_model(removed.model, cast)
    _fix_epsilons(masked, model, removed)
    for network in (masked, smaller):
        remove_living_norms(network)
        for parameter in network.parameters():
            # Fused inference kernels skip modules where no parameter has a gradient.
            parameter.requires_grad_(parameter.is_floating_point())
    kept_units = removed.kept_units
    if removed.norms == "living":
        add_living_norms(masked, living_indices(model, removed.kept_indices, groups, kept_units))
    layouts = Layouts(removed.kept_indices, kept_units.values(), TOLERANCES[dtype])
    for name, tensor in all_tensors(model).items():
        layouts.add_tensor(name, tensor.shape)
    inputs = random_inputs(map_tensors(example_input, lambda t: cast("", t.detach())))
    return Pair(masked, smaller, removed, masks, layouts, inputs, dtype)


def _fix_epsilons(masked: nn.Module, model: nn.Module, removed: Removed) -> None:
    """Sets an RMSNorm's epsilon that is None to that of the dtype in which the model computes."""
    for weight in removed.scales:
        norm = masked.get_submodule(weight.rpartition(".")[0])
        name = epsilon_name(norm)
        if name is not None and getattr(norm, name) is None:
            setattr(norm, name, torch.finfo(model.get_parameter(weight).dtype).eps)
