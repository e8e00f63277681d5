"""Writes and reads the pruned model, and converts it to and from torch.nn.utils.prune."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from harness.model_state.whole_state import load_into
from harness.run_folder.outcome import COMPACT, CONFIG, MASKS, MODEL
from harness.run_folder.status_file import Status
from harness.system.atomic_files import write_atomic
from harness.system.json_schema import parse_json
from harness.vocabulary.given.masks import as_bool
from harness.vocabulary.tensors import Tensors, clone_tensors


@dataclass(frozen=True)
class ExportedModel:
    """Holds what is needed to build a finished run's model again without its data."""

    state: Tensors
    masks: Tensors
    shape: tuple[int, ...]  # of one sample
    classes: int
    smaller: "SmallerModel | None" = None  # without the pruned units, where a run compacts


@dataclass(frozen=True)
class SmallerModel:
    """Holds a compacted model.

    Args:
        state: tensors in the smaller shapes.
        cut: how it differs from the dense model, as plain values; Cut in harness/pruning.
    """

    state: Tensors
    cut: dict[str, Any]


def export_model(folder: Path, exported: ExportedModel) -> None:
    """Writes model.safetensors (the whole state, pruned weights 0) and masks.safetensors (bool).

    A compacted model is written beside it, as compact.safetensors.
    """
    model, masks = to_bytes(exported)
    if exported.smaller:
        facts = {"cut": json.dumps(exported.smaller.cut)}
        state = clone_tensors(exported.smaller.state)
        write_atomic(folder / COMPACT, safetensors.torch.save(state, metadata=facts))
    write_atomic(folder / MODEL, model)
    write_atomic(folder / MASKS, masks)


def to_bytes(exported: ExportedModel) -> tuple[bytes, bytes]:
    """Returns the content of model.safetensors and of masks.safetensors."""
    # One entry: the order of several entries in a file of safetensors varies from run to run.
    facts = {"model": json.dumps({"shape": exported.shape, "classes": exported.classes})}
    state, masks = clone_tensors(exported.state), clone_tensors(exported.masks)
    return safetensors.torch.save(state, metadata=facts), safetensors.torch.save(masks)


def read_exported(folder: Path) -> ExportedModel:
    """Reads the model of a finished run, on the CPU, and checks its files and config.yaml.

    Raises:
        ValueError: a file is missing or damaged, or the run is not finished.
    """
    missing = [name for name in (MODEL, MASKS) if not (folder / name).exists()]
    if missing:
        raise ValueError(
            f"{folder} has no {' and no '.join(missing)}; name the folder of a finished run "
            "(runs/SWEEP/XX/NAME-HASH)"
        )
    status = Status(folder, "")
    if (state := status.read().get("state")) != "finished":
        raise ValueError(
            f"{folder / 'status.json'}: state={state}, so the run is not finished and its model "
            "cannot be checked; repeat the run's command, which finishes it"
        )
    if why := status.damage((MODEL, MASKS, CONFIG)):
        raise ValueError(f"{why}; repeat the run's command, which makes the files again")
    try:
        with safetensors.safe_open(folder / MODEL, framework="pt") as file:
            shape, classes = _shape_and_classes(parse_json(file.metadata()["model"]))
        state, masks = (safetensors.torch.load_file(folder / name) for name in (MODEL, MASKS))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{MODEL} or {MASKS} in {folder} is damaged ({error}); run again with rerun=always"
        ) from error
    return ExportedModel(state, masks, shape, classes)


def read_smaller(folder: Path) -> SmallerModel:
    """Reads the compacted model of a run.

    Raises:
        ValueError: there is none, or the file is damaged.
    """
    path = folder / COMPACT
    if not path.exists():
        raise ValueError(f"{folder} has no {COMPACT}; run with compact=end or compact=levels")
    if why := Status(folder, "").damage((COMPACT,)):
        raise ValueError(f"{why}; repeat the run's command, which makes the files again")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            cut = parse_json(file.metadata()["cut"])
        return SmallerModel(safetensors.torch.load_file(path), cut)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); run again with rerun=always") from error


def _shape_and_classes(facts: dict[str, Any]) -> tuple[tuple[int, ...], int]:
    shape, classes = facts["shape"], facts["classes"]
    whole = isinstance(shape, list) and all(type(size) is int for size in (*shape, classes))
    if not whole or min((*shape, classes)) < 1:
        raise ValueError(f"its shape and classes must be sizes, got {shape!r} and {classes!r}")
    return tuple(shape), classes


def load_exported(model: nn.Module, exported: ExportedModel) -> None:
    """Loads the exported state into a new model, in the dtype of the exported parameters.

    Buffers keep their own dtypes: BatchNorm counts batches in int64.

    Raises:
        ValueError: state or masks belong to another model.
    """
    named = (exported.state.get(name) for name, _ in model.named_parameters())
    dtypes = [value.dtype for value in named if value is not None and value.is_floating_point()]
    load_into(model.to(dtypes[0]) if dtypes else model, exported.state)
    _check_masks(model, exported.masks)
    for name, mask in exported.masks.items():
        alive = int(model.get_parameter(name).detach()[~mask].count_nonzero())
        if alive:
            raise ValueError(
                f"{name} has {alive} weights that are not 0 where its mask prunes them; "
                f"{MODEL} and {MASKS} are of different models; run again with rerun=always"
            )


def to_torch_prune(model: nn.Module, masks: Tensors) -> nn.Module:
    """Converts a pruned model to the form of torch.nn.utils.prune, in place.

    Every masked parameter p of a module becomes p_orig (a parameter), p_mask (a buffer) and p,
    their product, recomputed before each forward of that module. A tied parameter gets its mask
    in every module that owns it, under whichever of its names `masks` has it. `prune.remove`
    makes it permanent.

    Raises:
        ValueError: `masks` has two names of one parameter with different masks, a name or shape
            that is not in the model, or other values than 0 and 1.
    """
    masks = as_bool(masks)
    _check_masks(model, masks)
    every = _owners(model)
    for name, mask in _once(model, masks).items():
        for owner in every[id(_original(model, name))]:
            path, _, parameter = owner.rpartition(".")
            module = model.get_submodule(path)
            prune.custom_from_mask(module, parameter, mask)
            # Detached until the next forward pass: copy.deepcopy refuses results of autograd.
            setattr(module, parameter, getattr(module, parameter).detach())
    return model


def from_torch_prune(model: nn.Module) -> Tensors:
    """Makes the pruning of torch.nn.utils.prune permanent, in place, and returns the masks.

    True stays. A tied parameter stays tied, and its mask has the first of its names.

    Raises:
        ValueError: no parameter is pruned in that form, or a tied parameter has different masks in
            two of its modules.
    """
    found_masks = {
        name: model.get_buffer(f"{name}_mask").bool()
        for names in _owners(model).values()
        for name in names
        if _is_masked(model, name)
    }
    if not found_masks:
        raise ValueError(
            f"{type(model).__name__} has no *_orig parameter with its *_mask buffer; "
            "prune it with torch.nn.utils.prune first"
        )
    for names in _owners(model).values():
        if any(name in found_masks for name in names):
            _check_alike(names, {name: found_masks.get(name) for name in names})
    masks = _once(model, found_masks)
    for name in found_masks:
        path, _, parameter = name.rpartition(".")
        prune.remove(model.get_submodule(path), parameter)
    return masks


def _owners(model: nn.Module) -> dict[int, list[str]]:
    """Returns the names of each parameter, one per module, by id of the unmasked parameter."""
    owners: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                plain = key.removesuffix("_orig")
                own = plain if f"{plain}_mask" in module._buffers else key
                owners.setdefault(id(parameter), []).append(f"{path}.{own}".removeprefix("."))
    return owners


def _original(model: nn.Module, name: str) -> nn.Parameter:
    return model.get_parameter(f"{name}_orig" if _is_masked(model, name) else name)


def _check_masks(model: nn.Module, masks: Tensors) -> None:
    for name, mask in masks.items():
        try:
            shape = tuple(_original(model, name).shape)
        except AttributeError as error:
            raise ValueError(
                f"masks has {name!r}, which is no parameter of {type(model).__name__}; give the "
                "masks of this model"
            ) from error
        if tuple(mask.shape) != shape:
            raise ValueError(
                f"the mask of {name} has shape {tuple(mask.shape)}, and the parameter {shape}; "
                "give the masks of this model"
            )


def _is_masked(model: nn.Module, name: str) -> bool:
    path, _, key = name.rpartition(".")
    module = model.get_submodule(path)
    return f"{key}_orig" in module._parameters and f"{key}_mask" in module._buffers


def _once(model: nn.Module, masks: Tensors) -> Tensors:
    """Returns each mask once, under the first name of its parameter; all names must agree."""
    named: dict[int, dict[str, Tensor]] = {}
    for name, mask in masks.items():
        own = _original(model, name)
        named.setdefault(id(own), {})[name] = mask.to(own.device)
    for alike in named.values():
        _check_alike(list(alike), alike)
    return {name: alike[name] for alike in named.values() for name in list(alike)[:1]}


def _check_alike(names: list[str], masks: Mapping[str, Tensor | None]) -> None:
    """Checks that all names have equal masks; None stands for a module without a mask."""
    for first, second in pairwise(names):
        first_mask, second_mask = masks[first], masks[second]
        alike = first_mask is second_mask or (
            first_mask is not None
            and second_mask is not None
            and torch.equal(first_mask.bool(), second_mask.bool())
        )
        if not alike:
            raise ValueError(
                f"{first} and {second} are one tied parameter and are masked differently; give "
                "both the same mask, or untie them"
            )
