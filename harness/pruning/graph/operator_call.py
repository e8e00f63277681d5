"""Repeats one call of an operator with other values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.vocabulary.nested import iter_tensors

OTHER = 0.7  # of what is not tried as a 0, in a trial: no 0, and no 1 that a product would not show


@dataclass(frozen=True)
class OperatorCall:
    func: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Returns the operator's name without its overload, in place or not."""
        name: str = self.func._opname
        return name.removesuffix("_")

    @property
    def pointwise(self) -> bool:
        return torch.Tag.pointwise in self.func.tags

    @property
    def creates(self) -> bool:
        """True if it takes at most the shape of its arguments."""
        return self.name.endswith("_like") or self.name.startswith("new_")

    def tensors(self) -> Iterator[Tensor]:
        return iter_tensors([*self.args, *self.kwargs.values()])

    def gives_zero(self, value: Callable[[Tensor], Tensor]) -> bool:
        """True if the first output is 0 everywhere with other values in place of its tensors.

        value: what takes a tensor's place; it must be a new tensor, as the operator may write to
        it.
        """

        def substituted(argument: Any) -> Any:
            return value(argument) if isinstance(argument, Tensor) else argument

        outs = self.func(
            *[substituted(argument) for argument in self.args],
            **{key: substituted(argument) for key, argument in self.kwargs.items()},
        )
        made = next(iter_tensors(outs), None)  # before a mask, such as that of a quantisation
        return made is not None and not bool(made.count_nonzero())
