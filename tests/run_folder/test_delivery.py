import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from harness.allocation.uniform import Uniform
from harness.model_state.torch_prune import from_torch_prune, to_torch_prune
from harness.models.mlp import Mlp
from harness.pruning.budget import RequestedSize
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.run_folder.export import (
    ExportedModel,
    export_model,
    load_exported,
    read_exported,
)
from harness.run_folder.outcome import CONFIG, MASKS, MODEL
from harness.run_folder.status_file import Status
from harness.saliency.magnitude import Magnitude
from harness.structure.base import Structure
from harness.structure.element import Element
from harness.structure.neuron import Neuron
from harness.vocabulary.tensors import Tensors, local_mean

INPUTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
STRUCTURES = [Element(), Neuron()]


def pruned(structure: Structure) -> tuple[nn.Module, Tensors]:
    """Returns a model in eval mode with about half of its units gone, and its masks."""
    torch.manual_seed(0)
    model = Mlp(hidden=[6, 1, 4], batch_norm=True).build((3,), 2).eval()
    pruner = Pruner(Magnitude(), structure, Uniform())
    units = structure.units(model, INPUTS)
    gone = {name for each in units.values() for name in each.masked}
    store = MaskStore({n: p for n, p in model.named_parameters() if n in gone})
    data = Calibration([], lambda outputs, labels: outputs.sum(), local_mean)
    store.shrink_to(
        pruner.propose(model, store, units, RequestedSize(14, "parameters"), data).masks
    )
    store.apply_to(model)
    return model, store.masks


def check_same(one: Tensors, other: Tensors) -> None:
    assert one.keys() == other.keys()
    torch.testing.assert_close(dict(one), dict(other), rtol=0, atol=0)


def delivery(model: nn.Module, masks: Tensors) -> ExportedModel:
    return ExportedModel(model.state_dict(), masks, shape=(3,), classes=2)


def finish(folder: Path, model: nn.Module, masks: Tensors) -> None:
    """Writes the files that a run leaves with its finished model."""
    export_model(folder, delivery(model, masks))
    (folder / CONFIG).touch()
    Status(folder, "").set("finished")


@pytest.mark.parametrize("structure", STRUCTURES)
def test_what_is_delivered_is_read_back(tmp_path, structure) -> None:
    # Masks of a neuron's bias and norm are one tensor, which safetensors refuses as it is.
    model, masks = pruned(structure)
    finish(tmp_path, model, masks)
    read = read_exported(tmp_path)
    check_same(read.state, model.state_dict())
    check_same(read.masks, masks)
    assert (read.shape, read.classes) == ((3,), 2)
    assert sorted(os.listdir(tmp_path)) == sorted([CONFIG, MASKS, MODEL, "status.json"])


def test_shared_and_transposed_weights_are_delivered(tmp_path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    mask = torch.tensor([[True, False, False]] * 3).t()
    finish(tmp_path, model, {"0.weight": mask})
    read = read_exported(tmp_path)
    check_same(read.state, model.state_dict())
    assert torch.equal(read.masks["0.weight"], mask)


class Counting(nn.Linear):
    """Its first parameter is a whole number."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        count = nn.Parameter(torch.tensor(3), requires_grad=False)
        self._parameters = {"count": count, **self._parameters}


def test_a_delivered_state_is_put_into_a_new_network_in_the_dtype_of_its_parameters() -> None:
    model, again = Counting().double(), Counting()
    load_exported(again, delivery(model, {}))
    check_same(again.state_dict(), model.state_dict())


def test_a_delivery_of_another_network_is_not_put_into_this_one() -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="bias is in one only of the stored state and Linear"):
        load_exported(model, delivery(nn.Linear(2, 1, bias=False), {}))
    nn.init.ones_(model.weight)
    with pytest.raises(ValueError, match="weight has 1 weights that are not 0 where its mask"):
        load_exported(model, delivery(model, {"weight": torch.tensor([[True, False]])}))


def test_a_second_delivery_replaces_the_first(tmp_path) -> None:
    for structure in STRUCTURES:
        finish(tmp_path, *pruned(structure))
    check_same(read_exported(tmp_path).masks, pruned(Neuron())[1])


@pytest.mark.parametrize("there", [[], ["model"], ["masks"]])
def test_a_folder_without_a_network_is_refused(tmp_path, there) -> None:
    for name in there:
        (tmp_path / f"{name}.safetensors").touch()
    with pytest.raises(ValueError, match=r"has no .*safetensors; name the folder of a finished"):
        read_exported(tmp_path)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_torch_prune_form_answers_like_the_pruned_network(structure) -> None:
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
def test_there_and_back_gives_masks_and_weights(structure) -> None:
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


class Tied(nn.Module):
    """One weight in three places: two layers, and an embedding that reads its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.b, self.d, self.o = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.e = nn.Embedding(8, 8)
        self.d.weight = self.e.weight = self.b.weight

    def forward(self, inputs: Tensor) -> Tensor:
        rows = self.e(torch.arange(len(inputs)) % 8)
        return self.o(self.d(self.b(inputs).relu() + rows).relu())


OWNERS = ("b", "d", "e")


def tied() -> tuple[Tied, dict[str, Tensor]]:
    torch.manual_seed(0)
    net = Tied()
    # By hand: pruning leaves a weight alone that is an embedding too.
    mask = net.b.weight.abs() > net.b.weight.abs().median()
    net.b.weight.data *= mask
    return net, {"b.weight": mask}


@pytest.mark.parametrize("owner", OWNERS)
def test_every_owner_of_a_tied_weight_is_masked_also_after_training_steps(owner) -> None:
    net, masks = tied()
    inputs = torch.randn(16, 8)
    expected = net(inputs)
    # Whichever of its names the mask has.
    to_torch_prune(net, {f"{owner}.weight": masks["b.weight"]})
    assert torch.equal(net(inputs), expected)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        net(inputs).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    net(inputs)
    for own in OWNERS:
        weight = net.get_submodule(own).weight
        assert torch.equal(weight != 0, masks["b.weight"]), own


def test_a_tied_weight_comes_back_tied_and_under_its_first_name() -> None:
    net, masks = tied()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    back = from_torch_prune(to_torch_prune(net, masks))
    check_same(back, masks)
    check_same(net.state_dict(), before)
    assert net.b.weight is net.d.weight is net.e.weight


def test_masks_that_differ_between_the_owners_of_a_tied_weight_are_refused() -> None:
    net, masks = tied()
    other = {"d.weight": ~masks["b.weight"]}
    with pytest.raises(ValueError, match=r"b\.weight and d\.weight are one tied parameter"):
        to_torch_prune(net, {**masks, **other})
    # As torch's own functions leave it: one of the layers is masked, the others are whole.
    prune.custom_from_mask(net.d, "weight", masks["b.weight"])
    with pytest.raises(ValueError, match=r"b\.weight and d\.weight are one tied parameter"):
        from_torch_prune(net)
    assert net.d.weight_orig is net.b.weight
