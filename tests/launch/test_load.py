"""harness.load says in one line what is wrong with a folder, whatever lies in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import harness
from harness.model_state.torch_prune import to_torch_prune
from harness.models.mlp import Mlp
from harness.run_folder.export import CONFIG, MASKS, MODEL, ExportedModel, export_model
from harness.run_folder.status_file import Status
from harness.vocabulary.tensors import Tensors

MLP = {"_target_": "harness.models.mlp.Mlp", "hidden": [4]}
MASK = torch.ones(4, 3, dtype=torch.bool)


def run_with(folder: Path, config: str, masks: Tensors | None = None) -> Path:
    """Returns the folder of a finished run with this config.yaml, whose checksums are right."""
    state = Mlp([4]).build((3,), 2).state_dict()
    export_model(folder, ExportedModel(state, masks or {"fc1.weight": MASK}, (3,), 2))
    (folder / CONFIG).write_text(config)
    Status(folder, "").set("finished")
    return folder


def refusal(call: Callable[..., Any], *given: Any, **keys: Any) -> str:
    with pytest.raises(ValueError) as caught:
        call(*given, **keys)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)
    return str(caught.value)


def stored(**keys: Any) -> str:
    return json.dumps({"model": {**MLP, **keys}})


CONFIGS = {
    json.dumps(
        {"model": {"_target_": "harness.structure.element.Element"}}
    ): "no attribute 'build'",
    json.dumps({"model": {}}): "cannot be built",
    stored(_partial_=True): "cannot be built",
    stored(evil=1): "evil: there is no such key",
    stored(_args_=[1, 2, 3]): "cannot be built (TypeError",
    stored(_recursive_="x"): "cannot be built (TypeError",
    stored(hidden=[-3]): "(hidden must be a list of whole numbers in [1, 1000000], got [-3]",
    stored(hidden="???"): "hidden",
    stored(hidden=[5]): "fc1.weight has shape (4, 3) in the stored state",
    "- a\n": "has no model",
    "\n": "has no model",
    "model: [\n": "cannot be read (ParserError",
    "model: !!python/object/apply:os.system [true]\n": "cannot be read (ConstructorError",
    "a: ${\n": "",
}


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_that_builds_no_network_is_refused(tmp_path, config) -> None:
    assert CONFIGS[config] in refusal(harness.load, run_with(tmp_path, config))


@pytest.mark.parametrize("model", [{"shape": "evil", "classes": 2}, [1], {"shape": [3]}])
def test_a_model_for_no_shape_is_refused(tmp_path, model) -> None:
    folder = run_with(tmp_path, stored())
    state = safetensors.torch.load_file(folder / MODEL)
    facts = {"model": json.dumps(model)}
    safetensors.torch.save_file(state, folder / MODEL, metadata=facts)
    Status(folder, "").set("finished")
    assert f"{MODEL} or {MASKS} in {folder} is damaged" in refusal(harness.load, folder)


@pytest.mark.parametrize("trust", [None, 3, [3], {"my_pkg": 1}])
def test_trust_that_names_no_module_is_refused(tmp_path, trust) -> None:
    with pytest.raises(ValueError, match="trust must name modules"):
        harness.load(run_with(tmp_path, stored()), trust=trust)


WRONG = {"evil": MASK, "fc7.weight": MASK, "fc1": MASK, "fc1.weight": MASK[:1]}


@pytest.mark.parametrize("name", WRONG)
def test_masks_of_another_network_are_refused(tmp_path, name) -> None:
    masks = {name: WRONG[name]}
    assert name in refusal(harness.load, run_with(tmp_path, stored(), masks))
    model = Mlp([4]).build((3,), 2)
    assert name in refusal(to_torch_prune, model, {"fc2.bias": torch.ones(2), **masks})
    assert not list(model.buffers())  # nothing is half done


def test_weights_that_are_alive_where_their_mask_prunes_them_are_refused(tmp_path) -> None:
    mask = MASK.clone()
    mask[1] = False
    folder = run_with(tmp_path, stored(), {"fc1.weight": mask})
    assert "fc1.weight has 3 weights that are not 0" in refusal(harness.load, folder)
