"""All that this project knows of torch.distributed. One process behaves as a group of one."""

from harness.distributed.options import Options
from harness.distributed.process_group import is_main_process, ranks_of_environment
from harness.distributed.ranks import Ranks

__all__ = [
    "Options",
    "Ranks",
    "is_main_process",
    "ranks_of_environment",
]
