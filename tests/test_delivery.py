import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from harness.allocation.uniform import Uniform
from harness.budget import Goal
from harness.delivery import (
    Delivery,
    deliver,
    from_torch_prune,
    read_delivery,
    to_torch_prune,
)
from harness.masks import MaskStore
from harness.models.mlp import Mlp
from harness.pruning import Calibration, Pruner
from harness.saliency.magnitude import Magnitude
from harness.structure.base import Structure
from harness.structure.element import Element
from harness.structure.neuron import Neuron
from harness.tensors import Tensors, mean_alone

INPUTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
STRUCTURES = [Element(), Neuron()]


def pruned(structure: Structure) -> tuple[nn.Module, Tensors]:
    """A network with about half of its units gone, in eval mode, and its masks."""
    torch.manual_seed(0)
    model = Mlp(hidden=[6, 1, 4], batch_norm=True).build((3,), 2).eval()
    pruner = Pruner(Magnitude(), structure, Uniform())
    units = structure.units(model, INPUTS)
    gone = {name for weight, along in units.items() for name in (weight, *along)}
    store = MaskStore({n: p for n, p in model.named_parameters() if n in gone})
    data = Calibration([], lambda outputs, labels: outputs.sum(), mean_alone)
    store.shrink_to(pruner.decide(model, store, units, Goal(14, "weights"), data).masks)
    store.apply_to(model)
    return model, store.masks


def check_same(one: Tensors, other: Tensors) -> None:
    assert one.keys() == other.keys()
    torch.testing.assert_close(dict(one), dict(other), rtol=0, atol=0)


def delivery(model: nn.Module, masks: Tensors) -> Delivery:
    return Delivery(model.state_dict(), masks, shape=(3,), classes=2)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_what_is_delivered_is_read_back(tmp_path: Path, structure: Structure) -> None:
    # Masks of a neuron's bias and norm are one tensor, which safetensors refuses as it is.
    model, masks = pruned(structure)
    deliver(tmp_path, delivery(model, masks))
    read = read_delivery(tmp_path)
    check_same(read.state, model.state_dict())
    check_same(read.masks, masks)
    assert (read.shape, read.classes) == ((3,), 2)
    assert sorted(os.listdir(tmp_path)) == ["masks.safetensors", "model.safetensors"]


def test_shared_and_transposed_weights_are_delivered(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    mask = torch.tensor([[True, False, False]] * 3).t()
    deliver(tmp_path, delivery(model, {"0.weight": mask}))
    read = read_delivery(tmp_path)
    check_same(read.state, model.state_dict())
    assert torch.equal(read.masks["0.weight"], mask)


def test_a_second_delivery_replaces_the_first(tmp_path: Path) -> None:
    for structure in STRUCTURES:
        deliver(tmp_path, delivery(*pruned(structure)))
    check_same(read_delivery(tmp_path).masks, pruned(Neuron())[1])


@pytest.mark.parametrize("there", [[], ["model"], ["masks"]])
def test_a_folder_without_a_network_is_refused(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / f"{name}.safetensors").touch()
    with pytest.raises(ValueError, match=r"has no .*safetensors; name the folder of a finished"):
        read_delivery(tmp_path)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_torch_prune_form_answers_like_the_pruned_network(structure: Structure) -> None:
    model, masks = pruned(structure)
    expected = model(INPUTS)
    to_torch_prune(model, masks)
    assert prune.is_pruned(model)
    assert torch.equal(model(INPUTS), expected)


def test_torch_prune_form_applies_the_masks_at_every_forward() -> None:
    model, masks = pruned(Element())
    expected = model(INPUTS)
    to_torch_prune(model, masks)
    with torch.no_grad():
        original: Tensor = model.get_parameter("fc1.weight_orig")
        original[~masks["fc1.weight"]] = 7.0
    assert torch.equal(model(INPUTS), expected)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_there_and_back_gives_masks_and_weights(structure: Structure) -> None:
    model, masks = pruned(structure)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    back = from_torch_prune(to_torch_prune(model, masks))
    check_same(back, masks)
    check_same(model.state_dict(), before)
    assert not prune.is_pruned(model)


def test_masks_of_torchs_own_pruning_are_taken_over() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -3.0], [0.5, 2.0]]))
    prune.l1_unstructured(model[0], "weight", amount=2)
    masks = from_torch_prune(model)
    assert masks["0.weight"].tolist() == [[False, True], [False, True]]
    assert model[0].weight.tolist() == [[0.0, -3.0], [0.0, 2.0]]
    assert list(masks) == ["0.weight"]


def test_a_lone_layer_has_no_path_before_its_names() -> None:
    layer = nn.Linear(2, 1)
    mask = torch.tensor([[True, False]])
    assert from_torch_prune(to_torch_prune(layer, {"weight": mask}))["weight"].equal(mask)


def test_a_buffer_that_is_only_called_a_mask_is_left_alone() -> None:
    model, masks = pruned(Element())
    model.register_buffer("attention_mask", torch.ones(2))
    to_torch_prune(model, masks)
    assert from_torch_prune(model).keys() == masks.keys()
    assert torch.equal(model.get_buffer("attention_mask"), torch.ones(2))


def test_a_model_that_torch_did_not_prune_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential has no .*prune it with torch.nn.utils.prune"):
        from_torch_prune(nn.Sequential(nn.Linear(2, 2)))
