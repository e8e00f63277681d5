"""Who of the ranks is lost, by what each of them says of itself. Plain numbers, no network."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

NEVER = 10**9  # rounds
RESUME_HINT = "the same command goes on from the last checkpoint"
# In the name of a collective that is not the harness's.
CALLED_BY_PART = "asked of torch by a part"

# By field of Patience. What another rank has found comes before own findings.
REASONS = {
    "lost": "{sign.lost}",
    "left": "{name} left with {sign.left}",
    "silent": "{name} has given no sign of life for {seconds:.0f} s",
    "behind": "{name} has made no progress for {seconds:.0f} s while other ranks wait for it{all}",
    "apart": "no rank has made progress for {seconds:.0f} s: they wait for each other{all}",
}


def remedy(lost: str) -> str:
    """What to do about a lost rank: what a part does it would do again."""
    if CALLED_BY_PART not in lost:
        return RESUME_HINT
    return "let the part call it on every rank at the same steps, or leave it out"


@dataclass
class Heartbeat:
    """What a rank says of itself.

    beats: its watchdog lives. progress: marks that all ranks pass; ticks: marks of its own.
    at: the collective where it waits for the others to come. last: that, or the one before.
    left: the error that it leaves with. lost: why it gives up, which names another rank.
    gone: it is out of the group, and reads no signs any more.
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
        return f"was last in {self.last}" if self.last else "came to none yet"


@dataclass(frozen=True)
class Timeouts:
    """How many rounds a rank may be silent, be behind the others without moving, have left with
    an error, or have given up another rank, before this one gives up; apart: how many may pass
    without a move of any rank while some wait and nobody is behind."""

    silent: int = NEVER
    behind: int = NEVER
    left: int = NEVER
    lost: int = NEVER
    apart: int = NEVER


@dataclass(frozen=True)
class PeerState:
    """The last sign of a rank, and for how many rounds it has been so."""

    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    silent: int = 0
    behind: int = 0
    left: int = 0
    lost: int = 0
    apart: int = 0

    def next(self, sign: Heartbeat, front: int, at_rest: bool) -> "PeerState":
        old = self.heartbeat
        moved = sign.moves != old.moves
        return PeerState(
            replace(sign),
            # A rank that leaves is named for why, not for the silence that follows.
            silent=0 if sign.is_leaving or sign.beats != old.beats else self.silent + 1,
            behind=0 if sign.is_leaving or moved or sign.progress == front else self.behind + 1,
            left=self.left + 1 if sign.left else 0,
            lost=self.lost + 1 if sign.lost else 0,
            apart=self.apart + 1 if at_rest and sign.at else 0,
        )


class HeartbeatTable:
    """What one rank has seen of all, itself among them.

    Counted in rounds of its own: by a clock, a pause of the whole machine would count against
    whoever wakes up last.
    """

    def __init__(self, names: Sequence[str], round_s: float):
        self.names, self.round_s = names, round_s
        self.seen = [PeerState() for _ in names]

    def update(self, signs: Sequence[Heartbeat]) -> None:
        front = max(sign.progress for sign in signs)
        moves = [sign.moves for sign in signs]
        at_rest = moves == [seen.heartbeat.moves for seen in self.seen]
        # Replaced as a whole: another thread may be reading.
        self.seen = [
            seen.next(sign, front, at_rest) for seen, sign in zip(self.seen, signs, strict=True)
        ]

    def find_lost(self, patience: Timeouts) -> str | None:
        """Who is lost, and why; None if nobody is.

        >>> roll = Roll(["rank 0", "rank 1"], round_s=0.5)
        >>> for beat in range(10):
        ...     roll.see([Sign(beats=beat), Sign(beats=min(beat, 5))])
        >>> roll.culprit(Patience(silent=4))
        'rank 1 has given no sign of life for 2 s'
        """
        for what, said in REASONS.items():
            rounds = [getattr(seen, what) for seen in self.seen]
            rank = rounds.index(max(rounds))
            if rounds[rank] >= getattr(patience, what):
                seconds = rounds[rank] * self.round_s
                name, sign, everyone = self.names[rank], self.seen[rank].heartbeat, self._everyone()
                return said.format(name=name, sign=sign, seconds=seconds, all=everyone)
        return None

    def _everyone(self) -> str:
        """Where each rank is, if any has come to a collective."""
        if not any(seen.heartbeat.last for seen in self.seen):
            return ""
        said = (f"rank {rank} {seen.heartbeat.where}" for rank, seen in enumerate(self.seen))
        return f" ({'; '.join(said)})"

    def remaining(self, rank: int, patience: Timeouts) -> set[int]:
        """The ranks other than this one that are in the group and not silent for too long."""
        return {
            other
            for other, seen in enumerate(self.seen)
            if other != rank and not seen.heartbeat.gone and seen.silent < patience.silent
        }
