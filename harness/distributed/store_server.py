"""The store that this process keeps for a group of ranks, at one address only."""

import socket
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address

from torch.distributed import TCPStore  # type: ignore[attr-defined]

ANSWER_S = 30.0  # of a store that is there


def start_store(bound: int, port: int, host: str = "127.0.0.1") -> TCPStore:
    """Rank 0's store, on a socket that is bound to host and port already (a file descriptor, taken
    over); whoever meets in this process finds it, as long as the returned object lives."""
    try:
        return _store(bound, port, host, use_libuv=True)
    except NotImplementedError:  # torch 2.6: only its older server takes a socket over
        return _store(bound, port, host, use_libuv=False)


def local_address(host: str) -> str:
    """The address of this host that others reach by the name; empty where nobody can tell.

    Of a name that means the loopback on its own host, as many systems set it up, others find
    another address.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ""
    for family, *_, address in sorted(found, key=lambda one: one[0] != socket.AF_INET):
        ip = str(address[0])
        inside = ip_address(ip.partition("%")[0]).is_loopback
        if _is_ours(family, ip) and (not inside or host in ("localhost", ip)):
            return ip
    return ""


def bind_socket(address: str, port: int) -> socket.socket | None:
    """A socket at this address alone, for torch's store by itself listens at all of them; None
    where the port is taken, if only by a store of this process."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart
        found.bind((address, port))
        return found
    except OSError:
        found.close()
        return None


def _is_ours(family: int, address: str) -> bool:
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return True
    return False


def _store(bound: int, port: int, host: str, use_libuv: bool) -> TCPStore:
    return TCPStore(
        host,
        port,
        is_master=True,
        multi_tenant=True,  # one store per port and process
        wait_for_workers=False,
        timeout=timedelta(seconds=ANSWER_S),
        master_listen_fd=bound,
        use_libuv=use_libuv,
    )
