"""Makes pruned models smaller from their masks."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import harness
from harness.api.compacting import compact_with_proof
from harness.structure.group import Group

INPUTS = torch.randn(2, 3, 8, 8)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.norm_one, self.norm_two = nn.BatchNorm2d(6), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.norm_two(self.two(self.norm_one(self.one(x)).relu()))).relu()


class Undecided(Group):
    def select(self, scores: Tensor, keep: int) -> Tensor:
        raise ValueError("no choice")


def residual() -> nn.Sequential:
    stem = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*stem, Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def some_masks(model: nn.Module) -> dict[str, Tensor]:
    """Masks half of the filters inside the block."""
    masks = {}
    for name in ("3.one.weight", "3.one.bias", "3.norm_one.weight", "3.norm_one.bias"):
        masks[name] = torch.ones_like(model.get_parameter(name))
        masks[name][1::2] = 0
    return masks


def test_compact_removes_what_prune_has_masked() -> None:
    model = residual()
    masks = harness.prune(
        model, 0.5, structure="filter", allocation="uniform", example_input=INPUTS
    )
    compacted = compact_with_proof(model, masks, INPUTS)
    before = sum(p.numel() for p in model.parameters())
    after = sum(p.numel() for p in compacted.model.parameters())
    assert after < 0.8 * before and compacted.proof.eval < 1e-12
    model.eval(), compacted.model.eval()
    assert torch.allclose(compacted.model(INPUTS), model(INPUTS), atol=1e-5)


def test_masks_are_applied_and_the_model_stays() -> None:
    model = residual()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    masks = some_masks(model)
    masks["6.weight"] = torch.rand(5, 8) > 0.5  # single weights stay as zeros
    small = harness.compact(model, masks, INPUTS)
    assert small[3].one.out_channels == 3
    assert torch.equal(small[6].weight != 0, masks["6.weight"])
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_nothing_to_remove_gives_a_copy() -> None:
    model = residual()
    masks = {"6.weight": torch.zeros(5, 8, dtype=torch.bool)}  # outputs of the network stay
    compacted = compact_with_proof(model, masks, INPUTS)
    assert compacted.proof is None and compacted.kept_indices == {}
    assert compacted.model is not model and not compacted.model[6].weight.any()
    assert model[6].weight.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda masks: {"fc.weight": torch.ones(1)}, "'fc.weight', which is no parameter of Seq"),
        (lambda masks: {"6.weight": torch.ones(5)}, r"'6.weight'\] has shape \(5,\), its param"),
        (lambda masks: {n: m * 0 for n, m in masks.items()}, "group=3.one: the masks leave none"),
        (lambda masks: {n: m * 0.5 for n, m in masks.items()}, "other values than 0 and 1"),
    ],
)
def test_wrong_masks_are_refused_in_one_line(change, message) -> None:
    model = residual()
    with pytest.raises(ValueError, match=message) as error:
        harness.compact(model, change(some_masks(model)), INPUTS)
    assert "\n" not in str(error.value)


def test_a_pruned_model_counts_in_its_layer_norms_what_a_smaller_one_counts() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 2)).double()
    inputs = torch.randn(3, 4, dtype=torch.float64)
    whole = deepcopy(model)
    structure = Group(norms="living")
    masks = harness.prune(model, 0.5, structure=structure, example_input=inputs)
    small = harness.compact(model, masks, inputs, norms="living")
    assert small[1].normalized_shape == (3,)
    assert torch.allclose(small(inputs), model(inputs), rtol=1e-12)
    assert not any(module._forward_hooks for module in small.modules())
    with pytest.raises(ValueError, match="no choice"):
        harness.prune(whole, 0.5, structure=Undecided(norms="living"), example_input=inputs)
    assert not any(module._forward_hooks for module in whole.modules())


def test_other_wrong_arguments_are_refused_in_one_line() -> None:
    model = residual()
    masks = some_masks(model)
    with pytest.raises(ValueError, match="norms must be exact or living, got 'own'"):
        harness.compact(model, masks, INPUTS, norms="own")
    with pytest.raises(ValueError, match="must be a torch.nn.Module"):
        harness.compact("model", masks, INPUTS)
    with pytest.raises(ValueError, match="channels") as error:
        harness.compact(model, masks, torch.randn(2, 4, 8, 8))
    assert "\n" not in str(error.value)
