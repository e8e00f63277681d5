"""Defines a call of an operator, and what a rule is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from harness.groups.tracing.trace import Trace
from harness.vocabulary.nested import iter_tensors


@dataclass(frozen=True)
class Call:
    """Holds one call of an operator: its arguments by the names of its schema, and its results.

    func: calls the operator.
    """

    name: str
    func: Any
    arguments: dict[str, Any]
    outs: list[Tensor]

    def __getitem__(self, key: str) -> Any:
        return self.arguments[key]

    def get(self, *keys: str) -> Any:
        """Returns the first of these arguments that the operator has, or None."""
        return next((self.arguments[key] for key in keys if key in self.arguments), None)

    @property
    def out(self) -> Tensor:
        return self.outs[0]

    def tensors(self) -> list[Tensor]:
        return list(iter_tensors(list(self.arguments.values())))


# A rule joins and pins ids of what a call reads, and gives its results their axes.
Rule = Callable[[Trace, Call], None]
Rules = dict[str, Rule]
