"""Follows the ids of parameters through one forward pass, operator by operator."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.groups.ids import Ids, IdTable
from harness.groups.labels import Labels
from harness.groups.operators.call import Call
from harness.groups.operators.norms import MODULES
from harness.groups.operators.rules import RULES
from harness.vocabulary.nested import iter_tensors, map_tensors
from harness.vocabulary.tensors import fixed_mode
from harness.vocabulary.traceable import traceable, writable

OUTPUT = "it is an output of the model"


class Trace(TorchDispatchMode):
    """Joins ids in `table` as the operators of a forward pass demand.

    An operator without a rule pins what it reads: no unit that reaches it can be removed.
    """

    def __init__(self, model: nn.Module):
        super().__init__()  # type: ignore[no-untyped-call]
        self.table = IdTable(model)
        self.labels = Labels(self.table)
        self.modules: list[tuple[str, nn.Module]] = []  # that are being called, outermost first
        self._silent = 0  # calls of modules that have a rule of their own

    @property
    def module(self) -> str:
        return self.modules[-1][0] if self.modules else ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        outs = list(iter_tensors(out))
        arguments = _bound(func, args, kwargs)
        call = Call(func._schema.name.rpartition("::")[2], arguments, outs)
        self.labels.keep_alive([*call.tensors(), *outs])
        if not self._silent:
            self._follow(call, func._schema.is_mutable)
        return out

    def _follow(self, call: Call, writes: bool) -> None:
        if not any(self.labels.axes(tensor) for tensor in call.tensors()):
            for out in call.outs:
                self.labels.put(out, [])
            return
        before = {id(out): self.labels.ids(out) for out in call.outs if writes}
        rule = RULES.get(call.name) or RULES.get(call.name.rstrip("_"))
        if rule is None:
            self.refuse(call)
        else:
            rule(self, call)
        for out in call.outs if writes else ():
            after = self.labels.ids(out)
            same = len(after) == len(before[id(out)]) and all(map(_equal, after, before[id(out)]))
            if _is_part(out) and not same:
                self.pin(call.tensors(), f"{call.name} writes it into a part of a tensor")

    def refuse(self, call: Call) -> None:
        """Pins all that the operator reads; its results have no ids."""
        self.pin(call.tensors(), f"operator {call.name} has no rule")
        for out in call.outs:
            self.labels.put(out, [])

    def pin(self, what: Sequence[Tensor | Ids], why: str) -> None:
        """Pins the ids of tensors, or ids, for a reason, to which the module is added."""
        where = self._where()
        for item in what:
            for ids in self.labels.ids(item) if isinstance(item, Tensor) else [item]:
                self.table.pin(ids, f"{why}{where}")

    def tie(self, one: Ids | None, other: Ids | None, why: str) -> None:
        """Joins the ids of two dimensions that must have one size; pins one if it is alone."""
        if one is None and other is None:
            return
        if one is None or other is None or len(one) != len(other):
            self.pin([ids for ids in (one, other) if ids is not None], why)
        else:
            self.table.join(one, other)

    def _where(self) -> str:
        if not self.module:
            return ""
        name, module = self.modules[-1]
        return f" in {name} ({type(module).__name__})"

    @contextmanager
    def following(self, model: nn.Module) -> Iterator[None]:
        """Keeps `modules` up to date while the model runs."""
        handles = []
        for name, module in model.named_modules():
            rule = MODULES.get(type(module).__name__)
            handles += [
                module.register_forward_pre_hook(self._entering(name, rule is not None)),
                module.register_forward_hook(self._leaving(rule), always_call=True),
            ]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, name: str, has_rule: bool) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            self.modules.append((name, module))
            self._silent += has_rule

        return hook

    def _leaving(self, rule: Any) -> Any:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            if rule is not None:
                self._silent -= 1
                rule(self, module, inputs, outputs)
            self.modules.pop()

        return hook


def _is_part(tensor: Tensor) -> bool:
    return tensor.numel() * tensor.element_size() != tensor.untyped_storage().nbytes()


def _equal(one: Ids, other: Ids) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def _bound(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns all arguments of an operator by name, its defaults included."""
    schema = func._schema.arguments
    given = dict(zip((argument.name for argument in schema), args, strict=False)) | kwargs
    return {a.name: given.get(a.name, a.default_value) for a in schema}


def trace(model: nn.Module, example_input: Any) -> IdTable:
    """Runs the model once in eval mode; the model comes back as it was.

    example_input: one argument, or a dict of keyword arguments; nested tensors are copied.
    """
    tracer = Trace(model)
    inputs = map_tensors(example_input, writable)
    with traceable(model), fixed_mode(model, False), tracer.following(model):
        outputs = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    tracer.pin(list(iter_tensors(outputs)), OUTPUT)
    return tracer.table
