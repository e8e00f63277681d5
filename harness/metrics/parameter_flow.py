"""Follows a model's parameters to the operators that multiply by them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from harness.metrics import operators
from harness.metrics.storages import Contents, Ids, Storages


class ParameterFlow:
    """Records what each operator's outputs hold of the parameters that entered it.

    uncounted: operator -> parameters whose multiply-accumulates it hides.
    """

    def __init__(self, storages: Storages, prunable: Iterable[str]):
        self.storages, self.prunable = storages, frozenset(prunable)
        self.uncounted: dict[str, set[str]] = {}
        self._unsummed: dict[int, Contents] = {}

    def add_uncounted(self, by: str, names: Iterable[str]) -> None:
        if hidden := set(names):
            self.uncounted[by] = self.uncounted.get(by, set()) | hidden

    def finish(self) -> None:
        """Adds prunable weights whose products were never summed to the uncounted ones."""
        for product in self._unsummed.values():
            self.add_uncounted(product.by, product.names & self.prunable)

    def select_weight(self, by: str, operands: Sequence[Tensor]) -> Tensor | None:
        """Returns the weight whose products these are: prunable ones first, then the largest.

        Two prunable weights, or one that was changed so that its zeros are none, are uncounted.
        """
        holders = [
            (tensor, contents)
            for tensor in operands
            if (contents := self.storages.contents(tensor))
        ]
        for _, contents in holders:
            if contents.kind == "derived":
                self.add_uncounted(contents.by, contents.names & self.prunable)
        weights = [
            tensor for tensor, contents in holders if contents.kind == "weight" and tensor.numel()
        ]
        prunable = [tensor for tensor in weights if self._names(tensor) & self.prunable]
        if len(prunable) > 1:
            self.add_uncounted(by, self._names(*prunable) & self.prunable)
        return max(prunable or weights, key=Tensor.numel, default=None)

    def propagate(
        self, func: Any, args: Sequence[Any], named: Any, outs: list[Tensor], dependent: bool
    ) -> None:
        """Records an operator without a formula, on some parameter or what was made of one.

        dependent: the model's input decides one of the operator's inputs.
        """
        name, by = operators.base_name(func), str(func)
        holders = [tensor for tensor in tensors_of((args, named)) if self.storages.contents(tensor)]
        mixed = any(self._contents(tensor).kind == "derived" for tensor in holders)
        if name in operators.SCALES and len(outs) == 1:
            self._scale(by, name, args, outs[0], dependent)
        elif name in operators.SAME and not mixed:
            self._copy_entries(holders[0], outs[0], self._contents(holders[0]))
        elif name in operators.MOVES and not mixed:
            self._move_entries(func, args, named, holders, outs[0])
        elif name in operators.WRITES:
            self.add_uncounted(by, self._names(*holders) & self.prunable)
        elif not dependent:
            self._derive(by, holders, outs)
        elif name in operators.FUSED:
            self.add_uncounted(by, self._names(*holders) & self.prunable)
        elif operators.is_elementwise(func):
            # A distance to a weight's rows, say: what becomes of x - w is not followed.
            met = [
                tensor
                for tensor in holders
                if self._contents(tensor).kind != "product" and is_matrix(tensor)
            ]
            self.add_uncounted(by, self._names(*met) & self.prunable)
        elif name not in operators.NOTHING:
            self.add_uncounted(by, filter(self.is_weight, self._names(*holders)))

    def add_untracked(self, by: str, tensors: Iterable[Tensor]) -> None:
        """Records an operator with an input or output that has no memory to follow."""
        names = self._names(*(tensor for tensor in tensors if self.storages.contents(tensor)))
        self.add_uncounted(by, filter(self.is_weight, names))

    def holds_products(self, tensor: Tensor) -> bool:
        contents = self.storages.contents(tensor)
        return contents is not None and contents.kind == "product"

    def sums_products(self, products: Tensor, dims: Sequence[int]) -> bool:
        """True if a sum over these dimensions adds over different entries of a weight."""
        ids = self.storages.entry_numbers(products)()
        over = tuple(dims) or tuple(range(ids.dim()))
        if not ids.numel() or not bool((ids.amax(over) != ids.amin(over)).any()):
            return False
        self._unsummed.pop(self.storages.key(products), None)
        return True

    def is_weight(self, name: str) -> bool:
        """False for the scale of a norm or a layer, which varies along one dimension only."""
        return name in self.prunable or is_matrix(self.storages.parameters[name])

    def _scale(self, by: str, name: str, args: Sequence[Any], out: Tensor, dependent: bool) -> None:
        """Records a weight times constants as that weight, times activations as products."""
        holders = [tensor for tensor in tensors_of(args) if self.storages.contents(tensor)]
        weights = [tensor for tensor in holders if self._contents(tensor).kind != "derived"]
        if name not in operators.COMMUTE:
            # What divides by a weight is not 0 where the weight is.
            weights = [tensor for tensor in weights if tensor is args[0]]
        if not dependent:
            followed = [tensor for tensor in holders if self._contents(tensor).kind != "derived"]
            # Beside a weight learned scales are constants.
            main = [tensor for tensor in followed if any(map(self.is_weight, self._names(tensor)))]
            source = (main or followed or [out])[0]
            if len(main or followed) != 1 or not any(source is tensor for tensor in weights):
                return self._derive(by, holders, [out])
            return self._copy_entries(source, out, self._contents(source))
        first = self.select_weight(by, holders)
        if first is None and weights:
            return self._copy_entries(weights[0], out, self._contents(weights[0]))
        if first is not None and any(map(self.is_weight, self._names(first))):
            self._copy_entries(first, out, replace(self._contents(first), kind="product", by=by))

    def _copy_entries(self, source: Tensor, out: Tensor, contents: Contents) -> None:
        """Records that `out` holds the entries of `source`, broadcast to its shape."""
        make, shape = self.storages.entry_numbers(source), out.shape
        whole = self.storages.whole_parameter(source)
        moved = self.storages.relocated(out, contents, whole, lambda: make().expand(shape))
        self._set([source], out, moved)

    def _move_entries(
        self, func: Any, args: Sequence[Any], named: Any, holders: list[Tensor], out: Tensor
    ) -> None:
        """Applies the operator to the numbers of the entries, as it was to the entries."""
        filled = operators.FILLS.get(operators.base_name(func), ())
        args = [0 if n in filled and _is_number(arg) else arg for n, arg in enumerate(args)]
        recipe = tree_map(self._numbers_of, (args, named))

        def ids() -> Ids:
            moved, moved_named = tree_map(lambda leaf: leaf() if callable(leaf) else leaf, recipe)
            result: Ids = func(*moved, **moved_named)
            return result

        products = [tensor for tensor in holders if self.holds_products(tensor)]
        contents = replace(self._contents((products or holders)[0]), names=self._names(*holders))
        self._set(holders, out, self.storages.relocated(out, contents, None, ids))

    def _numbers_of(self, leaf: Any) -> Any:
        """Returns for a tensor what makes the numbers of its entries; indices and masks stay."""
        is_tensor = isinstance(leaf, Tensor) and _is_data(leaf)
        return self.storages.entry_numbers(leaf) if is_tensor else leaf

    def _set(self, sources: list[Tensor], out: Tensor, contents: Contents) -> None:
        keys, key = {self.storages.key(tensor) for tensor in sources}, self.storages.key(out)
        if key in keys:
            return  # in place
        self.storages.set_contents(out, contents)
        if contents.kind == "product":
            self._unsummed[key] = contents
            for source in keys:
                self._unsummed.pop(source, None)

    def _derive(self, by: str, holders: list[Tensor], outs: list[Tensor]) -> None:
        sources = [self._contents(tensor) for tensor in holders]
        if all(contents.kind == "derived" for contents in sources):
            by = sources[0].by
        for out in outs:
            self.storages.set_contents(out, Contents(self._names(*holders), "derived", by))

    def _names(self, *tensors: Tensor) -> frozenset[str]:
        return frozenset[str]().union(*(self._contents(tensor).names for tensor in tensors))

    def _contents(self, tensor: Tensor) -> Contents:
        contents = self.storages.contents(tensor)
        assert contents is not None
        return contents


def is_matrix(tensor: Tensor) -> bool:
    """True if it varies along more than one dimension."""
    return sum(size > 1 for size in tensor.shape) > 1


def tensors_of(tree: Any) -> list[Tensor]:
    """Returns the strided tensors, which have memory of their own."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and is_strided(leaf)]


def has_others(tree: Any) -> bool:
    """True if one of the tensors is not strided: sparse, nested."""
    return any(isinstance(leaf, Tensor) and not is_strided(leaf) for leaf in tree_leaves(tree))


def has_packed(tree: Any) -> bool:
    """True if there are weights that only their operator can read, such as quantised ones."""
    return any(isinstance(leaf, torch.ScriptObject) for leaf in tree_leaves(tree))


def is_strided(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided


def _is_data(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex) and not isinstance(value, bool)
