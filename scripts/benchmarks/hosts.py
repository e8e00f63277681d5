"""Simulates two hosts by network namespaces and a virtual cable; needs root and iproute2."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Host:
    """Describes a network namespace with a loopback and one end of the cable."""

    namespace: str
    address: str
    interface: str

    def popen(
        self, *command: str, env: dict[str, str], output: IO[str] | int = subprocess.PIPE
    ) -> "subprocess.Popen[str]":
        """Starts a command on this host, as the leader of its own process group."""
        # By default gloo uses the address of the host name, which is the loopback's.
        wired = {**env, "GLOO_SOCKET_IFNAME": self.interface}
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *command],
            env=wired,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )


@contextmanager
def two_hosts(rate: str | None = None) -> Iterator[tuple[Host, Host]]:
    """Yields both hosts, with a cable limited to `rate` (of tc: "100mbit") in each direction.

    Raises:
        subprocess.CalledProcessError: the user is not root, or has no network namespaces.
        OSError: iproute2 is missing.
    """
    first, second = (
        Host(f"harness-{os.getpid()}-{n}", f"10.99.0.{n}", f"cable{n}") for n in (1, 2)
    )
    try:
        _lay(first, second)
        for host in (first, second):
            _bring_up(host, rate)
        yield first, second
    finally:
        for host in (first, second):
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True)


def _lay(first: Host, second: Host) -> None:
    for host in (first, second):
        _ip("netns", "add", host.namespace)
    _ip(
        "link", "add", first.interface, "netns", first.namespace,
        "type", "veth", "peer", "name", second.interface, "netns", second.namespace,
    )  # fmt: skip


def _bring_up(host: Host, rate: str | None) -> None:
    inside = ("-n", host.namespace)
    _ip(*inside, "addr", "add", f"{host.address}/24", "dev", host.interface)
    for interface in ("lo", host.interface):
        _ip(*inside, "link", "set", interface, "up")
    if rate:
        limit = ("tbf", "rate", rate, "burst", "64kb", "latency", "200ms")
        tc = ["tc", *inside, "qdisc", "add", "dev", host.interface, "root", *limit]
        subprocess.run(tc, check=True, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
