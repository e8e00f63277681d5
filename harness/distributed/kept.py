"""The store of ranks that one process has started, at a port that nobody else can take first."""

from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from harness.distributed.rendezvous import ANSWER_S


def keep_store(bound: int, port: int) -> TCPStore:
    """Rank 0's store, on a socket that is bound to the port already (a file descriptor, taken
    over); whoever meets in this process finds it, as long as the returned object lives."""
    return TCPStore(
        "127.0.0.1",
        port,
        is_master=True,
        multi_tenant=True,  # one store per port and process
        wait_for_workers=False,
        timeout=timedelta(seconds=ANSWER_S),
        master_listen_fd=bound,
    )
