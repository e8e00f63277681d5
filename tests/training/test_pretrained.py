"""Tests weights as other programs write them: wrapped, nested, masked, with another head."""

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from left_alone import check_same
from torch import Tensor, nn
from torch.nn.utils import prune

import harness
from harness.training.pretrained import load_weights

State = dict[str, Any]


def network(classes: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential()
    model.add_module("conv", nn.Conv2d(1, 2, 3))
    model.add_module("norm", nn.BatchNorm2d(2))
    model.norm.running_mean.normal_()  # type: ignore[union-attr, operator]
    model.add_module("fc", nn.Linear(2, classes))
    return model


GIVEN = network(seed=1).state_dict()


def prefixed(prefix: str, state: State = GIVEN) -> State:
    return {prefix + name: value for name, value in state.items()}


def averaged() -> State:
    model = torch.optim.swa_utils.AveragedModel(network())
    model.module.load_state_dict(GIVEN)
    return model.state_dict()


def compiled() -> State:
    """Returns the names that a model has one of whose layers torch.compile has wrapped."""
    return {name.replace("fc.", "fc._orig_mod."): value for name, value in GIVEN.items()}


NUMBERS = {"best": np.float64(0.5), "step": np.int64(3), "args": argparse.Namespace(lr=0.1)}
OTHER = {name: value + 1 for name, value in GIVEN.items()}
WRAPPED: dict[str, tuple[Callable[[], Any], str]] = {
    "bare": (lambda: GIVEN, ""),
    "DataParallel": (lambda: prefixed("module."), "without the prefix module."),
    "torch.compile": (lambda: prefixed("_orig_mod."), "without _orig_mod in its names"),
    "a compiled layer": (compiled, "without _orig_mod in its names"),
    "both": (lambda: prefixed("module._orig_mod."), "without the prefix module."),
    "both, the other way": (lambda: prefixed("_orig_mod.module."), "without the prefix module."),
    "Lightning": (
        lambda: {
            "epoch": 7,
            "state_dict": prefixed("model.") | {"loss.weight": torch.ones(3)},
            "optimizer_states": [{"state": {0: {"step": torch.ones(())}}}],
        },
        "read from state_dict; without the prefix model.; left out loss.weight",
    ),
    "an own attribute": (lambda: prefixed("student.net."), "without the prefix student.net."),
    "timm": (lambda: {"model": GIVEN, **NUMBERS}, "read from model"),
    "a tutorial": (
        lambda: {"model_state_dict": prefixed("module."), "loss": torch.ones(())},
        "read from model_state_dict; without the prefix module.",
    ),
    "two levels": (lambda: {"net": {"state_dict": GIVEN}}, "read from net.state_dict"),
    "an average beside it": (
        lambda: {"model": OTHER, "model_ema": averaged()},
        "read from model_ema; without the prefix module.; left out n_averaged",
    ),
    "two of which one fits": (
        lambda: {"teacher": network(5).state_dict(), "student": GIVEN},
        "read from student",
    ),
    "before torch 0.4.1": (
        lambda: {n: v for n, v in GIVEN.items() if not n.endswith("num_batches_tracked")},
        "",
    ),
    "in half precision": (lambda: {n: v.to(torch.float64) for n, v in GIVEN.items()}, ""),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_weights_are_unwrapped_and_it_is_told(tmp_path, kind) -> None:
    content, told = WRAPPED[kind]
    torch.save(content(), tmp_path / "weights.pt")
    model = network()
    line = load_weights(model, tmp_path / "weights.pt")
    check_same(dict(model.state_dict()), dict(GIVEN))
    assert told in line and bool(told) == bool(line)


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_weights_are_loaded_from_a_file_of_either_kind(tmp_path, ending) -> None:
    file, model = tmp_path / f"weights.{ending}", network()
    state = prefixed("module.")
    torch.save(state, file) if ending == "pt" else safetensors.torch.save_file(state, file)
    assert harness.load_weights(model, str(file)) == "without the prefix module."
    check_same(dict(model.state_dict()), dict(GIVEN))


def test_the_form_of_torch_prune_is_multiplied_out(tmp_path) -> None:
    masked = network(seed=1)
    prune.l1_unstructured(masked.fc, "weight", 0.5)
    prune.random_unstructured(masked.conv, "bias", 1)
    torch.save(prefixed("model.", masked.state_dict()), tmp_path / "masked.pt")
    model = network()
    line = load_weights(model, tmp_path / "masked.pt")
    assert "2 tensors multiplied by their masks (*_orig, *_mask)" in line
    prune.remove(masked.fc, "weight")
    prune.remove(masked.conv, "bias")
    check_same(dict(model.state_dict()), dict(masked.state_dict()))


class Tied(nn.Module):
    """Has a head that is its table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 2), nn.Linear(2, 5, bias=False)
        self.head.weight = self.table.weight


def test_tied_weights_are_taken_from_either_name(tmp_path) -> None:
    file, model = tmp_path / "tied.safetensors", Tied()
    safetensors.torch.save_file({"head.weight": torch.full((5, 2), 7.0)}, file)
    load_weights(model, file)
    assert model.table.weight.unique().tolist() == [7] and model.head.weight is model.table.weight


HEAD = "fc.weight has shape (7, 2) in the file and (3, 2) in the model, and 1 more differ; "


@pytest.mark.parametrize(
    "wrap, skip",
    [(dict, ["fc"]), (lambda state: {"state_dict": prefixed("module.", state)}, "fc")],
)
def test_another_head_is_named_with_both_shapes_and_may_be_left_out(tmp_path, wrap, skip) -> None:
    torch.save(wrap(network(7, seed=1).state_dict()), tmp_path / "wide.pt")
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_weights(model, tmp_path / "wide.pt")
    assert HEAD + "weights_skip=[fc] leaves fc as initialised" in str(error.value)
    check_same(dict(model.state_dict()), before)

    line = load_weights(model, tmp_path / "wide.pt", skip)
    assert line.endswith("fc stays as initialised")
    for name, value in model.state_dict().items():
        source = before if name.startswith("fc.") else GIVEN
        assert torch.equal(value, source[name]), name


def without(*names: str) -> State:
    return {name: value for name, value in GIVEN.items() if name not in names}


LONE: Tensor = torch.zeros(())
PROBLEMS: dict[str, tuple[Any, list[str], str]] = {
    "missing": (
        without("norm.weight"), [],
        "norm.weight, of shape (2,), is not in the file; weights_skip=[norm] leaves norm",
    ),
    "unexpected": (
        GIVEN | {"fc2.weight": LONE}, [],
        "fc2.weight is in the file and not in the model; is it of another model?",
    ),
    "another model": (
        {f"{n}.weight": LONE for n in "abc"}, [], "none of its tensors has a name of the model",
    ),
    "no tensors": ({"a": 1}, [], "none of its tensors has a name of the model"),
    "a list": ([LONE], [], "none of its tensors has a name of the model"),
    "a tensor": (LONE, [], "none of its tensors has a name of the model"),
    "two that fit": (
        {"student": GIVEN, "teacher": GIVEN}, [],
        "it holds several states that fit: student and teacher",
    ),
    "two below two prefixes": (
        prefixed("student.") | prefixed("teacher."), [],
        "it holds several states that fit: student and teacher",
    ),
    "integers": (
        GIVEN | {"fc.bias": torch.ones(3, dtype=torch.int8)}, [],
        "fc.bias is torch.int8 in the file and torch.float32 in the model",
    ),
    "no tensor": (GIVEN | {"fc.bias": [1.0, 2.0, 3.0]}, [], "fc.bias, of shape (3,), is not in"),
    "not finite": (
        GIVEN | {"fc.bias": torch.tensor([1, torch.nan, 0])}, [],
        "fc.bias has values that are not finite in the file",
    ),
    "an object": (
        GIVEN | {"model": network()}, [],
        "it holds an object of torch.nn.modules.container.Sequential, and only tensors",
    ),
    "a skip of nothing": (GIVEN, ["head"], "weights_skip names 'head', which the model does not"),
    "a skip of all": (GIVEN, ["fc", "conv", "norm"], "leaves nothing to load"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROBLEMS)
def test_what_does_not_fit_is_said_in_one_line(tmp_path, kind) -> None:
    content, skip, message = PROBLEMS[kind]
    torch.save(content, tmp_path / "weights.pt")
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_weights(model, tmp_path / "weights.pt", skip)
    assert message in str(error.value) and "\n" not in str(error.value)
    check_same(dict(model.state_dict()), before)


FILES = {
    "none.pt": (None, "No such file"),
    "none.safetensors": (None, "No such file"),
    "empty.pt": (b"", "the file is empty"),
    "cut.pt": (b"PK\x03\x04", ""),
    "text.safetensors": (json.dumps({"a": 1}).encode(), "deserializing header"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none_of_weights_is_named(tmp_path, name) -> None:
    content, message = FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_weights(network(), tmp_path / name)
    assert str(error.value).startswith(f"weights={tmp_path / name} does not fit Sequential: ")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_half_of_a_tied_tensor_cannot_be_left_out(tmp_path) -> None:
    torch.save(Tied().state_dict(), tmp_path / "tied.pt")
    with pytest.raises(ValueError, match="head.weight is the same tensor as table.weight"):
        load_weights(Tied(), tmp_path / "tied.pt", ["head"])
