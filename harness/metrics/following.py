"""What becomes of a model's parameters on their way to the operators that multiply by them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from harness.metrics import operators
from harness.metrics.origins import Ids, Origin, Origins


class Following:
    """Notes of each operator's outputs what they hold of the parameters that came in.

    uncounted: operator -> parameters whose multiply-accumulates it hides.
    """

    def __init__(self, origins: Origins, prunable: Iterable[str]):
        self.origins, self.prunable = origins, frozenset(prunable)
        self.uncounted: dict[str, set[str]] = {}
        self._unsummed: dict[int, Origin] = {}

    def hide(self, by: str, names: Iterable[str]) -> None:
        if found := set(names):
            self.uncounted[by] = self.uncounted.get(by, set()) | found

    def end(self) -> None:
        """A prunable weight's products that no sum has taken up have no count."""
        for product in self._unsummed.values():
            self.hide(product.by, product.names & self.prunable)

    def weight_among(self, by: str, operands: Sequence[Tensor]) -> Tensor | None:
        """The operand whose products these are: a prunable weight before others, then by size.

        Two prunable ones, or one that was changed so that its zeros are none, are hidden by it.
        """
        held = [(one, origin) for one in operands if (origin := self.origins.of(one))]
        for _, origin in held:
            if origin.kind == "derived":
                self.hide(origin.by, origin.names & self.prunable)
        weights = [one for one, origin in held if origin.kind == "weight" and one.numel()]
        prunable = [one for one in weights if self._names(one) & self.prunable]
        if len(prunable) > 1:
            self.hide(by, self._names(*prunable) & self.prunable)
        return max(prunable or weights, key=Tensor.numel, default=None)

    def through(
        self, func: Any, args: Sequence[Any], named: Any, outs: list[Tensor], dependent: bool
    ) -> None:
        """After an operator without a formula, on some parameter or what was made of one.

        dependent: the network's input decides something that came in.
        """
        name, by = operators.base_name(func), str(func)
        held = [one for one in tensors_of((args, named)) if self.origins.of(one)]
        mixed = any(self._origin(one).kind == "derived" for one in held)
        if name in operators.SCALES and len(outs) == 1:
            self._scale(by, name, args, outs[0], dependent)
        elif name in operators.SAME and not mixed:
            self._carry(held[0], outs[0], self._origin(held[0]))
        elif name in operators.MOVES and not mixed:
            self._move(func, args, named, held, outs[0])
        elif name in operators.WRITES:
            self.hide(by, self._names(*held) & self.prunable)
        elif not dependent:
            self._derive(by, held, outs)
        elif name in operators.FUSED:
            self.hide(by, self._names(*held) & self.prunable)
        elif operators.is_elementwise(func):
            # A distance to a weight's rows, say: what becomes of x - w is not followed.
            met = [one for one in held if self._origin(one).kind != "product" and is_matrix(one)]
            self.hide(by, self._names(*met) & self.prunable)
        elif name not in operators.NOTHING:
            self.hide(by, filter(self.is_weight, self._names(*held)))

    def lose(self, by: str, tensors: Iterable[Tensor]) -> None:
        """After an operator of which a tensor, which came in or out, has no memory to follow."""
        names = self._names(*(one for one in tensors if self.origins.of(one)))
        self.hide(by, filter(self.is_weight, names))

    def holds_products(self, tensor: Tensor) -> bool:
        origin = self.origins.of(tensor)
        return origin is not None and origin.kind == "product"

    def takes_up(self, products: Tensor, dims: Sequence[int]) -> bool:
        """Whether a sum over these dimensions adds up over different entries of a weight."""
        ids = self.origins.entries(products)()
        over = tuple(dims) or tuple(range(ids.dim()))
        if not ids.numel() or not bool((ids.amax(over) != ids.amin(over)).any()):
            return False
        self._unsummed.pop(self.origins.key(products), None)
        return True

    def is_weight(self, name: str) -> bool:
        """Not the scale of a norm or of a layer, which varies along one dimension only."""
        return name in self.prunable or is_matrix(self.origins.parameters[name])

    def _scale(self, by: str, name: str, args: Sequence[Any], out: Tensor, dependent: bool) -> None:
        """A weight times constants is that weight; times activations it is products to sum."""
        held = [one for one in tensors_of(args) if self.origins.of(one)]
        weights = [one for one in held if self._origin(one).kind != "derived"]
        if name not in operators.COMMUTE:
            # What divides by a weight is not 0 where the weight is.
            weights = [one for one in weights if one is args[0]]
        if not dependent:
            followed = [one for one in held if self._origin(one).kind != "derived"]
            # Beside a weight learned scales are constants.
            main = [one for one in followed if any(map(self.is_weight, self._names(one)))]
            source = (main or followed or [out])[0]
            if len(main or followed) != 1 or not any(source is one for one in weights):
                return self._derive(by, held, [out])
            return self._carry(source, out, self._origin(source))
        first = self.weight_among(by, held)
        if first is None and weights:
            return self._carry(weights[0], out, self._origin(weights[0]))
        if first is not None and any(map(self.is_weight, self._names(first))):
            self._carry(first, out, replace(self._origin(first), kind="product", by=by))

    def _carry(self, source: Tensor, out: Tensor, origin: Origin) -> None:
        """`out` holds the entries of `source`, broadcast to its shape."""
        make, shape = self.origins.entries(source), out.shape
        whole = self.origins.whole(source)
        moved = self.origins.moved(out, origin, whole, lambda: make().expand(shape))
        self._hold([source], out, moved)

    def _move(
        self, func: Any, args: Sequence[Any], named: Any, held: list[Tensor], out: Tensor
    ) -> None:
        """Does to the numbers of the entries what is done to the entries."""
        filled = operators.FILLS.get(operators.base_name(func), ())
        args = [0 if n in filled and _is_number(one) else one for n, one in enumerate(args)]
        recipe = tree_map(self._numbered, (args, named))

        def ids() -> Ids:
            moved, moved_named = tree_map(lambda one: one() if callable(one) else one, recipe)
            found: Ids = func(*moved, **moved_named)
            return found

        products = [one for one in held if self.holds_products(one)]
        origin = replace(self._origin((products or held)[0]), names=self._names(*held))
        self._hold(held, out, self.origins.moved(out, origin, None, ids))

    def _numbered(self, one: Any) -> Any:
        """In place of a tensor what makes the numbers of its entries; indices and masks stay."""
        return self.origins.entries(one) if isinstance(one, Tensor) and _is_data(one) else one

    def _hold(self, sources: list[Tensor], out: Tensor, origin: Origin) -> None:
        keys, key = {self.origins.key(one) for one in sources}, self.origins.key(out)
        if key in keys:
            return  # in place
        self.origins.hold(out, origin)
        if origin.kind == "product":
            self._unsummed[key] = origin
            for source in keys:
                self._unsummed.pop(source, None)

    def _derive(self, by: str, held: list[Tensor], outs: list[Tensor]) -> None:
        origins = [self._origin(one) for one in held]
        if all(origin.kind == "derived" for origin in origins):
            by = origins[0].by
        for out in outs:
            self.origins.hold(out, Origin(self._names(*held), "derived", by))

    def _names(self, *tensors: Tensor) -> frozenset[str]:
        return frozenset[str]().union(*(self._origin(one).names for one in tensors))

    def _origin(self, tensor: Tensor) -> Origin:
        origin = self.origins.of(tensor)
        assert origin is not None
        return origin


def is_matrix(tensor: Tensor) -> bool:
    """Whether it varies along more than one dimension."""
    return sum(size > 1 for size in tensor.shape) > 1


def tensors_of(tree: Any) -> list[Tensor]:
    """Those that have memory of their own."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and is_strided(leaf)]


def has_others(tree: Any) -> bool:
    """Whether a tensor is among them that lies otherwise: sparse, nested."""
    return any(isinstance(leaf, Tensor) and not is_strided(leaf) for leaf in tree_leaves(tree))


def has_packed(tree: Any) -> bool:
    """Whether weights are among them that only their operator can read, such as quantised ones."""
    return any(isinstance(leaf, torch.ScriptObject) for leaf in tree_leaves(tree))


def is_strided(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided


def _is_data(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _is_number(one: Any) -> bool:
    return isinstance(one, int | float | complex) and not isinstance(one, bool)
