"""Whether all ranks hold the same tensors: digests are compared, and who is odd is named."""

from collections import Counter
from collections.abc import Sequence

from harness.failures import RanksDisagree


def disagreement(what: str, digests: Sequence[dict[str, str]]) -> RanksDisagree | None:
    """The error to raise if the ranks' digests (tensor name -> digest) are not all equal.

    The majority is right; without one, rank 0 is.

    >>> print(disagreement("masks", [{"w": "aa"}, {"w": "bb"}]))
    masks differ from rank 0's (rank 1: w); look for randomness that the seed does not decide, \
for code that changes them on one rank only, or for faulty memory
    """
    votes = Counter(tuple(sorted(digest.items())) for digest in digests)
    (winner, most), *_ = votes.most_common(1)
    right = dict(winner) if most > len(digests) / 2 else digests[0]
    odd = {rank: _differing(right, other) for rank, other in enumerate(digests)}
    odd = {rank: names for rank, names in odd.items() if names}
    if not odd:
        return None
    found = "; ".join(f"rank {rank}: {', '.join(names)}" for rank, names in odd.items())
    reference = "rank 0's" if 0 not in odd else "the other ranks'"
    return RanksDisagree(
        f"{what} differ from {reference} ({found}); look for randomness that the seed does not "
        "decide, for code that changes them on one rank only, or for faulty memory"
    )


def _differing(first: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(
        name for name in first.keys() | other.keys() if first.get(name) != other.get(name)
    )
