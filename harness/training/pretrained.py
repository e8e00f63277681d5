"""Loads weights that other programs have trained into a model."""

import argparse
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from harness.model_state.unwrapped import unwrap
from harness.model_state.usable import check_usable
from harness.model_state.whole_state import EXTRA, load_into, whole_state
from harness.vocabulary.finite import is_finite
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.tensors import Tensors

LOG = logging.getLogger(__name__)

# Errors of safetensors, torch.load and load_state_dict for files without a model's weights.
UNREADABLE = (
    OSError, EOFError, RuntimeError, AttributeError, KeyError, TypeError, UnpicklingError,
    safetensors.SafetensorError,
)  # fmt: skip
# Plain data that programs save beside weights: parsed arguments, and numbers of numpy.
SCALAR = np.float64(0).__reduce__()[0]
PLAIN: list[Any] = [
    argparse.Namespace, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")),
    *((SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]  # fmt: skip
OPTIONAL = "num_batches_tracked"  # files from before torch 0.4.1 lack it; it decides no output
OFFERED = 3  # at most so many modules are offered for weights_skip


def load_weights(model: nn.Module, path: str | Path, skip: str | Sequence[str] = ()) -> str:
    """Loads the weights of a file into the model, in place, and returns what was unwrapped.

    Files of safetensors and torch.save are read; nothing in them is executed. A state dict may lie
    in nested dictionaries, have a prefix (`module.`, `_orig_mod.`, `model.`) and be in the form of
    torch.nn.utils.prune, whose masks are multiplied in and not kept. The result is one line,
    empty for a bare state dict; it is logged too.

    Args:
        model: a model of the architecture that the file is of
        path: the file
        skip: modules, or single tensors, that stay as they are: ["fc"] for another head

    Raises:
        ValueError: the file is missing or unreadable, its tensors do not fit the model, or `skip`
            names what the model does not have.
    """
    check_usable(model)
    own, skip = whole_state(model), [skip] if isinstance(skip, str) else skip
    skipped = _skipped(own, skip)
    try:
        required = _required(model, skipped)
        found = unwrap(_read(Path(path)), {name: own[name] for name in required})
        if found is None:
            raise ValueError("none of its tensors has a name of the model")
        given = _with_shared(found.tensors, own)
        _check(own, given, required, skipped)
        kept = own.keys() - skipped
        _load(model, own, {name: value for name, value in given.items() if name in kept})
    except (*UNREADABLE, ValueError) as error:
        raise ValueError(
            f"weights={path} does not fit {type(model).__name__}: {_reason(error)}"
        ) from error
    left = [f"{name} stays as initialised" for name in skip]
    line = "; ".join([*found.describe(), *left])
    if line:
        LOG.info("weights=%s: %s", path, line)
    return line


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if path.is_file() and not path.stat().st_size:
        raise ValueError("the file is empty")
    with torch.serialization.safe_globals(PLAIN):
        return torch.load(path, map_location="cpu", weights_only=True)


def _skipped(own: Tensors, skip: Sequence[str]) -> set[str]:
    skipped = set[str]()
    for part in skip:
        inside = {name for name in own if name == part or name.startswith(f"{part}.")}
        if not inside:
            parts = dict.fromkeys(name.partition(".")[0] for name in own)
            raise ValueError(
                f"weights_skip names {part!r}, which the model does not have; it has "
                f"{', '.join(parts)}"
            )
        skipped |= inside
    if skipped >= own.keys():
        raise ValueError(f"weights_skip={list(skip)} leaves nothing to load; set weights=null")
    for name in skipped:
        for other in own.keys() - skipped:
            if _same(own[name], own[other]):
                raise ValueError(
                    f"weights_skip={list(skip)}: {name} is the same tensor as {other}; skip both "
                    "or none"
                )
    return skipped


def _required(model: nn.Module, skipped: set[str]) -> list[str]:
    """Returns the names that a file must have; buffers outside state_dict are in no such file."""
    names = (name for name in model.state_dict() if not name.endswith(OPTIONAL))
    return [name for name in names if name not in skipped]


def _with_shared(given: Mapping[str, Any], own: Tensors) -> dict[str, Any]:
    """Adds tied tensors that the file holds under one of their names, as safetensors needs it."""
    missing = [name for name in own if name not in given]
    twins = {
        name: next(
            (other for other in given if other in own and _same(own[name], own[other])), None
        )
        for name in missing
    }
    return {**given, **{name: given[twin] for name, twin in twins.items() if twin is not None}}


def _same(one: Tensor, other: Tensor) -> bool:
    return (one.data_ptr(), one.shape) == (other.data_ptr(), other.shape) and one.numel() > 0


def _check(own: Tensors, given: Mapping[str, Any], required: list[str], skipped: set[str]) -> None:
    """Raises ValueError for the first tensor that differs, in the model's order."""
    problems = dict(_differences(own, given, required))
    unknown = [name for name in given if name not in own]
    problems |= {
        name: f"{name} is in the file and not in the model"
        for name in unknown
        if name not in skipped
    }
    if not problems:
        return
    first, *others = problems.values()
    modules = dict.fromkeys(name.rpartition(".")[0] or name for name in problems)
    more = f", and {len(others)} more differ" if others else ""
    offer = ", ".join(modules)
    remedy = (
        f"weights_skip=[{offer}] leaves {offer} as initialised"
        if len(modules) <= OFFERED and all(name in own for name in problems)
        else "is it of another model?"
    )
    raise ValueError(f"{first}{more}; {remedy}")


def _differences(
    own: Tensors, given: Mapping[str, Any], required: list[str]
) -> Iterator[tuple[str, str]]:
    for name in required:
        value, mine = given.get(name), own[name]
        shape = tuple(mine.shape)
        if value is None:
            yield name, f"{name}, of shape {shape}, is not in the file"
        elif name.endswith(EXTRA):
            continue
        elif not isinstance(value, Tensor) or value.shape != shape:
            theirs = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            yield name, f"{name} has shape {theirs} in the file and {shape} in the model"
        elif value.is_floating_point() != mine.is_floating_point():
            yield name, f"{name} is {value.dtype} in the file and {mine.dtype} in the model"
        elif value.is_floating_point() and not is_finite(value):
            yield name, f"{name} has values that are not finite in the file"


def _load(model: nn.Module, own: Tensors, given: Tensors) -> None:
    """Loads tensors in place; those that are not given stay."""
    held = model.state_dict().keys()
    inside = {name: value for name, value in {**own, **given}.items() if name in held}
    model.load_state_dict(inside)
    load_into(model, {**own, **{name: given[name] for name in given.keys() - held}})


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, UnpicklingError) and (kind := re.search(r"GLOBAL (\S+)", text)):
        return (
            f"it holds an object of {kind[1]}, and only tensors and plain values are read; save "
            "model.state_dict() alone with torch.save"
        )
    if isinstance(error, ValueError | OSError | RuntimeError | safetensors.SafetensorError):
        return first_line(error)
    return "it holds no state dict of tensors"
