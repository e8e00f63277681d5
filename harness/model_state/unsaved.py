"""What no checkpoint holds: state of the network's modules and of parts that is no buffer.

Parameters and buffers are saved whole, and so is an optimizer's state. A counter that a module
keeps for itself (self.calls += 1) begins anew when the run is resumed; here such state is found
wherever an own part can keep it, and named, not saved.
"""

import sys
from collections.abc import Collection, Iterator, Mapping

from torch import nn

from harness.model_state.attributes import NETWORK, Unknown, Values, attribute_values

OPTIMIZER = "optimizer"
WAYS_OUT = {
    NETWORK: "register it as a buffer (self.register_buffer)",
    OPTIMIZER: "put it into its state (self.state, or an entry of self.param_groups)",
}
OF_PARTS = (
    "nothing that a part keeps is saved: compute it from what the part is given, or register it as "
    "a buffer of the network"
)


class UnsavedState:
    """Compares what is kept with what was at the run's start, which a resumed run begins with."""

    def __init__(self) -> None:
        self._before: Values | None = None
        self._parts: Mapping[str, object] = {}
        self._trained: nn.Module | None = None
        self._of_training: Mapping[str, object] = {}
        self._named: set[str] = set()

    def begin(self, network: nn.Module, parts: Mapping[str, object]) -> None:
        """The network has made a forward pass: what the first one sets up is no change."""
        self._parts = parts
        self._before = attribute_values(network, parts)

    def begin_training(self, network: nn.Module, parts: Mapping[str, object]) -> None:
        """parts: those that are made for this training; a resumed one makes them anew."""
        self._trained, self._of_training = network, parts
        now, before = self._now(network), self._before or {}
        kept = {key: value for key, value in before.items() if key[0] not in parts}
        self._before = kept | {key: value for key, value in now.items() if key[0] in parts}

    def warn_changes(self, network: nn.Module) -> None:
        """Warns once of all that has changed, and of what cannot be compared."""
        now = self._now(network)
        before = now if self._before is None else self._before
        unknown = {key for key, value in now.items() if value is Unknown}
        changed = {key for key in now if now[key] != before.get(key, _Absent)} - unknown
        self._tell([key for key in now if key in changed], "changed since the run began")
        self._tell([key for key in now if key in unknown], "cannot be looked into")

    def _now(self, network: nn.Module) -> Values:
        more = self._of_training if network is self._trained else {}
        return attribute_values(network, {**self._parts, **more})

    def _tell(self, keys: Collection[tuple[str, str]], what: str) -> None:
        new = [(root, name) for root, name in keys if name not in self._named]
        self._named.update(name for _, name in new)
        for names, way_out in _sorted_out(new):
            print(
                f"warning: {', '.join(names)} {what}, and no checkpoint holds it: interrupted and "
                f"resumed, the run may end in other records; {way_out}",
                file=sys.stderr,
            )


class _Absent:
    """Stands for no value."""


def _sorted_out(found: Collection[tuple[str, str]]) -> Iterator[tuple[list[str], str]]:
    for way_out in (*WAYS_OUT.values(), OF_PARTS):
        names = [name for root, name in found if WAYS_OUT.get(root, OF_PARTS) == way_out]
        if names:
            yield names, way_out
