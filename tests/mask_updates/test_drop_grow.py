"""Tests what goes and what returns when masks are updated."""

import math

import pytest
import torch
from torch import Tensor, nn

from harness.mask_updates.drop_grow import DropGrow
from harness.mask_updates.rigl import Rigl
from harness.mask_updates.set import Set
from harness.mask_updates.snfs import Snfs
from harness.pruning.masks import MaskStore


def mask(bits: str) -> Tensor:
    return torch.tensor([bit == "1" for bit in bits])


def bits(of: Tensor) -> str:
    return "".join(str(int(bit)) for bit in of.flatten())


def swapped(
    mask_updates: DropGrow, weight: list[float], live: str, gradient: list[float], step: int = 1
) -> str:
    """Returns the mask of a lone layer after an update at this step of 1000."""
    new = mask_updates.update_masks(
        weights={"w": torch.tensor(weight)},
        masks={"w": mask(live)},
        statistics={"w": torch.tensor(gradient)},
        step=step,
        steps=1000,
        seed=0,
    )
    return bits(new["w"])


def test_rigl_drops_the_smallest_and_grows_where_the_gradient_is_highest() -> None:
    # 0.5 of 4 live weights: 1 and -2 go; of what is not kept, gradients 9 and -8 are highest.
    after = swapped(
        Rigl(drop_fraction=0.5),
        weight=[1.0, -2.0, 3.0, -4.0, 0.0, 0.0, 0.0, 0.0],
        live="11110000",
        gradient=[0.0, 0.0, 99.0, 99.0, 1.0, -8.0, 2.0, 9.0],
        step=0,
    )
    assert after == "00110101"


def test_a_weight_just_dropped_returns_where_its_gradient_is_high() -> None:
    after = swapped(
        Rigl(drop_fraction=0.5),
        weight=[1.0, -2.0, 3.0, -4.0, 0.0, 0.0],
        live="111100",
        gradient=[9.0, 0.0, 0.0, 0.0, 1.0, 5.0],
        step=0,
    )
    assert after == "101101"


def test_a_weight_that_returns_at_once_keeps_value_and_momentum_and_others_start_at_0() -> None:
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5, 2.0, 7.0]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    store = MaskStore({"weight": model.weight}, may_grow=True)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()  # the weights are 0.4, 1.9, 6.9 and their momentum is 1
    store.shrink_to({"weight": torch.tensor([[True, True, False]])})
    store.apply_to(model, optimizer)

    for gradient, weights, momentum in (
        ([[5.0, 0.0, 4.0]], [[0.4, 1.9, 0.0]], [[1.0, 1.0, 0.0]]),
        ([[0.0, 0.0, 4.0]], [[0.0, 1.9, 0.0]], [[0.0, 1.0, 0.0]]),
    ):
        seen = {"weight": torch.tensor(gradient)}
        held = {"weight": model.weight.detach()}
        store.replace(
            Rigl(drop_fraction=0.6).update_masks(held, store.masks, seen, step=0, steps=9, seed=0)
        )
        store.apply_to(model, optimizer)
        assert model.weight.tolist() == [pytest.approx(row) for row in weights]
        assert optimizer.state[model.weight]["momentum_buffer"].tolist() == momentum
    assert bits(store.masks["weight"]) == "011"


def test_of_equal_weights_and_equal_gradients_the_first_index_stays_and_returns() -> None:
    assert swapped(Rigl(drop_fraction=0.5), [1.0] * 8, "00110011", [0.0] * 8, step=0) == "11110000"
    assert (
        swapped(Rigl(drop_fraction=0.5), [1.0] * 8, "00110011", [0.0] * 4 + [1.0] * 4, 0)
        == "00111100"
    )


def test_the_number_that_goes_is_rounded_down() -> None:
    # 0.3 x 3 = 0.9: too few to exchange one.
    assert swapped(Rigl(), [1.0, 2.0, 3.0, 0.0], "1110", [0.0, 0.0, 0.0, 9.0], step=0) == "1110"


def test_the_share_decides_how_many_go() -> None:
    # Half of 0.8 in the middle: 4 of 10 live weights. From 0.75 of the training on: none.
    weight = [float(size) for size in range(10, 0, -1)] + [0.0] * 10
    gradient = [0.0] * 10 + [1.0] * 10
    live = "1" * 10 + "0" * 10
    mask_updates = Rigl(drop_fraction=0.8)
    assert swapped(mask_updates, weight, live, gradient, step=375) == "11111100001111000000"
    assert swapped(mask_updates, weight, live, gradient, step=750) == live


@pytest.mark.parametrize("kind", [Rigl, Set, Snfs])
@pytest.mark.parametrize("seed", range(20))
def test_counts_are_constant_whatever_the_layers(kind, seed) -> None:
    stream = torch.Generator().manual_seed(seed)
    shapes = {"full": (7, 5), "empty": (30,), "a": (6, 1, 3, 3), "b": (40, 11), "lone": (1,)}
    chances = {"full": 1.0, "empty": 0.0, "a": 0.2, "b": 0.6, "lone": 0.5}
    masks = {n: torch.rand(s, generator=stream) < chances[n] for n, s in shapes.items()}
    weights = {n: torch.randn(s, generator=stream) * masks[n] for n, s in shapes.items()}
    gradients = {n: torch.randn(s, generator=stream) for n, s in shapes.items()}
    mask_updates = kind(drop_fraction=0.9, update_interval=1)
    moved = 0
    for step in range(1, 20):
        statistics = mask_updates.accumulate({}, gradients)
        new = mask_updates.update_masks(weights, masks, statistics, step, steps=30, seed=seed)
        if kind is not Snfs:
            assert {n: m.sum() for n, m in new.items()} == {n: m.sum() for n, m in masks.items()}
        assert sum(int(m.sum()) for m in new.values()) == sum(int(m.sum()) for m in masks.values())
        moved += sum(int((new[name] & ~masks[name]).sum()) for name in masks)
        masks = new
    assert moved > 50


def test_the_memory_layout_of_a_weight_changes_nothing() -> None:
    torch.manual_seed(0)
    weight, gradient = torch.randn(2, 4, 3, 2, 2)
    live = torch.rand(4, 3, 2, 2) < 0.5

    def after(layout: torch.memory_format) -> Tensor:
        w, m, g = (t.contiguous(memory_format=layout) for t in (weight, live, gradient))
        return Rigl().update_masks({"w": w}, {"w": m}, {"w": g}, step=100, steps=1000, seed=0)["w"]

    plain = after(torch.contiguous_format)
    assert torch.equal(plain, after(torch.channels_last))
    assert not torch.equal(plain, live)


def test_set_grows_the_same_for_the_same_seed_and_another_way_at_other_steps_and_seeds() -> None:
    torch.manual_seed(0)
    masks = {name: torch.arange(1000) < 300 for name in ("a", "b")}
    weights = {name: torch.arange(1000.0) for name in masks}

    def grown(step: int, seed: int, name: str = "a") -> str:
        return bits(
            Set(drop_fraction=0.5).update_masks(weights, masks, {}, step, 10_000, seed)[name]
        )

    assert grown(100, seed=0) == grown(100, seed=0)
    others = [
        grown(200, seed=0),
        grown(100, seed=1),
        grown(100, seed=0, name="b"),
    ]
    assert len({grown(100, seed=0), *others}) == 4


def test_set_drops_the_smallest_and_grows_anywhere_with_the_same_chance() -> None:
    masks = {str(layer): torch.arange(100) < 40 for layer in range(200)}
    weights = dict.fromkeys(masks, torch.arange(100.0) * (torch.arange(100) < 40))
    new = Set(drop_fraction=0.5).update_masks(weights, masks, {}, step=0, steps=100, seed=3)
    often = torch.stack(list(new.values())).sum(0)
    assert often[20:40].tolist() == [200] * 20
    # 20 of 80 places grow in each of 200 layers: 50 times each on average, sigma 6.1.
    others = torch.cat([often[:20], often[40:]])
    assert int(others.min()) > 25 and int(others.max()) < 75


def test_set_leaves_the_global_random_stream_alone() -> None:
    before = torch.get_rng_state()
    swapped(Set(), [1.0] * 9, "111111110", [0.0] * 9)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("broken", ["weight", "gradient"])
def test_nan_names_the_layer(broken) -> None:
    numbers = {"weight": [1.0, 2.0, 3.0, 0.0], "gradient": [0.0] * 4}
    numbers[broken] = [math.nan] * 4
    with pytest.raises(ValueError, match="w: .* are NaN, so its mask .* lower its learning rate"):
        swapped(Rigl(drop_fraction=0.5), live="1110", **numbers)
