"""Rescales norms over removed units, gives them those left, or refuses them."""

import copy

import pytest
import torch
from groups_by_hand import group, layer, proven, removed_from
from torch import Tensor, nn
from torch.nn import functional

from harness.groups.find import groups_of
from harness.groups.layers.norms import treatment
from harness.groups.living import (
    add_living_norms,
    living_indices,
    living_norms,
    remove_living_norms,
)

INPUTS = torch.randn(3, 2, 4, 4)


class OwnRMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.ones(width)), 1e-2

    def forward(self, x: Tensor) -> Tensor:
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.variance_epsilon))


class OffsetRMSNorm(OwnRMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-2)


class ChannelsRMSNorm(OwnRMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelsFirst(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        y = functional.layer_norm(
            x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return y.movedim(-1, 1)


class LastToFirst(nn.Module):
    """Gives a norm of the last dimension its input."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


def network(norm: nn.Module, tensors: tuple[str, ...], last: bool) -> tuple:
    held = LastToFirst(norm) if last else norm
    model = nn.Sequential(nn.Conv2d(2, 6, 1), held, nn.Sigmoid(), nn.Conv2d(6, 2, 3, padding=1))
    name = "1.norm" if last else "1"
    members = [*layer("0"), *(layer(name, *tensors) if tensors else ())]
    return model, [group("0", 6, *members, ("3.weight", 1, "input"), mixing=(name,))], name


KEPT = {"0": "110101"}
SCALE = (6 / 4) ** 0.5


@pytest.mark.parametrize(
    "norm", [nn.RMSNorm(6), nn.RMSNorm(6, eps=0.1), OwnRMSNorm(6)], ids=["none", "given", "own"]
)
def test_an_rms_norm_is_rescaled(norm) -> None:
    model, groups, name = network(norm, ("weight",), last=True)
    old = getattr(norm, "eps", 1e-2)
    removed, proof = proven(model, groups, KEPT, INPUTS)

    small = removed.model.get_submodule(name)
    assert torch.allclose(small.weight, torch.full((4,), SCALE))
    assert removed.scales == {f"{name}.weight": SCALE}
    attribute = "variance_epsilon" if isinstance(norm, OwnRMSNorm) else "eps"
    before, after = removed.attributes[f"{name}.{attribute}"]
    assert before == old
    assert after == pytest.approx((old or torch.finfo(torch.float32).eps) * 6 / 4)
    assert proof.eval < 1e-12
    with torch.no_grad():
        assert torch.allclose(removed.model(INPUTS), model(INPUTS), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rescaled_weights_of_a_trained_rms_norm_are_those_that_are_proven(dtype) -> None:
    norm = OwnRMSNorm(6)
    for values in torch.rand(20, 6):  # some of these products round differently in float32
        norm.weight = nn.Parameter(values)
        model, groups, _ = network(norm, ("weight",), last=True)
        proven(model.to(dtype), groups, KEPT, INPUTS.to(dtype))


def test_an_rms_norm_of_any_class_is_found() -> None:
    model, groups, name = network(OwnRMSNorm(6), ("weight",), last=True)
    found = groups_of(model, INPUTS)[0]
    assert found.mixing == (name,) and not found.pinned
    assert [m.name for m in found.members] == [m.name for m in groups[0].members]


@pytest.mark.parametrize(
    ("norm", "last"),
    [
        (nn.RMSNorm(6, elementwise_affine=False), True),
        (OffsetRMSNorm(6), True),
        (ChannelsRMSNorm(6), False),
    ],
)
def test_an_rms_norm_that_cannot_be_rescaled_keeps_its_units(norm, last) -> None:
    model, _, _ = network(norm, ("weight",), last)
    assert groups_of(model, INPUTS)[0].pinned


LIVING = [
    (nn.LayerNorm(6), ("weight", "bias"), True),
    (nn.LayerNorm(6, bias=False), ("weight",), True),
    (nn.LayerNorm(6, elementwise_affine=False), (), True),
    (ChannelsFirst(6), ("weight", "bias"), False),
    (nn.GroupNorm(1, 6), ("weight", "bias"), False),
    (nn.GroupNorm(1, 6, affine=False), (), False),
]
NAMES = ["layer", "no_bias", "plain", "channels_first", "group", "plain_group"]


@pytest.mark.parametrize(("norm", "tensors", "last"), LIVING, ids=NAMES)
def test_a_norm_of_the_units_left_is_that_of_the_smaller_network(norm, tensors, last) -> None:
    model, groups, name = network(copy.deepcopy(norm), tensors, last)
    with pytest.raises(ValueError, match=rf"group=0, norm={name}: .*; .*norms=living"):
        removed_from(model, groups, KEPT)

    removed, proof = proven(model, groups, KEPT, INPUTS, norms="living")
    assert removed.norms == "living" and proof.randomised_train < 1e-12

    kept = living_indices(model, removed.kept_indices, groups, removed.kept_units)
    assert kept[name].tolist() == [0, 1, 3, 5]
    before = model(INPUTS)
    with living_norms(model, kept):
        assert torch.allclose(model(INPUTS), removed.model(INPUTS), atol=1e-6)
    assert torch.equal(model(INPUTS), before)


def test_a_plain_norm_over_several_groups_is_refused() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(2, 4), nn.Linear(2, 4)
            self.norm, self.last = nn.LayerNorm(8, elementwise_affine=False), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.norm(torch.cat([self.one(x), self.two(x)], 1)))

    groups = [group("one", 4, *layer("one"), ("last.weight", 1, "input"), mixing=("norm",))]
    with pytest.raises(ValueError, match="group=one, norm=norm: .* no tensor .* width=8; keep"):
        removed_from(Both(), groups, {"one": "0110"}, "living")


def test_a_living_norm_trains_its_kept_entries_as_the_smaller_network_does() -> None:
    model, groups, name = network(nn.LayerNorm(6), ("weight", "bias"), last=True)
    removed, _ = removed_from(model, groups, KEPT, "living")
    kept = living_indices(model, removed.kept_indices, groups, removed.kept_units)
    handles = add_living_norms(model, kept)

    for network_ in (model, removed.model):
        network_(INPUTS).square().sum().backward()

    small = dict(removed.model.named_parameters())
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        for dim, indices in enumerate(removed.kept_indices.get(name, ())):
            if indices is not None:
                gradient = gradient.index_select(dim, indices)
        assert torch.allclose(gradient, small[name].grad, atol=1e-5), name
    assert model.get_parameter("1.norm.weight").grad[2] == 0
    copied = copy.deepcopy(model)
    remove_living_norms(copied)
    again, _ = removed_from(copy.deepcopy(model), groups, KEPT, "living")
    for small_network in (copied, again.model):
        assert not any(module._forward_hooks for module in small_network.modules())
    assert len(handles) == 1 and any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("norms", ["exact", "living"])
@pytest.mark.parametrize("norm", [OffsetRMSNorm(6), nn.RMSNorm(6, elementwise_affine=False)])
def test_a_norm_that_no_smaller_module_repeats_is_refused(norm, norms) -> None:
    assert treatment(norm) == "refused"
    model, groups, name = network(norm, (), last=True)
    with pytest.raises(ValueError, match=f"group=0, norm={name}: .* no smaller module repeats"):
        removed_from(model, groups, KEPT, norms)
