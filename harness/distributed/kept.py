"""The store of ranks that one process has started, at a port that nobody else can take first."""

from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from harness.distributed.rendezvous import ANSWER_S


def keep_store(bound: int, port: int) -> TCPStore:
    """Rank 0's store, on a socket that is bound to the port already (a file descriptor, taken
    over); whoever meets in this process finds it, as long as the returned object lives."""
    try:
        return _store(bound, port, use_libuv=True)
    except NotImplementedError:  # torch 2.6: only its older server takes a socket over
        return _store(bound, port, use_libuv=False)


def _store(bound: int, port: int, use_libuv: bool) -> TCPStore:
    return TCPStore(
        "127.0.0.1",
        port,
        is_master=True,
        multi_tenant=True,  # one store per port and process
        wait_for_workers=False,
        timeout=timedelta(seconds=ANSWER_S),
        master_listen_fd=bound,
        use_libuv=use_libuv,
    )
