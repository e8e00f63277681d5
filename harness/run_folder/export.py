"""Writes and reads the pruned model of a run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from harness.groups.living import add_living_norms
from harness.model_state.torch_prune import check_masks
from harness.model_state.whole_state import load_in_stored_dtype
from harness.run_folder.outcome import COMPACT, CONFIG, MASKS, MODEL
from harness.run_folder.status_file import Status
from harness.system.atomic_files import write_atomic
from harness.system.json_schema import parse_json
from harness.vocabulary.given.inputs import SampleShape
from harness.vocabulary.tensors import Tensors, clone_tensors


@dataclass(frozen=True)
class ExportedModel:
    """Holds what is needed to build a finished run's model again without its data."""

    state: Tensors
    masks: Tensors
    shape: SampleShape  # of one sample
    classes: int
    # Norm -> the units over which it takes its statistics, where these are not all.
    living_norms: Tensors = field(default_factory=dict)


def export_model(folder: Path, exported: ExportedModel) -> None:
    """Writes model.safetensors (the whole state, pruned weights 0) and masks.safetensors (bool)."""
    model, masks = to_bytes(exported)
    write_atomic(folder / MODEL, model)
    write_atomic(folder / MASKS, masks)


def to_bytes(exported: ExportedModel) -> tuple[bytes, bytes]:
    """Returns the content of model.safetensors and of masks.safetensors."""
    # One entry: the order of several entries in a file of safetensors varies from run to run.
    own: dict[str, Any] = {"shape": exported.shape, "classes": exported.classes}
    if exported.living_norms:
        own["living_norms"] = {name: kept.tolist() for name, kept in exported.living_norms.items()}
    facts = {"model": json.dumps(own)}
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
            facts = parse_json(file.metadata()["model"])
        shape, classes = _shape_and_classes(facts)
        norms = facts.get("living_norms", {})
        living = {name: torch.tensor(kept, dtype=torch.int64) for name, kept in norms.items()}
        state, masks = (safetensors.torch.load_file(folder / name) for name in (MODEL, MASKS))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{MODEL} or {MASKS} in {folder} is damaged ({error}); run again with rerun=always"
        ) from error
    return ExportedModel(state, masks, shape, classes, living)


def has_compact(folder: Path) -> bool:
    """True if the run compacted its model; checks the files of compact/ then.

    Raises:
        ValueError: one is missing or damaged.
    """
    status = Status(folder, "")
    if COMPACT[0] not in status.read().get("sha256", {}):
        return False
    if why := status.damage(COMPACT):
        raise ValueError(f"{why}; repeat the run's command, which makes the files again")
    return True


def _shape_and_classes(facts: dict[str, Any]) -> tuple[SampleShape, int]:
    shape, classes = facts["shape"], facts["classes"]
    named = shape if isinstance(shape, dict) else {"": shape}
    whole = named and all(isinstance(sizes, list) for sizes in named.values())
    sizes = [size for each in named.values() for size in each] if whole else [0]
    if not all(type(size) is int and size >= 1 for size in (*sizes, classes)):
        raise ValueError(f"its shape and classes must be sizes, got {shape!r} and {classes!r}")
    if isinstance(shape, dict):
        return {name: tuple(sizes) for name, sizes in shape.items()}, classes
    return tuple(shape), classes


def load_exported(model: nn.Module, exported: ExportedModel) -> None:
    """Loads the exported state into a new model, in the dtype of the exported parameters.

    Norms that took statistics over the units left do so again.

    Raises:
        ValueError: state or masks belong to another model.
    """
    load_in_stored_dtype(model, exported.state)
    check_pruned(model, exported.masks)
    add_living_norms(model, exported.living_norms)


def check_pruned(model: nn.Module, masks: Tensors) -> None:
    """Checks that masks are of this model, whose weights are 0 where they prune.

    Raises:
        ValueError: a mask belongs to another model, or a weight is not 0 there.
    """
    check_masks(model, masks)
    for name, mask in masks.items():
        alive = int(model.get_parameter(name).detach()[~mask].count_nonzero())
        if alive:
            raise ValueError(
                f"{name} has {alive} weights that are not 0 where its mask prunes them; "
                f"{MODEL} and {MASKS} are of different models; run again with rerun=always"
            )
