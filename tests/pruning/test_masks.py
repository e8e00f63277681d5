from collections.abc import Callable, Iterable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from harness.pruning.masks import MaskStore
from harness.vocabulary.bitpack import digest

Make = Callable[[Iterable[nn.Parameter]], Optimizer]

FORMS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
KINDS = {
    "momentum": partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": partial(Adam, lr=0.1, weight_decay=0.01),
    "adamw": partial(AdamW, lr=0.1, weight_decay=0.1),
    "amsgrad": partial(AdamW, lr=0.1, weight_decay=0.1, amsgrad=True),
}
OPTIMIZERS = [
    pytest.param(partial(kind, **form), id=f"{name}-{way}")
    for name, kind in KINDS.items()
    for way, form in FORMS.items()
]
PLAIN = partial(SGD, lr=0.1)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))


def half(model: nn.Module) -> dict[str, Tensor]:
    """Masks that prune every second entry of the first weight, and the first row of its bias."""
    weight = torch.arange(24).view(4, 6) % 2 == 0
    return {"0.weight": weight, "0.bias": torch.tensor([False, True, True, True])}


def store_of(model: nn.Module) -> MaskStore:
    return MaskStore({name: model.get_parameter(name) for name in ("0.weight", "0.bias")})


def step(model: nn.Module, optimizer: Optimizer, mask_gradients: Callable[[], None]) -> None:
    inputs = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    model(inputs).square().sum().backward()
    mask_gradients()
    optimizer.step()
    optimizer.zero_grad()


def nothing() -> None: ...


def pruned_values(model: nn.Module, store: MaskStore) -> Tensor:
    return torch.cat([model.get_parameter(n).detach()[~m] for n, m in store.masks.items()])


def test_a_new_store_keeps_everything() -> None:
    assert all(mask.all() for mask in store_of(small()).masks.values())


def test_masks_only_shrink() -> None:
    store = MaskStore({"w": torch.zeros(3)})
    store.shrink_to({"w": torch.tensor([True, False, True])})
    with pytest.raises(ValueError, match="w: the new mask revives 1 pruned weights"):
        store.shrink_to({"w": torch.tensor([False, True, True])})
    assert store.masks["w"].tolist() == [True, False, True]


def test_a_refused_change_changes_no_tensor() -> None:
    store = MaskStore({"a": torch.zeros(2), "b": torch.zeros(2)})
    store.shrink_to({"b": torch.tensor([True, False])})
    with pytest.raises(ValueError, match="b: "):
        store.shrink_to({"a": torch.tensor([True, False]), "b": torch.tensor([True, True])})
    assert store.masks["a"].tolist() == [True, True]


def test_tensors_that_a_change_does_not_name_stay_as_they_are() -> None:
    store = MaskStore({"a": torch.zeros(2), "b": torch.zeros(2)})
    store.shrink_to({"a": torch.tensor([True, False])})
    store.shrink_to({"b": torch.tensor([False, True])})
    assert store.masks["a"].tolist() == [True, False]


def test_applying_zeroes_what_is_pruned_and_nothing_else() -> None:
    model = small()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    store = store_of(model)
    store.shrink_to(half(model))

    store.apply_to(model)

    assert not pruned_values(model, store).any()
    for name, mask in store.masks.items():
        assert torch.equal(model.get_parameter(name)[mask], before[name][mask])
    assert torch.equal(model.get_parameter("2.weight"), before["2.weight"])


def test_a_pruned_infinity_becomes_zero_and_no_zero_is_negative() -> None:
    model = small()
    with torch.no_grad():
        model[0].weight.fill_(-torch.inf)
    store = store_of(model)
    store.shrink_to({"0.weight": torch.zeros(4, 6, dtype=torch.bool)})
    store.apply_to(model)
    assert torch.equal(model[0].weight, torch.zeros(4, 6))
    assert not model[0].weight.signbit().any()


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_pruned_weights_stay_exactly_zero(make) -> None:
    model = small()
    optimizer, store = make(model.parameters()), store_of(model)
    for _ in range(3):
        step(model, optimizer, nothing)
    store.shrink_to(half(model))
    store.apply_to(model, optimizer)
    alive = model[0].weight.detach().clone()

    for _ in range(5):
        step(model, optimizer, store.gradient_masker(model))

    assert pruned_values(model, store).count_nonzero() == 0
    mask = store.masks["0.weight"]
    assert (model[0].weight.detach() != alive)[mask].all()


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_without_masked_gradients_pruned_weights_come_back(make) -> None:
    # The control of the test above: its steps would move these weights.
    model = small()
    optimizer, store = make(model.parameters()), store_of(model)
    store.shrink_to(half(model))
    store.apply_to(model, optimizer)
    for _ in range(5):
        step(model, optimizer, nothing)
    assert pruned_values(model, store).count_nonzero() > 0


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_without_zeroed_optimizer_state_pruned_weights_come_back(make) -> None:
    model = small()
    optimizer, store = make(model.parameters()), store_of(model)
    for _ in range(3):
        step(model, optimizer, nothing)
    store.shrink_to(half(model))
    store.apply_to(model)
    step(model, optimizer, store.gradient_masker(model))
    assert pruned_values(model, store).count_nonzero() > 0


def test_step_counters_of_the_optimizer_are_no_state_to_zero() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    store = MaskStore({"0.bias": model[0].bias})
    optimizer = Adam(model.parameters(), lr=0.1)
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    store.shrink_to({"0.bias": torch.tensor([False])})

    store.apply_to(model, optimizer)

    state = optimizer.state[model[0].bias]
    assert (float(state["step"]), float(state["exp_avg"])) == (1.0, 0.0)


def test_masks_that_change_during_training_reach_a_gradient_masker_made_before() -> None:
    model = small()
    optimizer, store = PLAIN(model.parameters()), store_of(model)
    masker = store.gradient_masker(model)
    store.shrink_to(half(model))
    store.apply_to(model, optimizer)
    step(model, optimizer, masker)

    store.shrink_to({"0.weight": torch.zeros(4, 6, dtype=torch.bool)})
    store.apply_to(model, optimizer)
    step(model, optimizer, masker)

    assert not model[0].weight.any()


def test_gradient_masker_leaves_living_gradients_and_missing_ones_alone() -> None:
    model = small()
    store = store_of(model)
    store.shrink_to(half(model))
    model[0].weight.grad = torch.full((4, 6), 3.0)
    store.gradient_masker(model)()
    assert torch.equal(model[0].weight.grad, half(model)["0.weight"] * 3.0)
    assert model[0].bias.grad is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_are_masked_in_their_own_dtype(dtype) -> None:
    model = small().to(dtype)
    store = store_of(model)
    store.shrink_to(half(model))
    model[0].weight.grad = torch.ones(4, 6, dtype=dtype)
    store.gradient_masker(model)()
    assert model[0].weight.grad.dtype == dtype
    assert float(model[0].weight.grad.sum()) == 12


def test_store_digest_is_that_of_its_masks() -> None:
    store = MaskStore({"w": torch.zeros(4)})
    before = store.digest
    store.shrink_to({"w": torch.tensor([True, True, True, False])})
    assert store.digest == digest(store.masks) != before


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_applying_zeroes_nan_infinity_and_negative_numbers_of_every_dtype(dtype) -> None:
    model = small().to(dtype)
    values = torch.tensor([torch.nan, -torch.inf, -1.0, 2.0], dtype=dtype)
    with torch.no_grad():
        model[0].bias.copy_(values)
    store = store_of(model)
    store.shrink_to({"0.bias": torch.tensor([False, False, False, True])})
    store.apply_to(model)
    assert model[0].bias.tolist() == [0.0, 0.0, 0.0, 2.0]
    assert not model[0].bias.signbit().any()


def test_applying_to_weights_of_another_memory_layout_zeroes_the_same_entries() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 2)).to(memory_format=torch.channels_last)
    before = model[0].weight.detach().clone()
    store = MaskStore({"0.weight": model[0].weight})
    mask = torch.arange(24).view(2, 3, 2, 2) % 3 == 0
    store.shrink_to({"0.weight": mask})
    store.apply_to(model)
    assert torch.equal(model[0].weight.detach(), torch.where(mask, before, 0.0))


def test_a_bit_that_flips_in_memory_changes_the_digest_of_the_store() -> None:
    store = MaskStore({"w": torch.zeros(4)})
    before = store.digest
    store.masks["w"].view(torch.uint8)[2] ^= 0b100  # the byte is 5: neither True nor False
    assert store.digest != before
