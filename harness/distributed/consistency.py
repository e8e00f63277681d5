"""Compares the values of ranks and makes the errors for differences.

No rank is blamed without proof.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch.distributed import DistError

from harness.system.errors import RankLost, RanksDisagree

# Words of gloo and nccl in a plain RuntimeError.
OF_THE_GROUP = ("gloo", "nccl", "by peer", "broken pipe", "socket")

Digests = Mapping[str, str]  # tensor name -> digest
NAMED = 5  # differing tensors that an error names


@dataclass(frozen=True)
class CollectiveCall:
    """Describes the collective that a rank has reached.

    Args:
        name: Description such as "mean of 3 tensors".
        location: Source line of the call.
        layout: Properties that must be equal on all ranks, such as the shapes by name.
    """

    name: str
    location: str
    layout: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} ({self.location})"


def disagreement_error(compared: str, digests: Sequence[Digests]) -> RanksDisagree | None:
    """Returns the error to raise if the ranks' digests differ, else None.

    Ranks that differ from more than half of all ranks are named. Without such a majority it is
    unknown which ranks are right.

    >>> print(disagreement_error("masks", [{"w": "aa"}, {"w": "bb"}]))
    masks: ranks 0 and 1 differ (w); look for randomness that the seed does not decide, for code \
that changes them on one rank only, or for faulty memory
    >>> str(disagreement_error("masks", [{"w": "aa"}, {"w": "bb"}, {"w": "aa"}])).partition(";")[0]
    'masks: rank 1 differs from the others (w)'
    """
    alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for rank, digest in enumerate(digests):
        alike.setdefault(tuple(sorted(digest.items())), []).append(rank)
    if len(alike) < 2:
        return None
    groups = sorted(alike.values(), key=len)
    names = sorted({name for digest in digests for name in _differing_names(digest, digests)})
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return RanksDisagree(
        f"{compared}: {_differing_ranks(groups, len(digests))} ({', '.join(names[:NAMED])}{more}); "
        "look for randomness that the seed does not decide, for code that changes them on one rank "
        "only, or for faulty memory"
    )


def mismatch_error(arrivals: Sequence[CollectiveCall]) -> RanksDisagree:
    """Returns the error to raise if the ranks have reached different collectives.

    >>> first = CollectiveCall("mean", "a.py:1", {"w": "(2,)"})
    >>> second = CollectiveCall("mean", "a.py:1", {})
    >>> str(mismatch_error([first, second])).partition(";")[0]
    'ranks reached different collectives: rank 0: mean (a.py:1), w (2,)'
    """
    layouts = [call.layout for call in arrivals]
    calls = (
        ", ".join([f"rank {rank}: {call}", *_describe_differences(call.layout, layouts)])
        for rank, call in enumerate(arrivals)
    )
    return RanksDisagree(
        f"ranks reached different collectives: {'; '.join(calls)}; look for a component "
        "that calls one on some ranks only, or with other tensors"
    )


def _differing_ranks(groups: list[list[int]], count: int) -> str:
    """Returns which ranks differ. `groups` are lists of equal ranks, the largest last."""
    *rest, most = groups
    if len(most) > count / 2:
        outvoted = sorted(rank for group in rest for rank in group)
        return f"{_ranks(outvoted)} {'differs' if len(outvoted) == 1 else 'differ'} from the others"
    if len(most) == 1:
        return f"{_ranks(range(count))} differ"
    return f"{', '.join(map(_ranks, sorted(groups)))} differ from each other"


def _ranks(ranks: Iterable[int]) -> str:
    *some, last = map(str, ranks)
    return f"ranks {', '.join(some)} and {last}" if some else f"rank {last}"


def _differing_names(digests: Digests, all_digests: Sequence[Digests]) -> set[str]:
    """Returns names whose digest differs on some rank, or is missing there."""
    names = digests.keys() | {name for digest in all_digests for name in digest}
    return {
        name
        for name in names
        if any(digests.get(name) != digest.get(name) for digest in all_digests)
    }


def _describe_differences(
    layout: Mapping[str, str], layouts: Sequence[Mapping[str, str]]
) -> list[str]:
    """Describes the entries of a layout that are not the same on all ranks."""
    names = sorted(_differing_names(layout, layouts))
    texts = [f"{name} {layout[name]}" if name in layout else f"no {name}" for name in names]
    return [*texts[:NAMED], *([f"{len(texts) - NAMED} more"] if len(texts) > NAMED else [])]


def is_group_error(error: BaseException | None) -> bool:
    """Returns True if an error means that a rank of the group is missing."""
    if error is None or isinstance(error, RankLost):
        return False
    is_from_backend = type(error) is RuntimeError and any(
        word in str(error).lower() for word in OF_THE_GROUP
    )
    return is_from_backend or isinstance(error, DistError) or is_group_error(error.__cause__)
