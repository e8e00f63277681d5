"""The store of ranks that one process has started."""

import os
import socket
from typing import Any

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from harness.distributed import store_server


def bound() -> socket.socket:
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    return found


def of_torch_2_6(*where: Any, use_libuv: bool, **options: Any) -> TCPStore:
    if use_libuv:
        raise NotImplementedError("The libuv TCPStore backend does not support a listen fd")
    return TCPStore(*where, use_libuv=False, **options)


@pytest.mark.parametrize("store", [TCPStore, of_torch_2_6])
def test_the_store_takes_the_socket_over_and_others_reach_it(store, monkeypatch) -> None:
    monkeypatch.setattr(store_server, "TCPStore", store)
    with bound() as mine:
        port = mine.getsockname()[1]
        server = store_server.start_store(os.dup(mine.fileno()), port)
    server.set("said", "here")
    assert TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False).get("said") == (
        b"here"
    )
