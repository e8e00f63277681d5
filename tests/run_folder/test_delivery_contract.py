"""Tests what may be done with a pruned network, for every model of conf/ and every structure."""

import copy

import pytest
import torch
from conftest import CONF, component, every, names_of, narrow, shape_for
from omegaconf import OmegaConf
from torch import Tensor, nn

import harness
from harness.model_state.torch_prune import from_torch_prune, to_torch_prune
from harness.model_state.whole_state import whole_state
from harness.models.base import Model
from harness.run_folder.export import MASKS, MODEL, ExportedModel, export_model
from harness.run_folder.status_file import Status
from harness.structure.base import Structure
from harness.vocabulary.tensors import Tensors

CLASSES = 10
MODELS = names_of("model")


def shape_of(model: str) -> tuple[int, ...]:
    return shape_for(component("model", model, **narrow("model", model)))


def inputs_of(model: str, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.randint(CLASSES, (2, *shape_of(model)), generator=torch.Generator())
    return drawn.to(dtype)


def pruned(model: str, structure: Structure, dtype: torch.dtype) -> tuple[nn.Module, Tensors]:
    """Returns a model in eval mode, with part of it gone, after a batch in training mode."""
    torch.manual_seed(0)
    part: Model = component("model", model, **narrow("model", model))
    network = part.build(shape_of(model), CLASSES).to(dtype)
    inputs = inputs_of(model, dtype)
    network(inputs)
    for density in (0.5, 0.97):  # as little of some models is in their filters
        try:
            masks = harness.prune(
                network, density, structure=structure, allocation="uniform", example_input=inputs
            )
            return network.eval(), masks
        except ValueError as error:
            why = error
    pytest.skip(f"has no such units: {why}")


def check_same(one: Tensors, other: Tensors) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype and torch.equal(value, other[name]), name


@every("structure")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_delivered_network_is_loaded_as_it_was(tmp_path, model, structure, dtype) -> None:
    network, masks = pruned(model, structure, dtype)
    export_model(tmp_path, ExportedModel(whole_state(network), masks, shape_of(model), CLASSES))
    part = OmegaConf.load(CONF / "model" / f"{model}.yaml")
    part.update(narrow("model", model))
    OmegaConf.save({"model": part}, tmp_path / "config.yaml")
    Status(tmp_path, "").set("finished")

    loaded, kept = harness.load(tmp_path)
    check_same(whole_state(loaded), whole_state(network))
    check_same(kept, masks)
    inputs = inputs_of(model, dtype)
    assert torch.equal(loaded(inputs), network(inputs)) and not loaded.training


@every("structure")
@pytest.mark.parametrize("model", MODELS)
def test_a_pruned_network_is_copied_and_goes_to_torchs_form_and_back(model, structure) -> None:
    network, masks = pruned(model, structure, torch.float32)
    before, inputs = whole_state(copy.deepcopy(network)), inputs_of(model)
    expected = network(inputs)

    as_torch = to_torch_prune(copy.deepcopy(network), masks)
    again = copy.deepcopy(as_torch)
    for one in (as_torch, again):
        assert torch.equal(one(inputs), expected)
        check_same(from_torch_prune(one), masks)
        check_same(whole_state(one), before)
    check_same(whole_state(network), before)


def test_what_lies_beside_no_network_is_refused_by_name(tmp_path) -> None:
    network, masks = pruned("mlp", component("structure", "element"), torch.float32)
    export_model(tmp_path, ExportedModel(whole_state(network), masks, (8,), CLASSES))
    (tmp_path / MODEL).write_bytes((tmp_path / MASKS).read_bytes())  # without shape and classes
    (tmp_path / "config.yaml").touch()
    Status(tmp_path, "").set("finished")
    with pytest.raises(ValueError, match=rf"{MODEL} or {MASKS} in .* is damaged"):
        harness.load(tmp_path)
