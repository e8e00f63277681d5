import pytest
import torch
from conftest import every

from harness.allocation.apportion import apportion
from harness.allocation.base import Allocation, Layer, Layers
from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform


def layers(**scores: list[float]) -> Layers:
    """Layers of units of one weight each; -inf is a unit that is pruned already."""
    found = {}
    for position, (name, values) in enumerate(scores.items()):
        units = torch.tensor(values)
        alive = int((units > -torch.inf).sum())
        found[name] = Layer((len(values), 1), "Linear", position, alive, units, 1, 1)
    return found


def random_layers(seed: int) -> Layers:
    """Four layers of 1 to 30 units, full of ties, about a third of the units dead."""
    random = torch.Generator().manual_seed(seed)

    def units() -> list[float]:
        count = int(torch.randint(1, 31, (), generator=random))
        scores = torch.randint(0, 5, (count,), generator=random).float()
        scores[torch.rand(count, generator=random) < 0.35] = -torch.inf
        return scores.tolist()

    return layers(a=units(), b=units(), c=units(), d=units())


def alive(found: Layers) -> int:
    return sum(layer.alive for layer in found.values())


def test_shares_are_in_proportion() -> None:
    room = {"a": 100, "b": 100, "c": 100}
    assert apportion(10, {"a": 50, "b": 30, "c": 20}, room) == {"a": 5, "b": 3, "c": 2}


def test_the_largest_remainder_gets_what_is_left() -> None:
    # Quotas 0.9, 1.5 and 0.6: one whole unit, then remainders .9 and .6 win over .5.
    room = {"a": 9, "b": 9, "c": 9}
    assert apportion(3, {"a": 3, "b": 5, "c": 2}, room) == {"a": 1, "b": 1, "c": 1}


def test_of_equal_remainders_the_first_wins() -> None:
    room = {"z": 9, "a": 9}
    assert apportion(3, {"z": 4, "a": 4}, room) == {"z": 2, "a": 1}


def test_what_a_full_tensor_cannot_take_goes_to_the_others_in_proportion() -> None:
    # a takes its 2; the 8 that are left go 2 : 6.
    assert apportion(10, {"a": 80, "b": 10, "c": 30}, {"a": 2, "b": 9, "c": 9}) == {
        "a": 2,
        "b": 2,
        "c": 6,
    }


def test_filling_one_tensor_may_fill_the_next() -> None:
    sizes = {"a": 60, "b": 30, "c": 10}
    assert apportion(20, sizes, {"a": 5, "b": 7, "c": 50}) == {"a": 5, "b": 7, "c": 8}


def test_all_room_is_used_when_all_is_asked() -> None:
    assert apportion(7, {"a": 1, "b": 100}, {"a": 4, "b": 3}) == {"a": 4, "b": 3}


@pytest.mark.parametrize("total", [-1, 8])
def test_more_than_all_room_is_refused(total: int) -> None:
    with pytest.raises(ValueError, match=f"cannot share {total} units: there is room for 7"):
        apportion(total, {"a": 1, "b": 1}, {"a": 4, "b": 3})


def test_billions_of_units_are_shared_exactly() -> None:
    sizes = {"a": 3 * 10**17 + 1, "b": 10**17}
    shares = apportion(10**17 + 1, sizes, sizes)
    assert sum(shares.values()) == 10**17 + 1


def test_uniform_keeps_the_same_share_everywhere() -> None:
    found = layers(a=[1.0] * 8, b=[9.0] * 4, c=[5.0] * 12)
    assert Uniform().allocate(found, 6) == {"a": 2, "b": 1, "c": 3}


def test_uniform_caps_a_layer_at_what_is_alive_in_it() -> None:
    dead = -torch.inf
    found = layers(a=[1.0, dead, dead, dead], b=[1.0] * 4)
    assert Uniform().allocate(found, 4) == {"a": 1, "b": 3}


def test_global_ranking_counts_the_best_of_the_network() -> None:
    found = layers(a=[9.0, 8.0, 1.0], b=[7.0, 0.5, 0.1])
    assert GlobalRanking().allocate(found, 3) == {"a": 2, "b": 1}


def test_global_ranking_may_empty_a_layer() -> None:
    assert GlobalRanking().allocate(layers(a=[9.0, 8.0], b=[1.0, 2.0]), 2) == {"a": 2, "b": 0}


def test_global_ranking_never_counts_the_dead() -> None:
    dead = -torch.inf
    found = layers(a=[dead, dead, -5.0], b=[dead, 0.0])
    assert GlobalRanking().allocate(found, 2) == {"a": 1, "b": 1}


@every("allocation")
@pytest.mark.parametrize("seed", range(6))
def test_allocation_shares_exactly_and_never_beyond_what_is_alive(
    allocation: Allocation, seed: int
) -> None:
    found = random_layers(seed)
    for keep in range(alive(found) + 1):
        counts = allocation.allocate(found, keep)
        assert list(counts) == list(found)
        assert sum(counts.values()) == keep
        assert all(0 <= counts[name] <= layer.alive for name, layer in found.items())


@every("allocation")
def test_allocation_of_nothing_and_of_everything(allocation: Allocation) -> None:
    found = random_layers(9)
    assert set(allocation.allocate(found, 0).values()) == {0}
    everything = {name: layer.alive for name, layer in found.items()}
    assert allocation.allocate(found, alive(found)) == everything


@every("allocation")
def test_allocation_answers_twice_the_same_and_reads_only(allocation: Allocation) -> None:
    found = random_layers(4)
    before = {name: layer.scores.clone() for name, layer in found.items()}
    assert allocation.allocate(found, 7) == allocation.allocate(found, 7)
    assert all(torch.equal(layer.scores, before[name]) for name, layer in found.items())
