"""Saves, resumes and stops a training on all ranks at one step."""

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
    """Saves and resumes a run, and stops it after a signal.

    Args:
        ranks: Ranks of the run.
        stop: Signals to stop.
        policy: When to save and how many checkpoints to keep.
        numerics: Must be equal to resume inside a training bit for bit.
        code: Digest of the code, which must be equal to resume at all.
        unsaved: Names state that changes and that no checkpoint holds.
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
        """Returns True if the state is to be saved after this step of an epoch.

        Every rank must call it.
        """
        stop_signal = self.stop.poll()
        interval = self.policy.every_steps
        return bool(stop_signal) or (interval is not None and step % interval == 0)

    def save(
        self, files: Checkpoints, name: str, kind: str, state: State, model: nn.Module
    ) -> None:
        """Saves the state on rank 0. Then stops all ranks if any of them received a signal.

        Raises:
            CannotWrite: On every rank.
            Stopped: On every rank.
        """
        circumstances = {
            "numerics": self.numerics,
            "code": self.code,
            "unnamed": undigested_sources(),
        }
        self.ranks.on_main(lambda: files.save(name, kind, {**state, **circumstances}))
        if self.ranks.is_main:
            self.unsaved.warn_changes(model)
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raises Stopped on every rank if any of them received a signal.

        Raises:
            Stopped: On every rank.
        """
        stop_signal = self.stop.poll_now()
        if stop_signal:
            raise Stopped(stop_signal)

    def latest(
        self, files: Checkpoints, fits: Callable[[State], str] = lambda state: ""
    ) -> State | None:
        """Returns rank 0's latest usable state, for which `fits` returns "", on every rank."""

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
