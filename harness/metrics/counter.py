"""Counts multiply-accumulates of one forward pass, operator by operator."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.metrics import operators
from harness.metrics.operators import Products
from harness.metrics.parameter_flow import ParameterFlow, has_others, has_packed, tensors_of
from harness.metrics.storages import Storages
from harness.vocabulary.given.inputs import Inputs, input_tensors


class MacCounter(TorchDispatchMode):
    """Counts what is multiplied while a model runs inside.

    uses: parameter -> how often each entry is multiplied: one number if all are equally often.
    activations: multiply-accumulates without a parameter.
    """

    supports_higher_order_operators = True

    def __init__(self, parameters: Mapping[str, Tensor], prunable: Iterable[str], inputs: Inputs):
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses: dict[str, int | Tensor] = dict.fromkeys(parameters, 0)
        self.activations = 0
        self._storages = Storages(parameters)
        self._flow = ParameterFlow(self._storages, prunable)
        # Storages whose values the input decides.
        self._dependent = set(map(self._storages.key, input_tensors(inputs)))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if not isinstance(func, OpOverload):
            # It runs functions whose operators are hidden.
            self._flow.uncounted.setdefault(str(func), set())
            return func(*args, **named)
        known = operators.base_name(func) in operators.FORMULAS
        if not known and operators.is_composite(func) and not _nested((args, named)):
            with self:
                result = func.decompose(*args, **named)
            if result is not NotImplemented:
                return result
        out = func(*args, **named)
        self._count(func, args, named, out)
        return out

    def uncounted(self) -> dict[str, list[str]]:
        """Returns by operator the weights that it hides, after the model has run."""
        self._flow.finish()
        return {by: sorted(names) for by, names in sorted(self._flow.uncounted.items())}

    def _count(self, func: Any, args: Sequence[Any], named: Any, out: Any) -> None:
        tensors, outs = tensors_of((args, named)), tensors_of(out)
        keys = set(map(self._storages.key, tensors))
        unseen = has_others((args, named, out))
        if unseen:
            self._flow.add_untracked(str(func), tensors)
        # Tensors of other layouts are not followed: they may hold the input.
        dependent = unseen or not keys.isdisjoint(self._dependent)
        if has_packed((args, named)):
            self._flow.uncounted.setdefault(str(func), set())
        has_parameters = any(map(self._storages.contents, tensors))
        name = operators.base_name(func)
        if name in operators.FORMULAS:
            if has_parameters or dependent:
                for products in operators.FORMULAS[name](args, out):
                    self._multiply(str(func), products)
        elif name in operators.SUMS and has_parameters and self._flow.holds_products(tensors[0]):
            self._count_sum(tensors[0], [*args[1:], named.get("dim")])
        elif (
            has_parameters
            and not unseen
            and (func._schema.is_mutable or keys.isdisjoint(map(self._storages.key, outs)))
        ):
            self._flow.propagate(func, args, named, outs, dependent)
        if dependent and name not in operators.SHAPED:
            self._dependent.update(map(self._storages.key, outs))

    def _multiply(self, by: str, products: Products) -> None:
        weight = self._flow.select_weight(by, products.operands)
        if weight is None:
            self.activations += products.total
            return
        times, rest = divmod(products.total, weight.numel())
        if rest:
            self._flow.add_uncounted(by, self._storages.names(weight))
        self._add_uses(weight, times)

    def _count_sum(self, products: Tensor, arguments: Sequence[Any]) -> None:
        """Counts a sum over dimensions, which may be one number, several, or all (None)."""
        dims = next(
            (argument for argument in arguments if isinstance(argument, int | list | tuple)), []
        )
        dims = [dims] if isinstance(dims, int) else dims
        if self._flow.sums_products(products, dims):
            self._add_uses(products, 1)

    def _add_uses(self, weight: Tensor, times: int) -> None:
        """Adds that every entry of the tensor is multiplied `times` times."""
        whole = self._storages.whole_parameter(weight)
        if whole is not None:
            self.uses[whole] += times
            return
        ids = self._storages.entry_numbers(weight)()
        for name, counts in self._storages.entry_counts(ids).items():
            self.uses[name] = self.uses[name] + counts * times
        self.activations += times * int((ids == 0).count_nonzero())


def _nested(tree: Any) -> bool:
    """True for nested tensors, which answer each operator by operators of their own, endlessly."""
    leaves = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return any(leaf.layout is torch.jagged for leaf in leaves)
