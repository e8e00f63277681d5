"""Contains everything that uses torch.distributed. One process behaves as a group of one."""

from harness.distributed.options import Options
from harness.distributed.process_group import ranks_of_environment
from harness.distributed.ranks import Ranks

__all__ = ["Options", "Ranks", "ranks_of_environment"]
