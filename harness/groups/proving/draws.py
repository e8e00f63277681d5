"""Switches random draws off: dropout keeps all, and noise is constant."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.vocabulary.nested import iter_tensors


class RandomOff(TorchDispatchMode):
    """Replaces what operators draw by constants, so that passes of two shapes can be compared.

    Bernoulli draws become their mean p: dropout, stochastic depth and drop path, which divide them
    by p, change nothing. Fused operators get a dropout of 0. Other draws of floats become 0.5.

    `narrows` tells if an operator has converted float64 to a narrower dtype.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.narrows = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        args, kwargs = _without_dropout(func, args, dict(kwargs or {}))
        if name == "native_dropout":
            return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
        output = func(*args, **kwargs)
        self.narrows |= name == "_to_copy" and _is_narrower(args[0], output)
        if torch.Tag.nondeterministic_seeded in func.tags and "dropout_p" not in str(func._schema):
            for drawn in iter_tensors(output):
                _replace(func, drawn, args)
        return output


def _replace(func: Any, drawn: Tensor, args: tuple[Any, ...]) -> None:
    name = func._schema.name.removeprefix("aten::")
    if not drawn.is_floating_point() or name in KNOWN:
        return
    mean: Any = 0.5
    if name.startswith("bernoulli"):
        # Arguments that have their default are left out; bernoulli(p) has p as its first.
        defaults = {argument.name: argument.default_value for argument in func._schema.arguments}
        mean = args[1] if len(args) > 1 else defaults.get("p", args[0])
    drawn.copy_(mean) if isinstance(mean, Tensor) else drawn.fill_(mean)


KNOWN = ("rrelu_with_noise", "rrelu_with_noise_", "lstm", "gru", "_cudnn_rnn")
OFF: dict[str, Any] = {"dropout_p": 0.0, "dropout": 0.0}


def _without_dropout(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    off = {**OFF, **({"training": False} if "rrelu" in func._schema.name else {})}
    changed = list(args)
    for position, argument in enumerate(func._schema.arguments):
        if argument.name in off and position < len(args):
            changed[position] = off[argument.name]
        elif argument.name in off and argument.name in kwargs:
            kwargs[argument.name] = off[argument.name]
    return tuple(changed), kwargs


def _is_narrower(source: Any, output: Any) -> bool:
    wide = isinstance(source, Tensor) and source.dtype == torch.float64
    return wide and output.is_floating_point() and output.dtype != torch.float64
