"""Warns of state of a model's modules and of components that no checkpoint holds.

Parameters, buffers and the optimizer's state are saved whole. A counter that a module keeps in an
attribute (self.calls += 1) starts again when the run resumes. Such state is found in all user
components, and named, not saved.
"""

import sys
from collections.abc import Collection, Iterator, Mapping

from torch import nn

from harness.model_state.attributes import MODEL, Unknown, Values, attribute_values

OPTIMIZER = "optimizer"
WAYS_OUT = {
    MODEL: "register it as a buffer (self.register_buffer)",
    OPTIMIZER: "put it into its state (self.state, or an entry of self.param_groups)",
}
OF_PARTS = (
    "attributes of components are not saved: compute it from the arguments, or register it as a "
    "buffer of the model"
)


class UnsavedState:
    """Compares attributes with those at the run's start, with which a resumed run begins."""

    def __init__(self) -> None:
        self._before: Values | None = None
        self._parts: Mapping[str, object] = {}
        self._trained: nn.Module | None = None
        self._of_training: Mapping[str, object] = {}
        self._named: set[str] = set()

    def begin(self, model: nn.Module, parts: Mapping[str, object]) -> None:
        """Reads the attributes after the model's first forward pass, whose changes do not count."""
        self._parts = parts
        self._before = attribute_values(model, parts)

    def begin_training(self, model: nn.Module, parts: Mapping[str, object]) -> None:
        """Reads the attributes of `parts` that are made for this training.

        A resumed one makes them again.
        """
        self._trained, self._of_training = model, parts
        now, before = self._now(model), self._before or {}
        kept = {key: value for key, value in before.items() if key[0] not in parts}
        self._before = kept | {key: value for key, value in now.items() if key[0] in parts}

    def warn_changes(self, model: nn.Module) -> None:
        """Warns once of everything that has changed, and of what cannot be compared."""
        now = self._now(model)
        before = now if self._before is None else self._before
        unknown = {key for key, value in now.items() if value is Unknown}
        changed = {key for key in now if now[key] != before.get(key, _Absent)} - unknown
        self._tell([key for key in now if key in changed], "changed since the run began")
        self._tell([key for key in now if key in unknown], "cannot be looked into")

    def _now(self, model: nn.Module) -> Values:
        more = self._of_training if model is self._trained else {}
        return attribute_values(model, {**self._parts, **more})

    def _tell(self, keys: Collection[tuple[str, str]], change: str) -> None:
        new = [(root, name) for root, name in keys if name not in self._named]
        self._named.update(name for _, name in new)
        for names, remedy in _sorted_out(new):
            print(
                f"warning: {', '.join(names)} {change}, and no checkpoint holds it: interrupted "
                f"and resumed, the run may end in other records; {remedy}",
                file=sys.stderr,
            )


class _Absent:
    """Represents a missing value."""


def _sorted_out(keys: Collection[tuple[str, str]]) -> Iterator[tuple[list[str], str]]:
    for remedy in (*WAYS_OUT.values(), OF_PARTS):
        names = [name for root, name in keys if WAYS_OUT.get(root, OF_PARTS) == remedy]
        if names:
            yield names, remedy
