"""Whether an error says that somebody of the group is missing."""

from torch.distributed import DistError

from harness.failures import RankLost

# How gloo and nccl say it, in a plain RuntimeError.
OF_THE_GROUP = ("gloo", "nccl", "by peer", "broken pipe", "socket")


def is_of_the_group(error: BaseException | None) -> bool:
    if error is None or isinstance(error, RankLost):
        return False
    said = type(error) is RuntimeError and any(word in str(error).lower() for word in OF_THE_GROUP)
    return said or isinstance(error, DistError) or is_of_the_group(error.__cause__)
