"""Starts the store of a group of ranks, which listens at one address only."""

import socket
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address

from torch.distributed import TCPStore  # type: ignore[attr-defined]

ANSWER_S = 30.0  # maximum response time of a running store


def start_store(bound: int, port: int, host: str = "127.0.0.1") -> TCPStore:
    """Returns rank 0's store on a socket that is bound to host and port already.

    `bound` is its file descriptor, which the store takes over. All clients in this process share
    the store while the returned object exists.
    """
    try:
        return _store(bound, port, host, use_libuv=True)
    except NotImplementedError:  # torch 2.6: only the older server accepts a socket
        return _store(bound, port, host, use_libuv=False)


def local_address(host: str) -> str:
    """Returns the address of this host that other hosts reach by the name. Empty if unknown.

    Many systems resolve their own name to the loopback address, while other hosts find another
    address.
    """
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ""
    for family, *_, address in sorted(addresses, key=lambda entry: entry[0] != socket.AF_INET):
        ip = str(address[0])
        is_loopback = ip_address(ip.partition("%")[0]).is_loopback
        if _is_ours(family, ip) and (not is_loopback or host in ("localhost", ip)):
            return ip
    return ""


def bind_socket(address: str, port: int) -> socket.socket | None:
    """Returns a socket that is bound to this address only, or None if the port is in use.

    torch's store by itself listens at all addresses.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart
        bound.bind((address, port))
        return bound
    except OSError:
        bound.close()
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
