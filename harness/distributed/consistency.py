"""What ranks compare, and the errors where they are not alike: nobody is accused without proof."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch.distributed import DistError

from harness.system.errors import RankLost, RanksDisagree

# How gloo and nccl say it, in a plain RuntimeError.
OF_THE_GROUP = ("gloo", "nccl", "by peer", "broken pipe", "socket")

Digests = Mapping[str, str]  # of tensors, by name
NAMED = 5  # of the tensors that differ


@dataclass(frozen=True)
class CollectiveCall:
    """The collective that a rank has come to.

    name: in words, as "mean of 3 tensors". place: of the code that asked for it. layout: what of
    it must be equal on all ranks, as the shapes by name.
    """

    name: str
    location: str
    layout: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} ({self.location})"


def disagreement_error(what: str, digests: Sequence[Digests]) -> RanksDisagree | None:
    """The error to raise if the ranks' digests are not all equal.

    Ranks that differ from more than half of all are odd. Where no more than half are alike nobody
    knows who is right.

    >>> print(disagreement("masks", [{"w": "aa"}, {"w": "bb"}]))
    masks: ranks 0 and 1 differ (w); look for randomness that the seed does not decide, for code \
that changes them on one rank only, or for faulty memory
    >>> str(disagreement("masks", [{"w": "aa"}, {"w": "bb"}, {"w": "aa"}])).partition(";")[0]
    'masks: rank 1 differs from the others (w)'
    """
    alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for rank, digest in enumerate(digests):
        alike.setdefault(tuple(sorted(digest.items())), []).append(rank)
    if len(alike) < 2:
        return None
    groups = sorted(alike.values(), key=len)
    names = sorted({name for one in digests for name in _unlike(one, digests)})
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return RanksDisagree(
        f"{what}: {_said(groups, len(digests))} ({', '.join(names[:NAMED])}{more}); look for "
        "randomness that the seed does not decide, for code that changes them on one rank only, or "
        "for faulty memory"
    )


def mismatch_error(arrivals: Sequence[CollectiveCall]) -> RanksDisagree:
    """The error to raise if the ranks have come to collectives that do not belong together.

    >>> here, there = Arrival("mean", "a.py:1", {"w": "(2,)"}), Arrival("mean", "a.py:1", {})
    >>> str(apart([here, there])).partition(";")[0]
    'ranks came to different collectives: rank 0: mean (a.py:1), w (2,)'
    """
    layouts = [one.layout for one in arrivals]
    said = (
        ", ".join([f"rank {rank}: {one}", *_own(one.layout, layouts)])
        for rank, one in enumerate(arrivals)
    )
    return RanksDisagree(
        f"ranks came to different collectives: {'; '.join(said)}; look for a part that asks for "
        "one on some ranks only, or for other tensors there"
    )


def _said(groups: list[list[int]], count: int) -> str:
    """groups: of ranks that are alike, the largest last."""
    *odd, most = groups
    if len(most) > count / 2:
        others = sorted(rank for group in odd for rank in group)
        return f"{_ranks(others)} {'differs' if len(others) == 1 else 'differ'} from the others"
    if len(most) == 1:
        return f"{_ranks(range(count))} differ"
    return f"{', '.join(map(_ranks, sorted(groups)))} differ from each other"


def _ranks(ranks: Iterable[int]) -> str:
    *some, last = map(str, ranks)
    return f"ranks {', '.join(some)} and {last}" if some else f"rank {last}"


def _unlike(one: Digests, every: Sequence[Digests]) -> set[str]:
    """Names whose digest is another one on some rank, or that some rank does not have."""
    names = one.keys() | {name for other in every for name in other}
    return {name for name in names if any(one.get(name) != other.get(name) for other in every)}


def _own(layout: Mapping[str, str], every: Sequence[Mapping[str, str]]) -> list[str]:
    """What of a layout is not the same on all ranks, in words."""
    unlike = sorted(_unlike(layout, every))
    said = [f"{name} {layout[name]}" if name in layout else f"no {name}" for name in unlike]
    return [*said[:NAMED], *([f"{len(said) - NAMED} more"] if len(said) > NAMED else [])]


def is_group_error(error: BaseException | None) -> bool:
    """Whether an error says that somebody of the group is missing."""
    if error is None or isinstance(error, RankLost):
        return False
    said = type(error) is RuntimeError and any(word in str(error).lower() for word in OF_THE_GROUP)
    return said or isinstance(error, DistError) or is_group_error(error.__cause__)
