"""The pruned network as files, and in the form of torch.nn.utils.prune."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

from harness.files import write_whole
from harness.tensors import Tensors


def deliver(folder: Path, model: nn.Module, masks: Tensors) -> None:
    """Writes model.safetensors (the whole state, pruned weights 0) and masks.safetensors (bool)."""
    for file, tensors in (("model", model.state_dict()), ("masks", masks)):
        write_whole(folder / f"{file}.safetensors", safetensors.torch.save(_apart(tensors)))


def read_delivery(folder: Path) -> tuple[Tensors, Tensors]:
    """(state of the model, masks) of a finished run, on the CPU.

    Raises:
        ValueError: the folder holds no delivered network.
    """
    files = [folder / "model.safetensors", folder / "masks.safetensors"]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise ValueError(
            f"{folder} has no {' and no '.join(missing)}; name the folder of a finished run "
            "(runs/SWEEP/XX/NAME-HASH)"
        )
    state, masks = (safetensors.torch.load_file(file) for file in files)
    return state, masks


def to_torch_prune(model: nn.Module, masks: Tensors) -> nn.Module:
    """Brings a pruned model into the form of torch.nn.utils.prune, in place.

    Every masked parameter p of a module becomes p_orig (a parameter), p_mask (a buffer) and p,
    their product, recomputed before each forward. `prune.remove` makes it permanent.
    """
    for name, mask in masks.items():
        owner, _, parameter = name.rpartition(".")
        module = model.get_submodule(owner)
        own: torch.Tensor = getattr(module, parameter)
        prune.custom_from_mask(module, parameter, mask.to(own.device))
    return model


def from_torch_prune(model: nn.Module) -> Tensors:
    """Takes a model out of that form, in place, and returns its masks (True stays).

    Raises:
        ValueError: nothing in the model is in that form.
    """
    masks = {}
    for path, module in list(model.named_modules()):
        for key in [key for key, _ in module.named_buffers(recurse=False) if key.endswith("_mask")]:
            parameter = key.removesuffix("_mask")
            if f"{parameter}_orig" in dict(module.named_parameters(recurse=False)):
                name = f"{path}.{parameter}".removeprefix(".")
                masks[name] = module.get_buffer(key).bool()
                prune.remove(module, parameter)
    if not masks:
        raise ValueError(
            f"{type(model).__name__} has no *_orig parameter with its *_mask buffer; "
            "prune it with torch.nn.utils.prune first"
        )
    return masks


def read_json_facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "identity.json").read_text())
    return facts


def _apart(tensors: Tensors) -> Tensors:
    # safetensors refuses tensors that share memory, as a unit's bias and norm masks do.
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
