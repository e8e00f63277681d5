"""Stores states of models with a checksum, and builds and loads models."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
from torch import nn

from harness.model_state.whole_state import load_into, whole_state
from harness.system.atomic_files import write_atomic
from harness.vocabulary.tensors import Tensors, clone_tensors

# Errors of safetensors, torch.load and load_state_dict for files without a model's weights.
UNREADABLE = (
    OSError, EOFError, RuntimeError, AttributeError, KeyError, TypeError, UnpicklingError,
    safetensors.SafetensorError,
)  # fmt: skip

NOTED = "sha256, note"  # key of a file's metadata


def store(file: Path, state: Tensors, note: str = "") -> None:
    """Writes a state and a note with their checksum. The file is complete or absent."""
    whole = clone_tensors(state)
    # One entry, because safetensors does not fix the order of several.
    facts = {NOTED: f"{_checksum(whole, note)} {note}"}
    write_atomic(file, safetensors.torch.save(whole, metadata=facts))


def load_stored(file: Path) -> tuple[Tensors, str] | None:
    """Returns the stored state and its note, or None if the file is missing or damaged."""
    if not file.exists():
        return None
    try:
        state = safetensors.torch.load_file(file)
        with safetensors.safe_open(file, framework="pt") as opened:
            facts = opened.metadata() or {}
    except UNREADABLE:
        return None
    checksum, _, note = facts.get(NOTED, "").partition(" ")
    return (state, note) if checksum == _checksum(state, note) else None


def build_seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Returns a new model whose random weights depend on the seed alone.

    Global streams are unchanged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _checksum(state: Tensors, note: str) -> str:
    """Returns the SHA-256 of the note and of name, dtype, shape and bytes of each tensor."""
    parts = hashlib.sha256(json.dumps(note).encode())
    for name, value in sorted(state.items()):
        parts.update(json.dumps([name, str(value.dtype), [*value.shape]]).encode())
        parts.update(value.cpu().view(-1).view(torch.uint8).numpy().tobytes())
    return parts.hexdigest()


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a .safetensors file or a state dict saved by torch.save into the model, by name.

    Raises:
        ValueError: The file is missing or unreadable, or its tensors do not fit the model.
    """
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        _load(model, state)
    except UNREADABLE as error:
        raise ValueError(
            f"weights={path} does not fit {type(model).__name__}: {_reason(error)}; give a file "
            "with exactly the model's state_dict"
        ) from error


def _load(model: nn.Module, given: Tensors) -> None:
    """Loads a state dict.

    Buffers outside state_dict may be missing: only a run's own files hold them.
    """
    own = whole_state(model)
    beside = own.keys() - model.state_dict().keys()
    model.load_state_dict({name: value for name, value in given.items() if name not in beside})
    load_into(model, {**own, **{name: given[name] for name in beside & given.keys()}})


def _reason(error: Exception) -> str:
    """Returns at most the first two lines of torch's error, which has one line per tensor."""
    if not isinstance(error, OSError | RuntimeError | safetensors.SafetensorError):
        return "it holds no plain dict of tensors"
    first, *rest = (line.strip().rstrip(".:") for line in str(error).splitlines() if line.strip())
    more = f", and {len(rest) - 1} more lines like this" if len(rest) > 1 else ""
    return ": ".join([first, *rest[:1]]) + more
