"""A group that cannot come together says why in one line, and soon."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist
from conftest import cases
from ports import free_port

from harness.distributed import Options, process_group, ranks_of_environment, rendezvous
from harness.distributed.rendezvous import StoreAddress
from harness.system.errors import RankLost

ALONE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
FOUR = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def join(monkeypatch: pytest.MonkeyPatch, device: str = "cpu", **variables: str) -> None:
    set_environment(monkeypatch, variables)
    with ranks_of_environment(device, Options(timeout_s=0.5)):
        pytest.fail("there is no such group")


def set_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for key in ALONE:
        monkeypatch.delenv(key, raising=False)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)


@pytest.fixture(name="_hurried")
def fixture_hurried(monkeypatch) -> None:
    monkeypatch.setattr(process_group, "RENDEZVOUS_S", 0.5)
    monkeypatch.setattr(rendezvous, "NAME_S", 0.2)
    monkeypatch.setattr(rendezvous, "ANSWER_S", 3.0)


@cases(
    "variables, message",
    (
        {"RANK": "0"},
        "RANK set, but WORLD_SIZE, MASTER_ADDR, MASTER_PORT missing or empty; start with "
        "torchrun, or unset RANK to run in one process",
    ),
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE set, but RANK, MASTER_ADDR, MASTER_PORT missing or empty"),
    ({**FOUR, "MASTER_ADDR": ""}, "RANK and WORLD_SIZE set, but MASTER_ADDR missing or empty"),
    ({**FOUR, "RANK": "one"}, "RANK must be a whole number >= 0, got 'one'; start with"),
    ({**FOUR, "RANK": "-1"}, "RANK must be a whole number >= 0, got '-1'"),
    ({**FOUR, "WORLD_SIZE": "4.0"}, "WORLD_SIZE must be a whole number >= 0, got '4.0'"),
    ({**FOUR, "RANK": "4"}, "RANK=4 must be below WORLD_SIZE=4: give the processes RANK 0,"),
    ({**FOUR, "RANK": "0", "WORLD_SIZE": "0"}, "RANK=0 must be below WORLD_SIZE=0"),
    ({**FOUR, "MASTER_PORT": "http"}, "MASTER_PORT must be a whole number >= 0, got 'http'"),
    ({**FOUR, "MASTER_PORT": "70000"}, "MASTER_PORT=70000 must be from 1 to 65535, free on"),
)
def test_incomplete_or_wrong_variables_are_named(monkeypatch, variables, message) -> None:
    with pytest.raises(ValueError) as error:
        join(monkeypatch, **variables)
    assert str(error.value).startswith(message)


def test_no_variables_are_a_group_of_one_which_nobody_watches(monkeypatch) -> None:
    set_environment(monkeypatch, {})

    with ranks_of_environment("cpu") as ranks:
        ranks.heartbeat()
        assert (ranks.rank, ranks.world_size, ranks.watch) == (0, 1, None)


def test_a_group_of_one_that_a_launcher_started_comes_and_goes_twice(monkeypatch, capfd) -> None:
    port = str(free_port())
    set_environment(monkeypatch, {**FOUR, "RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": port})
    threads = set(threading.enumerate())

    for _ in range(2):
        with ranks_of_environment("cpu") as ranks:
            assert ranks.sum(torch.ones(1)).item() == 1
    assert not dist.is_initialized()
    assert set(threading.enumerate()) <= threads  # others may end meanwhile
    assert capfd.readouterr().err == ""


@pytest.fixture(name="_two_gpus")
def fixture_two_gpus(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


@cases(
    "variables, message",
    (FOUR, "RANK is set but LOCAL_RANK is not: ranks of one host would share a device"),
    ({**FOUR, "LOCAL_RANK": "2"}, "LOCAL_RANK is 2, but this host has 2 CUDA devices; start"),
    ({**FOUR, "LOCAL_RANK": "a"}, "LOCAL_RANK must be a whole number >= 0, got 'a'"),
)
def test_ranks_without_a_device_of_their_own_are_refused(
    monkeypatch, _two_gpus, variables, message
) -> None:
    with pytest.raises(ValueError) as error:
        join(monkeypatch, "auto", **variables)
    assert str(error.value).startswith(message)


def test_a_device_that_is_unknown_or_not_there_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(ValueError, match="device must be auto, cpu or cuda, got 'tpu'"):
        join(monkeypatch, "tpu")
    with pytest.raises(ValueError, match="device=mps: losses .* float64, which mps lacks; use"):
        join(monkeypatch, "mps")
    with pytest.raises(ValueError, match="device=cuda, but torch finds no CUDA device; use"):
        join(monkeypatch, "cuda")
    with (
        pytest.raises(ValueError, match="backend=nccl needs CUDA, and this run is on the CPU"),
        ranks_of_environment("cpu", Options(backend="nccl")),
    ):
        pass


@cases(
    "values, message",
    ({"backend": "mpi"}, "backend must be one of auto, gloo, nccl, got 'mpi'"),
    ({"gradient_exchange": "none"}, "gradient_exchange must be dense or sparse, got 'none'"),
    ({"timeout_s": 0}, "timeout_s must be a number of seconds in (0, 31536000], got 0"),
    ({"timeout_s": -5.0}, "timeout_s must be a number of seconds in (0, 31536000], got -5.0"),
    (
        {"timeout_s": float("nan")},
        "timeout_s must be a number of seconds in (0, 31536000], got nan",
    ),
    ({"timeout_s": "5m"}, "timeout_s must be a number of seconds in (0, 31536000], got '5m'"),
)
def test_options_out_of_range_are_refused(values, message) -> None:
    with pytest.raises(ValueError) as error:
        Options(**values)  # type: ignore[arg-type]
    assert str(error.value).startswith(message)


def test_ranks_that_do_not_come_are_named_in_time(monkeypatch, _hurried) -> None:
    port = str(free_port())

    with pytest.raises(RankLost) as error:
        join(monkeypatch, **{**FOUR, "RANK": "0", "WORLD_SIZE": "3", "MASTER_PORT": port})
    assert str(error.value).startswith("1 of WORLD_SIZE=3 ranks joined MASTER_ADDR:MASTER_PORT ")
    assert "in time, not rank 1, rank 2; see their output, or raise" in str(error.value)


def test_a_rank_0_that_does_not_come_is_named_in_time(monkeypatch, _hurried) -> None:
    with pytest.raises(RankLost, match=r"rank 0 accepted no connection at .* for \d s .*refused"):
        join(monkeypatch, **{**FOUR, "MASTER_PORT": str(free_port())})


def test_an_unknown_host_is_named(monkeypatch, _hurried) -> None:
    with pytest.raises(ValueError, match="MASTER_ADDR=no.such.invalid: rank 1 cannot resolve"):
        join(monkeypatch, **{**FOUR, "MASTER_ADDR": "no.such.invalid"})


@pytest.fixture(name="stranger")
def fixture_stranger() -> Iterator[str]:
    """Yields a port at which a foreign socket listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


# Not hurried: torch's error comes at once, but torch may take a second to describe it.
def test_a_port_that_is_taken_is_named(monkeypatch, stranger) -> None:
    with pytest.raises(ValueError, match=f"MASTER_PORT={stranger} is taken on rank 0's host"):
        join(monkeypatch, **{**FOUR, "RANK": "0", "MASTER_PORT": stranger})


def test_a_port_at_which_no_store_answers_is_named(monkeypatch, _hurried, stranger) -> None:
    with pytest.raises(ValueError, match="accepts connections, but is no store"):
        join(monkeypatch, **{**FOUR, "MASTER_PORT": stranger})


def test_two_processes_of_one_rank_are_refused(_hurried) -> None:
    port = free_port()
    with ThreadPoolExecutor() as pool:
        ranks = [StoreAddress("127.0.0.1", port, rank, world_size=2) for rank in (0, 1)]
        first, _ = [pool.submit(rendezvous.rendezvous, place, 5) for place in ranks]
        _, store, names = first.result()

        assert names == [
            f"rank {rank} (host {socket.gethostname()}, pid {os.getpid()})" for rank in (0, 1)
        ]
        with pytest.raises(ValueError, match="RANK=1 has joined .* already; give every process"):
            rendezvous.rendezvous(ranks[1], 0.5)
    del store


def test_a_restart_on_the_same_store_waits_for_all_of_its_own_ranks() -> None:
    port = free_port()
    agent = StoreAddress("127.0.0.1", port, rank=0, world_size=0).store(keep=True)
    ranks = [StoreAddress("127.0.0.1", port, rank, world_size=2, by_agent=True) for rank in (0, 1)]
    with ThreadPoolExecutor() as pool:
        before = [pool.submit(rendezvous.rendezvous, place, 5) for place in ranks]
        (old,) = {found.result()[0].meeting for found in before}

        early = pool.submit(rendezvous.rendezvous, ranks[1], 5)
        time.sleep(0.3)
        assert not early.done()
        late = pool.submit(rendezvous.rendezvous, ranks[0], 5)
        (new,) = {found.result()[0].meeting for found in (early, late)}
    assert new != old
    del agent
