"""How a run saves itself on the way, and stops when it is asked to: all ranks at one step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from harness.distributed.ranks import Ranks
from harness.distributed.stop_signal import StopSignal
from harness.model_state.unsaved import UnsavedState
from harness.run_folder.checkpoints import STEP, Checkpoints, Policy, State
from harness.system.loaded_sources import adopt_if_current, undigested_sources
from harness.system.signals import Stopped


@dataclass(frozen=True)
class Checkpointer:
    """What dense training and the levels share: policy, signals, and under which circumstances.

    numerics, code: what must be equal for a training to go on bit for bit; code also for all
    else. unsaved: names what changes without a place in a checkpoint.
    """

    ranks: Ranks
    stop: StopSignal
    policy: Policy
    numerics: dict[str, Any]
    code: str
    unsaved: UnsavedState = field(default_factory=UnsavedState)

    def checkpoints(self, folder: Path) -> Checkpoints:
        return Checkpoints(folder / "checkpoints", self.policy.keep)

    def is_due(self, step: int) -> bool:
        """Whether to save after this step of an epoch; the same on every rank, which all ask."""
        asked = self.stop.poll()
        every = self.policy.every_steps
        return bool(asked) or (every is not None and step % every == 0)

    def save(
        self, files: Checkpoints, name: str, kind: str, state: State, network: nn.Module
    ) -> None:
        """Rank 0 writes the state, in which the network's is; then the ranks stop, if any of them
        was asked to.

        Raises:
            CannotWrite: on every rank.
            Stopped: on every rank.
        """
        circumstances = {
            "numerics": self.numerics,
            "code": self.code,
            "unnamed": undigested_sources(),
        }
        self.ranks.on_main(lambda: files.save(name, kind, {**state, **circumstances}))
        if self.ranks.is_main:
            self.unsaved.warn_changes(network)
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """
        Raises:
            Stopped: on every rank, if a signal reached any of them.
        """
        asked = self.stop.poll_now()
        if asked:
            raise Stopped(asked)

    def latest(
        self, files: Checkpoints, fits: Callable[[State], str] = lambda state: ""
    ) -> State | None:
        """Rank 0's newest state that fits, on every rank."""

        def usable(kind: str, state: State) -> str:
            return self._differs(kind, state) or fits(state)

        return self.ranks.on_main(lambda: files.newest(usable))

    def _differs(self, kind: str, state: State) -> str:
        if state["code"] != self.code or not adopt_if_current(state["unnamed"]):
            return "was made by other code"
        if kind == STEP and state["numerics"] != self.numerics:
            return f"is inside a training on other numerics ({_changes(state, self.numerics)})"
        return ""


def _changes(state: State, now: dict[str, Any]) -> str:
    before = state["numerics"]
    return ", ".join(f"{k} {before.get(k)} -> {now[k]}" for k in now if before.get(k) != now[k])
