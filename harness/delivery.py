"""The pruned network as files, and in the form of torch.nn.utils.prune."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

from harness.files import write_whole
from harness.outcome import MASKS, MODEL
from harness.tensors import Tensors, copied


@dataclass(frozen=True)
class Delivery:
    """What a finished run leaves: enough to build its network again without its data."""

    state: Tensors
    masks: Tensors
    shape: tuple[int, ...]  # of one sample
    classes: int


def deliver(folder: Path, delivery: Delivery) -> None:
    """Writes model.safetensors (the whole state, pruned weights 0) and masks.safetensors (bool)."""
    # As one entry: safetensors writes several in an order that changes from run to run.
    facts = {"network": json.dumps({"shape": delivery.shape, "classes": delivery.classes})}
    state, masks = copied(delivery.state), copied(delivery.masks)
    write_whole(folder / MODEL, safetensors.torch.save(state, metadata=facts))
    write_whole(folder / MASKS, safetensors.torch.save(masks))


def read_delivery(folder: Path) -> Delivery:
    """The delivered network of a finished run, on the CPU.

    Raises:
        ValueError: the folder holds none, or a damaged one.
    """
    missing = [name for name in (MODEL, MASKS) if not (folder / name).exists()]
    if missing:
        raise ValueError(
            f"{folder} has no {' and no '.join(missing)}; name the folder of a finished run "
            "(runs/SWEEP/XX/NAME-HASH)"
        )
    try:
        with safetensors.safe_open(folder / MODEL, framework="pt") as file:
            facts = _facts(file.metadata())
        state, masks = (safetensors.torch.load_file(folder / name) for name in (MODEL, MASKS))
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{MODEL} or {MASKS} in {folder} is damaged ({error}); run again with rerun=always"
        ) from error
    return Delivery(
        state=state,
        masks=masks,
        shape=tuple(facts["shape"]),
        classes=facts["classes"],
    )


def _facts(written: dict[str, str]) -> dict[str, Any]:
    # Runs of the first releases have an entry for each.
    facts: dict[str, Any] = {key: json.loads(value) for key, value in written.items()}
    found: dict[str, Any] = facts.get("network", facts)
    return found


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
