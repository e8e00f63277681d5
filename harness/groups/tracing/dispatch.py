"""Runs a model and follows the ids of its parameters, operator by operator."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from harness.groups.ids import IdTable
from harness.groups.layers.norms import is_rms_norm
from harness.groups.operators.call import Call
from harness.groups.operators.norms import rms_norm_module
from harness.groups.operators.rules import RULES
from harness.groups.operators.zeros import gives_zero
from harness.groups.tracing.trace import Trace
from harness.groups.tracing.traceable import traceable, writable
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.nested import iter_tensors, map_tensors
from harness.vocabulary.tensors import fixed_mode

OUTPUT = "it is an output of the model"
LEAVING = ("__array__", "__dlpack__", "numpy", "tolist")  # methods that no operator shows


def follow(model: nn.Module, example_input: Any) -> IdTable:
    """Runs the model once in eval mode; the model comes back as it was.

    If this calls not all of its layers, as those that classify inside a network in training, it
    runs in train mode too. An operator without a rule pins what it reads: no unit that reaches it
    can be removed.

    example_input: one argument, or a dict of keyword arguments; nested tensors are copied.
    """
    trace = Trace(model)
    called = _run(trace, model, example_input, training=False)
    products = list(trace.table.products)
    if any(_has_tensors(module) and module not in called for module in model.modules()):
        # What the example does not allow in train mode is not for the groups to say.
        with suppress(RuntimeError, TypeError, ValueError, LookupError):
            _run(trace, model, example_input, training=True)
    trace.table.products = products  # of one pass
    return trace.table


def _run(trace: Trace, model: nn.Module, example_input: Any, training: bool) -> set[nn.Module]:
    """Follows one pass; returns the modules that were called."""
    inputs = map_tensors(example_input, writable)
    trace.modules.clear()
    with traceable(model), fixed_mode(model, training), _following(trace, model) as called:
        outputs = call_model(model, inputs)
    trace.pin(_returned(outputs), OUTPUT)
    return called


def _has_tensors(module: nn.Module) -> bool:
    # The output layer of nn.MultiheadAttention is never called as a module.
    inner = isinstance(module, NonDynamicallyQuantizableLinear)
    return bool(module._parameters) and not inner


def _returned(outputs: Any) -> list[Tensor]:
    """Returns the tensors of an output, also those that an object of any class holds."""
    return list(iter_tensors(outputs)) or list(iter_tensors(getattr(outputs, "__dict__", {})))


class _Dispatch(TorchDispatchMode):
    """Applies the rule of each operator.

    silent: counts calls of modules that have a rule of their own, inside which operators have none.
    """

    def __init__(self, trace: Trace):
        super().__init__()  # type: ignore[no-untyped-call]
        self._trace = trace
        self.silent = 0
        self.called: set[nn.Module] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        outs = list(iter_tensors(out))
        name = func._schema.name.rpartition("::")[2]
        call = Call(name, func, _bound(func, args, kwargs or {}), outs)
        labels = self._trace.labels
        labels.keep_alive([*call.tensors(), *outs])
        self._trace.read(call.tensors())
        if self.silent:
            return out
        if not any(labels.axes(tensor) for tensor in call.tensors()):
            for made in outs:
                labels.put(made, [])
            return out
        rule = RULES.get(name) or RULES.get(name.rstrip("_"))
        if rule is None:
            self._trace.refuse(name, call.tensors(), outs)
        else:
            rule(self._trace, call)
            labels.mark_zero(outs, call.tensors(), gives_zero(labels, call))
        return out


class _Leaving(TorchFunctionMode):
    """Pins units whose values leave torch."""

    def __init__(self, trace: Trace):
        super().__init__()
        self._trace = trace

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in LEAVING:
            self._trace.pin(list(iter_tensors(list(args))), "its values leave torch")
        return func(*args, **(kwargs or {}))


@contextmanager
def _following(trace: Trace, model: nn.Module) -> Iterator[set[nn.Module]]:
    """Follows operators, and which module calls them, inside the context; gives those called."""
    dispatch, handles = _Dispatch(trace), []
    for name, module in model.named_modules():
        handles += _hooks(trace, dispatch, name, module)
    try:
        with _Leaving(trace), dispatch:
            yield dispatch.called
    finally:
        for handle in handles:
            handle.remove()


def _hooks(trace: Trace, dispatch: _Dispatch, name: str, module: nn.Module) -> list[Any]:
    rule = rms_norm_module if is_rms_norm(module) else None

    def enter(module: nn.Module, inputs: Any) -> None:
        trace.modules.append((name, module))
        dispatch.called.add(module)
        dispatch.silent += rule is not None

    def leave(module: nn.Module, inputs: Any, outputs: Any) -> None:
        if rule is not None:
            dispatch.silent -= 1
            rule(trace, module, inputs, outputs)
        trace.modules.pop()

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


def _bound(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns all arguments of an operator by name, its defaults included."""
    schema = func._schema.arguments
    given = dict(zip((argument.name for argument in schema), args, strict=False)) | kwargs
    return {a.name: given.get(a.name, a.default_value) for a in schema}
