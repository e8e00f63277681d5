"""Live gradients alone are sent only where that is faster."""

import weakref
from typing import cast

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.distributed import Options, Ranks, link
from harness.distributed.exchange import DENSE, Exchange
from harness.distributed.link import Link, Local, choose, load_of, prefer_sparse
from harness.tensors import Tensors

# 1 microsecond per byte, 100 per message; 1 per entry zeroed, 2 per live one packed: of 1000
# entries of 4 bytes dense costs 4100, sparse 4 * live + 100 + 1000 + 2 * live.
LINK, LOCAL = Link(1e-6, 100e-6), Local(1e-6, 2e-6)


@pytest.mark.parametrize(
    ("live", "pays"),
    [(0, True), (100, True), (363, True), (364, False), (500, False), (1000, False)],
)
def test_sparse_is_preferred_below_four_fifths_of_the_dense_time(live: int, pays: bool) -> None:
    # 0.8 * 4100 = 3280 = 1100 + 6 * 363.3
    assert prefer_sparse(LINK, live, 1000, 4, LOCAL) is pays


def test_a_link_that_costs_nothing_but_latency_prefers_dense() -> None:
    assert not prefer_sparse(Link(0, 1e-3), 10, 1000, 4, Local(0, 0))


class Wide(nn.Module):
    """1 MiB of gradients in float32; the frozen weight has none."""

    def __init__(self, entries: int = 2**18):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(entries))
        self.frozen = nn.Parameter(torch.zeros(entries), requires_grad=False)


SLOW, FAST = (Link(1e-6, 0), Local(0, 0)), (Link(1e-12, 0), Local(1e-9, 1e-9))


@pytest.fixture(name="measured")
def fixture_measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Link, Local]]:
    """What was measured; the link is slow."""
    return measuring(monkeypatch, SLOW)


def measuring(
    monkeypatch: pytest.MonkeyPatch, costs: tuple[Link, Local]
) -> list[tuple[Link, Local]]:
    taken: list[tuple[Link, Local]] = []

    def measure_link(_: Ranks) -> Link:
        taken.append(costs)
        return costs[0]

    monkeypatch.setattr(link, "measure_link", measure_link)
    monkeypatch.setattr(link, "measure_local", lambda _: costs[1])
    return taken


def half(entries: int = 2**18) -> Tensor:
    """A mask of which every other entry is live."""
    return torch.arange(entries) % 2 == 0


def ranks_of(exchange: str = "auto", count: int = 2) -> Ranks:
    """Of a group of its own."""
    control = cast(dist.ProcessGroup, object())
    return Ranks(0, count, options=Options(exchange=exchange), control=control)


@pytest.mark.parametrize(("costs", "sparse"), [(SLOW, True), (FAST, False)])
def test_auto_sends_live_entries_only_where_the_link_is_slow(
    monkeypatch: pytest.MonkeyPatch, costs: tuple[Link, Local], sparse: bool
) -> None:
    measuring(monkeypatch, costs)

    assert choose(ranks_of(), Wide(), lambda: {"weight": half()}) == Exchange(sparse)


def test_a_link_is_measured_once_per_group(measured: list[tuple[Link, Local]]) -> None:
    ranks = ranks_of()
    for _ in range(3):
        choose(ranks, Wide(), lambda: {"weight": half()})
    assert len(measured) == 1

    choose(ranks_of(), Wide(), lambda: {"weight": half()})
    assert len(measured) == 2


@pytest.mark.usefixtures("measured")
def test_the_memory_of_a_link_does_not_keep_its_group_alive() -> None:
    ranks = ranks_of()
    choose(ranks, Wide(), lambda: {"weight": half()})
    remembered = weakref.ref(ranks)

    del ranks
    assert remembered() is None


@pytest.mark.parametrize(
    ("ranks", "model", "live"),
    [
        (ranks_of(), Wide(), None),
        (ranks_of(), Wide(), {"weight": torch.ones(2**18, dtype=torch.bool)}),
        (ranks_of(), Wide(), {"frozen": half()}),
        (ranks_of(), Wide(2**18 - 1), {"weight": half(2**18 - 1)}),
        (ranks_of("dense"), Wide(), {"weight": half()}),
        (ranks_of("auto", count=1), Wide(), {"weight": half()}),
        (ranks_of("sparse", count=1), Wide(), {"weight": half()}),
    ],
    ids=["no masks", "density 1", "frozen only", "below 1 MiB", "asked", "alone", "alone, asked"],
)
def test_dense_is_chosen_without_a_measurement(
    measured: list[tuple[Link, Local]], ranks: Ranks, model: nn.Module, live: Tensors | None
) -> None:
    asked = None if live is None else (lambda: live)

    assert choose(ranks, model, asked) == DENSE
    assert not measured


def test_sparse_can_be_forced_without_a_measurement(measured: list[tuple[Link, Local]]) -> None:
    assert choose(ranks_of("sparse"), Wide(8)) == Exchange(sparse=True)
    assert not measured


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("ranks", [ranks_of(), ranks_of("dense"), ranks_of(count=1)])
def test_the_dtype_is_passed_on_whatever_is_chosen(ranks: Ranks) -> None:
    live = {"weight": half(2**20)}
    assert choose(ranks, Wide(2**20), lambda: live, torch.bfloat16).dtype is torch.bfloat16


def test_the_load_counts_what_gets_a_gradient_in_the_dtype_of_the_wire() -> None:
    assert load_of(Wide(10), {"weight": half(10)}, None) == (5, 10, 4)
    assert load_of(Wide(10), {"weight": half(10), "frozen": half(10)}, torch.bfloat16) == (5, 10, 2)
