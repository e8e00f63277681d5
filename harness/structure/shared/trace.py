"""Records what one forward pass does with a model's parameters, operator by operator."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.groups.traceable import traceable, writable
from harness.structure.shared.mixed_channels import MixedChannels
from harness.structure.shared.operator_call import OperatorCall
from harness.structure.shared.parameter_tensors import EMPTY, MOVES, ParameterTensors
from harness.structure.shared.shifts import (
    SHIFTING,
    changes_zero_units,
    counted_dim,
    one_per_unit,
    subtracts_mean,
    varying_dims,
)
from harness.structure.shared.tensor_keys import storage_key, view_key
from harness.structure.shared.unit_layout import UnitLayout, output_layout, product_layout
from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.tensors import fixed_mode

INPUT = "the model's input"  # among the feeders of a layer or a norm


@dataclass(frozen=True)
class WeightProduct:
    """Holds a product of a parameter of two dimensions or more with what a pass computed.

    rows_are_units: its units are the parameter's first dimension, and the product reads the other
    dimensions.
    companions: other parameters that enter the same operator, such as the bias.
    """

    weight: str
    feeders: frozenset[str]
    rows_are_units: bool
    companions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Affine:
    """Holds parameters that scale or shift, one by one, what layers computed: a norm, a bias.

    A norm without parameters is one too if it changes a channel that is 0. So is a constant that is
    added channel by channel.

    layout: of the layers' units in what is scaled; None where their order is unknown.
    dim: the dimension of `shape`, the tensor's, that the parameters count.
    shifts: it changes a channel that is 0.
    mixed: the units have a foreign value, as MixedChannels says.
    """

    parameters: tuple[str, ...]
    feeders: frozenset[str]
    layout: UnitLayout | None
    dim: int
    shape: tuple[int, ...]
    shifts: bool
    mixed: bool = False

    def fits(self, units: int) -> bool:
        """True if the i-th entry of each parameter belongs to the i-th unit alone."""
        after = UnitLayout.of_dimension(self.shape, self.dim).stride
        return self.layout == UnitLayout(units, after)


@dataclass
class Trace:
    """Holds what a pass recorded, in its order.

    computed: weights that a product used in a form that may not be 0 where they are.
    other_uses: parameters of two dimensions or more that are not used in a product, such as a table
    that is read by index.
    outputs: the layers that reach the model's outputs without another layer between.
    """

    uses: list[WeightProduct] = field(default_factory=list)
    affine: list[Affine] = field(default_factory=list)
    computed: dict[str, str] = field(default_factory=dict)  # weight -> operator
    other_uses: set[str] = field(default_factory=set)
    outputs: frozenset[str] = EMPTY


def trace_of(model: nn.Module, sample: Tensor, training: bool = False) -> Trace:
    """Runs the model once on `sample` (samples, ...); the model comes back as it was.

    training: in training mode, not in eval mode.

    Below autograd, so that what runs without gradients (a reentrant checkpoint, a custom function)
    is seen too.
    """
    recorder = _Recorder(model, sample)
    with traceable(model), fixed_mode(model, training), recorder:
        outputs = model(recorder.sample)
    recorder.trace.outputs = frozenset().union(
        *(recorder.feeders(t) for t in iter_tensors(outputs))
    )
    return recorder.trace


class _Recorder(TorchDispatchMode):
    """Records for every operator whose units it reads and their layout in its outputs."""

    def __init__(self, model: nn.Module, sample: Tensor):
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace()
        self.parameters = ParameterTensors(model)
        self.sample = writable(sample)
        self._mixed = MixedChannels(self.parameters)
        self._feeders = {storage_key(self.sample): frozenset([INPUT])}
        self._layouts: dict[Any, UnitLayout] = {}
        # Alive, or their storages would be given to others.
        self._alive: list[Any] = []

    def feeders(self, tensor: Tensor) -> frozenset[str]:
        """Returns the layers, or the input, that reach the tensor without another layer between."""
        return self._feeders.get(storage_key(tensor), EMPTY)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        call = OperatorCall(func, args, kwargs or {})
        inputs = list(call.tensors())
        # Before the call: some operators give their input another shape in place.
        with_feeders = [t for t in inputs if self.feeders(t)]
        read = [(t, self._layouts.get(view_key(t)), self.feeders(t)) for t in with_feeders]
        outs = func(*args, **(kwargs or {}))
        results = list(iter_tensors(outs))
        self._alive += [t.untyped_storage() for t in results if t.layout == torch.strided]
        if read:
            known = [t for t in inputs if not self.feeders(t) and self.parameters.names(t)]
            feeders = frozenset().union(*(layers for _, _, layers in read))
            # The input has no units: what is added to it stays in its place.
            units = [(tensor, layout) for tensor, layout, layers in read if layers != {INPUT}]
            self._note(call, known, units, feeders, results)
        else:
            self.parameters.record(call, results)
        return outs

    def _note(
        self,
        call: OperatorCall,
        known: list[Tensor],
        read: list[tuple[Tensor, UnitLayout | None]],
        feeders: frozenset[str],
        outs: list[Tensor],
    ) -> None:
        name, func, args = call.name, call.func, call.args
        if not outs or name.endswith("_like") or name.startswith("new_"):
            return
        matrices = [tensor for tensor in known if self._is_matrix(tensor)]
        lookup, other = name.startswith("embedding"), call.pointwise or _passes(name)
        if lookup or (matrices and call.pointwise):
            self.trace.other_uses |= self._names(matrices)
        if matrices and not lookup and not other:
            return self._use(name, args, matrices, known, feeders, outs)
        lost = lookup or not read or func._opname in ("t_", "transpose_")
        layouts = [None if lost else output_layout(name, func, args, read, out) for out in outs]
        units = [tensor for tensor, _ in read]
        free = [tensor for tensor in iter_tensors(args) if not self.feeders(tensor)]
        # One entry for each unit is like a bias, and joins nothing.
        constants = [t for t in free if not self.parameters.names(t)]
        constants = [t for t in constants if one_per_unit(t, outs[0], layouts[0])]
        rest = [t for t in free if name not in SHIFTING or all(t is not c for c in constants)]
        mixed = self._mixed.are_mixed(name, args, units, rest, known, layouts)
        if read and ((known and (call.pointwise or "norm" in name)) or subtracts_mean(name, args)):
            self._affine(call, read, known, feeders, layouts[0], outs[0], mixed)
        if read and constants and call.pointwise and changes_zero_units(call, units):
            shape, last = tuple(outs[0].shape), outs[0].dim() - 1
            self.trace.affine.append(Affine((), feeders, layouts[0], last, shape, True, mixed))
        self._put(outs, feeders, layouts)
        self._mixed.add(outs, mixed)

    def _is_matrix(self, tensor: Tensor) -> bool:
        return any(self.parameters.dims[name] > 1 for name in self.parameters.names(tensor))

    def _names(self, tensors: Iterable[Tensor]) -> frozenset[str]:
        return frozenset().union(*(self.parameters.names(tensor) for tensor in tensors))

    def _note_computed(self, known: list[Tensor]) -> None:
        for tensor in known:
            self.trace.computed |= self.parameters.changed(tensor)

    def _use(
        self,
        name: str,
        args: Sequence[Any],
        matrices: list[Tensor],
        known: list[Tensor],
        feeders: frozenset[str],
        outs: list[Tensor],
    ) -> None:
        self._note_computed(known)
        weights = sorted(name for name in self._names(matrices) if self.parameters.dims[name] > 1)
        layout = self.parameters.layout(matrices[0]) if len(weights) == 1 else None
        made = product_layout(name, args, matrices[0], layout, outs[0]) if layout else None
        companions = tuple(sorted(self._names(known) - set(weights)))
        self.trace.uses += [
            WeightProduct(weight, feeders, made is not None, companions) for weight in weights
        ]
        self._put(outs, frozenset(weights), [made] + [None] * (len(outs) - 1))

    def _affine(
        self,
        call: OperatorCall,
        read: list[tuple[Tensor, UnitLayout | None]],
        known: list[Tensor],
        feeders: frozenset[str],
        layout: UnitLayout | None,
        out: Tensor,
        mixed: bool,
    ) -> None:
        sources = (name for tensor in known for name in sorted(self.parameters.names(tensor)))
        names = tuple(dict.fromkeys(sources))
        name = call.name
        if "norm" in name:
            first, layout = read[0]
            shape, dim = tuple(first.shape), 1
            shifts = "rms_norm" not in name
            if "layer_norm" in name or "rms_norm" in name:
                dim = len(shape) - 1
        else:
            self._note_computed(known)
            shape, dim = tuple(out.shape), counted_dim(known, out)
            # Not a table of positions, which is a source of its own.
            flat = all(len(varying_dims(tensor)) < 2 for tensor in known)
            shifts = flat and changes_zero_units(call, [tensor for tensor, _ in read], known)
        self.trace.affine.append(Affine(names, feeders, layout, dim, shape, shifts, mixed))

    def _put(self, outs: list[Tensor], feeders: frozenset[str], layouts: Sequence[Any]) -> None:
        for out, layout in zip(outs, layouts, strict=True):
            if out.layout != torch.strided:
                continue
            # What was written into a part of a tensor is in it beside what was there.
            old = self.feeders(out)
            self._feeders[storage_key(out)] = old | feeders
            self._layouts.pop(view_key(out), None)
            if layout is not None:
                self._layouts[view_key(out)] = layout


def _passes(name: str) -> bool:
    """True for operators that keep layers visible although a parameter may enter too."""
    return name in MOVES or "norm" in name or "attention" in name
