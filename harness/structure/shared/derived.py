"""What a pass computes from parameters alone, and whether a 0 in them is still one in it."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from harness.structure.shared.call import OTHER, Call
from harness.structure.shared.place import place, storage
from harness.structure.shared.positions import PRODUCTS, SAME_ORDER, Track, moved
from harness.vocabulary.nested import tensors_in

EMPTY: frozenset[str] = frozenset()
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


class Origins:
    """Of which parameters a tensor was made that no input has reached.

    A name is plain in a tensor if that is 0 wherever the parameter is: transposed, cast, scaled,
    masked, rounded, quantised. Where it enters an operator twice, entries count as the same only
    where they lie in the same places: w + w.T is alive where w is 0. It is multiplied if a matrix
    product used it: each entry then counts by its value. After anything else, such as the
    subtraction of a mean, a pruned weight is alive in use.
    """

    def __init__(self, model: nn.Module):
        self.dims: dict[str, int] = {}
        self._owners: dict[int, list[tuple[int, int, str]]] = {}
        self._made: dict[int, frozenset[str]] = {}
        self._plain: dict[int, frozenset[str]] = {}
        self._multiplied: dict[int, frozenset[str]] = {}
        self._changed: dict[int, str] = {}
        self._tracks: dict[Any, Track] = {}
        self._literals: set[int] = set()  # storages that no tensor of the model entered
        self._buffers = {storage(buffer) for buffer in model.buffers()}
        self._orders: dict[Any, tuple[Any, ...]] = {}  # how entries were moved since the parameter
        for name, parameter in model.named_parameters():
            self.dims[name] = parameter.dim()
            start = int(parameter.storage_offset())
            owned = (start, start + max(1, parameter.numel()), name)
            self._owners.setdefault(storage(parameter), []).append(owned)
            if parameter.dim():
                self._tracks[place(parameter)] = Track.along(parameter.shape, 0)

    def of(self, tensor: Tensor) -> frozenset[str]:
        """Names of the parameters; none for a constant."""
        owners = self._owners.get(storage(tensor))
        if owners is None:
            return self._made.get(storage(tensor), EMPTY)
        offset = tensor.storage_offset()
        return frozenset(name for start, stop, name in owners if start <= offset < stop)

    def track(self, tensor: Tensor) -> Track | None:
        return self._tracks.get(place(tensor))

    def alive(self, tensor: Tensor) -> dict[str, str]:
        """Parameters whose zeros need not be zeros here, each with the operator that did it."""
        kept = self._kept(tensor) | self._multiplied.get(storage(tensor), EMPTY)
        changed = self._changed.get(storage(tensor), "")
        return dict.fromkeys(self.of(tensor) - kept, changed)

    def note(self, call: Call, outs: list[Tensor]) -> None:
        """An operator that read parameters, or what was made of them, and no input."""
        known = [tensor for tensor in call.tensors() if self.of(tensor)]
        self._note_literals(call, outs)
        if not known or call.name.endswith("_like") or call.name.startswith("new_"):
            return
        name, func, args = call.name, call.func, call.args
        tracked = [(tensor, self.track(tensor)) for tensor in known]
        tracks = [moved(name, func, args, tracked, out) for out in outs]
        whole = self._union(self.of(tensor) for tensor in known)
        plain, order = self._plain_after(call, known)
        used = self._union(self._multiplied.get(storage(tensor), EMPTY) for tensor in known)
        if name in PRODUCTS or "conv" in name:
            used |= self._union(self._kept(tensor) for tensor in known)
        earlier = [self._changed.get(storage(tensor), "") for tensor in known]
        for out, track in zip(outs, tracks, strict=True):
            if track is not None:
                self._tracks[place(out)] = track
            self._orders[place(out)] = order
            if storage(out) in self._owners:
                continue
            key = storage(out)
            self._made[key], self._plain[key], self._multiplied[key] = whole, plain, used
            self._changed[key] = next(filter(None, earlier), "" if plain == whole else name)

    def _kept(self, tensor: Tensor) -> frozenset[str]:
        owned = storage(tensor) in self._owners
        return self.of(tensor) if owned else self._plain.get(storage(tensor), EMPTY)

    def _note_literals(self, call: Call, outs: list[Tensor]) -> None:
        """Outputs that are the same in every pass, as no tensor of the model entered them."""
        filled = call.name.endswith("_like") or call.name.startswith("new_")
        same = filled or all(map(self._is_literal, call.tensors()))
        for out in outs:
            (self._literals.add if same else self._literals.discard)(storage(out))

    def _is_literal(self, tensor: Tensor) -> bool:
        number = not tensor.dim() and storage(tensor) not in self._buffers
        return not self.of(tensor) and (number or storage(tensor) in self._literals)

    def _plain_after(
        self, call: Call, known: list[Tensor]
    ) -> tuple[frozenset[str], tuple[Any, ...]]:
        """Names that stay plain, and the order of the entries in what the operator makes."""
        name = call.name
        kept = [tensor for tensor in known if self._kept(tensor)]
        candidates = self._union(self._kept(tensor) for tensor in kept)
        first = self._order(kept[0]) if kept else ()
        if name in SAME_ORDER | ZEROING:
            return candidates, first
        if name in MOVES:
            return candidates, (*first, name, self._way(call.args))
        tried = call.pointwise or name in FILLING or any(kind in name for kind in QUANTISING)
        if not tried:
            return EMPTY, ()
        orders = {(self._order(tensor), tensor.shape) for tensor in kept}
        # The order that makes it 0; a product of several is 0 by any of them.
        zero = [
            (each, order)
            for order in sorted(orders, key=str)
            for each in candidates
            if self._stays_zero(call, each, order)
        ]
        return frozenset(each for each, _ in zero), zero[0][1][0] if zero else ()

    def _way(self, args: Sequence[Any]) -> str:
        """How entries are moved; the same text for the same arguments."""
        found: list[Any] = []
        for each in args:
            inside = list(tensors_in(each))
            found += [(self._order(t), t.shape) if self._kept(t) else place(t) for t in inside]
            found += [] if inside else [each]
        return str(found)

    def _order(self, tensor: Tensor) -> tuple[Any, ...]:
        return self._orders.get(place(tensor), ())

    def _stays_zero(self, call: Call, name: str, order: Any) -> bool:
        """Whether the operator gives 0 where this parameter is 0, in this order: it is tried.

        What a comparison makes of parameters may be either there.
        """

        def value(each: Tensor, either: bool) -> Tensor:
            zero = name in self._kept(each) and order == (self._order(each), each.shape)
            if each.dtype == torch.bool and self.of(each):
                return torch.full_like(each, either and not zero)
            if not each.is_floating_point() or self._is_literal(each):
                return each.clone()  # an observer writes into it
            return torch.full_like(each, 0.0 if zero else OTHER)

        return all(call.gives_zero(partial(value, either=either)) for either in (False, True))

    @staticmethod
    def _union(found: Iterable[frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*found)
