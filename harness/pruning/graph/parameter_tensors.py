"""Tracks what a pass computes from parameters alone, and whether their zeros stay zeros."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from harness.pruning.graph.operator_call import OTHER, OperatorCall
from harness.pruning.graph.tensor_keys import storage_key, view_key
from harness.vocabulary.nested import iter_tensors

EMPTY: frozenset[str] = frozenset()
# The same entries in the same order, whatever the shape.
SAME_ORDER = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "unsqueeze",
    "squeeze", "clone", "contiguous", "_to_copy", "alias", "detach", "lift_fresh", "dropout",
    "native_dropout", "to",
}  # fmt: skip
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv"}
# They move entries and change none.
MOVES = SAME_ORDER | {
    "t", "transpose", "permute", "expand", "select", "slice", "split", "split_with_sizes", "chunk",
    "unbind", "cat", "stack", "repeat", "index", "index_select", "gather", "flip", "roll", "copy",
    "narrow", "as_strided", "diagonal", "constant_pad_nd",
}  # fmt: skip
# They make some entries 0, or scale entries by what the others are.
ZEROING = {"tril", "triu", "renorm"}
FILLING = {"fill", "index_fill", "zero"}
QUANTISING = ("fake_quantize", "obs_fq")  # operators that round, and say what they cut off


class ParameterTensors:
    """Knows from which parameters a tensor was computed that no input has reached.

    A name is plain in a tensor if the tensor is 0 wherever the parameter is: transposed, cast,
    scaled, masked, rounded, quantised. Where a parameter enters an operator twice, its entries
    count as the same only at the same positions: w + w.T is alive where w is 0. It is multiplied if
    a matrix product used it: each entry then counts by its value. After anything else, such as the
    subtraction of a mean, a pruned weight is alive in use.
    """

    def __init__(self, model: nn.Module):
        self.dims: dict[str, int] = {}
        self._owners: dict[int, list[tuple[int, int, str]]] = {}
        self._made_of: dict[int, frozenset[str]] = {}
        self._plain: dict[int, frozenset[str]] = {}
        self._multiplied: dict[int, frozenset[str]] = {}
        self._changed: dict[int, str] = {}
        self._literals: set[int] = set()  # storages that no tensor of the model entered
        self._buffers = {storage_key(buffer) for buffer in model.buffers()}
        self._orders: dict[Any, tuple[Any, ...]] = {}  # how entries were moved since the parameter
        for name, parameter in model.named_parameters():
            self.dims[name] = parameter.dim()
            start = int(parameter.storage_offset())
            owned = (start, start + max(1, parameter.numel()), name)
            self._owners.setdefault(storage_key(parameter), []).append(owned)

    def names(self, tensor: Tensor) -> frozenset[str]:
        """Returns the names of the parameters, none for a constant."""
        owners = self._owners.get(storage_key(tensor))
        if owners is None:
            return self._made_of.get(storage_key(tensor), EMPTY)
        offset = tensor.storage_offset()
        return frozenset(name for start, stop, name in owners if start <= offset < stop)

    def changed(self, tensor: Tensor) -> dict[str, str]:
        """Returns parameters whose zeros may not be zeros in this tensor, with the operator."""
        kept = self._plain_names(tensor) | self._multiplied.get(storage_key(tensor), EMPTY)
        changed = self._changed.get(storage_key(tensor), "")
        return dict.fromkeys(self.names(tensor) - kept, changed)

    def record(self, call: OperatorCall, outs: list[Tensor]) -> None:
        """Records an operator that read parameters, or what was made of them, and no input."""
        sources = [tensor for tensor in call.tensors() if self.names(tensor)]
        self._record_literals(call, outs)
        if not sources or call.creates:
            return
        name = call.name
        whole = self._union(self.names(tensor) for tensor in sources)
        plain, order = self._plain_after(call, sources)
        used = self._union(self._multiplied.get(storage_key(tensor), EMPTY) for tensor in sources)
        if name in PRODUCTS or "conv" in name:
            used |= self._union(self._plain_names(tensor) for tensor in sources)
        earlier = [self._changed.get(storage_key(tensor), "") for tensor in sources]
        for out in outs:
            self._orders[view_key(out)] = order
            if storage_key(out) in self._owners:
                continue
            key = storage_key(out)
            self._made_of[key], self._plain[key], self._multiplied[key] = whole, plain, used
            self._changed[key] = next(filter(None, earlier), "" if plain == whole else name)

    def _plain_names(self, tensor: Tensor) -> frozenset[str]:
        owned = storage_key(tensor) in self._owners
        return self.names(tensor) if owned else self._plain.get(storage_key(tensor), EMPTY)

    def _record_literals(self, call: OperatorCall, outs: list[Tensor]) -> None:
        """Records outputs that no tensor of the model entered, so that they never change."""
        same = call.creates or all(map(self._is_literal, call.tensors()))
        for out in outs:
            (self._literals.add if same else self._literals.discard)(storage_key(out))

    def _is_literal(self, tensor: Tensor) -> bool:
        number = not tensor.dim() and storage_key(tensor) not in self._buffers
        return not self.names(tensor) and (number or storage_key(tensor) in self._literals)

    def _plain_after(
        self, call: OperatorCall, sources: list[Tensor]
    ) -> tuple[frozenset[str], tuple[Any, ...]]:
        """Returns the names that stay plain, and the order of entries in the operator's output."""
        name = call.name
        kept = [tensor for tensor in sources if self._plain_names(tensor)]
        candidates = self._union(self._plain_names(tensor) for tensor in kept)
        first = self._order(kept[0]) if kept else ()
        if name in SAME_ORDER | ZEROING:
            return candidates, first
        if name in MOVES:
            return candidates, (*first, name, self._move_key(call.args))
        tried = call.pointwise or name in FILLING or any(kind in name for kind in QUANTISING)
        if not tried:
            return EMPTY, ()
        orders = {(self._order(tensor), tensor.shape) for tensor in kept}
        # The order that makes it 0; a product of several is 0 by any of them.
        zero = [
            (candidate, order)
            for order in sorted(orders, key=str)
            for candidate in candidates
            if self._stays_zero(call, candidate, order)
        ]
        return frozenset(candidate for candidate, _ in zero), zero[0][1][0] if zero else ()

    def _move_key(self, args: Sequence[Any]) -> str:
        """Returns how entries are moved, as the same text for the same arguments."""
        parts: list[Any] = []
        for argument in args:
            inside = list(iter_tensors(argument))
            parts += [
                (self._order(t), t.shape) if self._plain_names(t) else view_key(t) for t in inside
            ]
            parts += [] if inside else [argument]
        return str(parts)

    def _order(self, tensor: Tensor) -> tuple[Any, ...]:
        return self._orders.get(view_key(tensor), ())

    def _stays_zero(self, call: OperatorCall, name: str, order: Any) -> bool:
        """True if the operator, when tried, gives 0 where this parameter is 0, in this order.

        What a comparison makes of parameters may be either there.
        """

        def value(tensor: Tensor, either: bool) -> Tensor:
            zero = name in self._plain_names(tensor) and order == (
                self._order(tensor),
                tensor.shape,
            )
            if tensor.dtype == torch.bool and self.names(tensor):
                return torch.full_like(tensor, either and not zero)
            if not tensor.is_floating_point() or self._is_literal(tensor):
                return tensor.clone()  # an observer writes into it
            return torch.full_like(tensor, 0.0 if zero else OTHER)

        return all(call.gives_zero(partial(value, either=either)) for either in (False, True))

    @staticmethod
    def _union(names: Iterable[frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*names)
