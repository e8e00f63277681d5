"""Rank 0's store listens at MASTER_ADDR alone, and what others send to it ends no run."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.distributed import store_server
from harness.distributed.rendezvous import StoreAddress, rendezvous
from harness.distributed.store_server import local_address
from harness.system.errors import WrongEnvironment

MAGIC = b"\x00" + (0x3C85F7CE).to_bytes(4, "little")
MALFORMED = [b"GET / HTTP/1.0\r\n\r\n", bytes(64), b"\xff" * 64, MAGIC + b"\x01" + b"\xff" * 64]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_the_store_is_reached_at_its_address_and_at_no_other() -> None:
    place = StoreAddress("127.0.0.1", free_port(), rank=0, world_size=1)
    store = place.store(keep=True)
    for other in ("127.0.0.2", "127.1.2.3"):  # of this host too
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((other, place.port), 1)
    place.connect().close()
    store.set("a", "1")
    assert place.store().get("a") == b"1"


@pytest.mark.parametrize("message", MALFORMED)
def test_ranks_meet_whatever_others_send(message) -> None:
    port = free_port()
    places = [StoreAddress("127.0.0.1", port, rank, world_size=2) for rank in (0, 1)]
    store = places[0].store(keep=True)
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(message)
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda place: rendezvous(place, 30)[2], places))
    assert found[0] == found[1] and len(found[0]) == 2
    del store


def test_a_name_of_a_rank_that_others_have_written_is_told_in_one_line(monkeypatch) -> None:
    place = StoreAddress("127.0.0.1", free_port(), rank=0, world_size=1)
    monkeypatch.setattr("harness.distributed.rendezvous.json.dumps", lambda _: "\x1b[2J{")
    with pytest.raises(WrongEnvironment, match="holds data of another program"):
        rendezvous(place, 5)


def test_the_address_of_a_name(monkeypatch) -> None:
    assert local_address("127.0.0.1") == "127.0.0.1"
    assert local_address("192.0.2.1") == ""  # of nobody, by RFC 5737
    assert local_address("no-such-host.invalid") == ""

    def as_debian(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 0))]

    monkeypatch.setattr(store_server.socket, "getaddrinfo", as_debian)
    assert local_address("n7") == ""
    assert local_address("127.0.1.1") == "127.0.1.1"
