"""Decides from the heartbeats of all ranks which rank is lost. Plain numbers, no model."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from harness.system.errors import RESUME_HINT

NEVER = 10**9  # rounds
# Part of the name of a collective that a component calls.
CALLED_BY_PART = "called by a component"

# By field of Timeouts. The finding of another rank comes before own findings.
REASONS = {
    "lost": "{sign.lost}",
    "left": "{name} left with {sign.left}",
    "silent": "{name} has given no sign of life for {seconds:.0f} s",
    "behind": "{name} has made no progress for {seconds:.0f} s while other ranks wait for it{all}",
    "apart": "no rank has made progress for {seconds:.0f} s: they wait for each other{all}",
}


def remedy(lost: str) -> str:
    """Returns what to do about a lost rank. A component would fail again in the same way."""
    if CALLED_BY_PART not in lost:
        return RESUME_HINT
    return "let the part call it on every rank at the same steps, or leave it out"


@dataclass
class Heartbeat:
    """Holds what a rank reports about itself.

    Args:
        beats: Counts rounds of the watchdog.
        progress: Counts marks that all ranks pass.
        ticks: Counts marks of this rank alone.
        at: Collective in which this rank waits for the other ranks.
        last: That collective, or the one before.
        left: Error with which this rank leaves.
        lost: Reason for giving up, which names another rank.
        gone: True if this rank has left the group and reads no heartbeats any more.
    """

    beats: int = 0
    progress: int = 0
    ticks: int = 0
    at: str = ""
    last: str = ""
    left: str = ""
    lost: str = ""
    gone: bool = False

    @property
    def is_leaving(self) -> bool:
        return bool(self.gone or self.left or self.lost)

    @property
    def moves(self) -> tuple[int, int]:
        return self.progress, self.ticks

    @property
    def where(self) -> str:
        if self.at:
            return f"waits in {self.at}"
        return f"was last in {self.last}" if self.last else "has reached none yet"


@dataclass(frozen=True)
class Timeouts:
    """Holds how many rounds a state of another rank may last before this rank gives up.

    Args:
        silent: No heartbeat.
        behind: Less progress than the other ranks, and no movement.
        left: Left with an error.
        lost: Has given up another rank.
        apart: No rank moves while some wait and none is behind.
    """

    silent: int = NEVER
    behind: int = NEVER
    left: int = NEVER
    lost: int = NEVER
    apart: int = NEVER


@dataclass(frozen=True)
class PeerState:
    """Holds the last heartbeat of a rank and the number of rounds that each state has lasted."""

    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    silent: int = 0
    behind: int = 0
    left: int = 0
    lost: int = 0
    apart: int = 0

    def next(self, heartbeat: Heartbeat, front: int, at_rest: bool) -> "PeerState":
        before = self.heartbeat
        moved = heartbeat.moves != before.moves
        return PeerState(
            replace(heartbeat),
            # A rank that leaves is named with its error, not for the silence that follows.
            silent=0
            if heartbeat.is_leaving or heartbeat.beats != before.beats
            else self.silent + 1,
            behind=0
            if heartbeat.is_leaving or moved or heartbeat.progress == front
            else self.behind + 1,
            left=self.left + 1 if heartbeat.left else 0,
            lost=self.lost + 1 if heartbeat.lost else 0,
            apart=self.apart + 1 if at_rest and heartbeat.at else 0,
        )


class HeartbeatTable:
    """Keeps the last heartbeat of every rank, as seen by this one.

    Ages are counted in polling rounds, not seconds, so that a suspended machine does not make ranks
    look dead.
    """

    def __init__(self, names: Sequence[str], round_s: float):
        self.names, self.round_s = names, round_s
        self.seen = [PeerState() for _ in names]

    def update(self, heartbeats: Sequence[Heartbeat]) -> None:
        front = max(sign.progress for sign in heartbeats)
        moves = [sign.moves for sign in heartbeats]
        at_rest = moves == [state.heartbeat.moves for state in self.seen]
        # Replaces the whole list, because another thread may be reading it.
        self.seen = [
            state.next(sign, front, at_rest)
            for state, sign in zip(self.seen, heartbeats, strict=True)
        ]

    def find_lost(self, timeouts: Timeouts) -> str | None:
        """Returns the lost rank and the reason, or None.

        >>> table = HeartbeatTable(["rank 0", "rank 1"], round_s=0.5)
        >>> for beat in range(10):
        ...     table.update([Heartbeat(beats=beat), Heartbeat(beats=min(beat, 5))])
        >>> table.find_lost(Timeouts(silent=4))
        'rank 1 has given no sign of life for 2 s'
        """
        for state, reason in REASONS.items():
            rounds = [getattr(peer, state) for peer in self.seen]
            rank = rounds.index(max(rounds))
            if rounds[rank] >= getattr(timeouts, state):
                seconds = rounds[rank] * self.round_s
                name, sign = self.names[rank], self.seen[rank].heartbeat
                where = self._everyone()
                return reason.format(name=name, sign=sign, seconds=seconds, all=where)
        return None

    def _everyone(self) -> str:
        """Returns the location of each rank if any has reached a collective."""
        if not any(state.heartbeat.last for state in self.seen):
            return ""
        texts = (f"rank {rank} {state.heartbeat.where}" for rank, state in enumerate(self.seen))
        return f" ({'; '.join(texts)})"

    def remaining(self, rank: int, timeouts: Timeouts) -> set[int]:
        """Returns the other ranks that are in the group and not silent for too long."""
        return {
            other
            for other, state in enumerate(self.seen)
            if other != rank and not state.heartbeat.gone and state.silent < timeouts.silent
        }
