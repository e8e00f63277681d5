"""States of networks: new ones from a seed, stored ones with a checksum, ones that a user gives."""

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

# What safetensors, torch.load and load_state_dict raise on files that are not a model's weights.
UNREADABLE = (
    OSError, EOFError, RuntimeError, AttributeError, KeyError, TypeError, UnpicklingError,
    safetensors.SafetensorError,
)  # fmt: skip

NOTED = "sha256, note"  # what a file has beside its tensors


def store(file: Path, state: Tensors, note: str = "") -> None:
    """Writes a state and a note with their checksum; the file is whole or absent."""
    whole = clone_tensors(state)
    # One entry: of several, safetensors would leave the order to chance.
    facts = {NOTED: f"{_checksum(whole, note)} {note}"}
    write_atomic(file, safetensors.torch.save(whole, metadata=facts))


def load_stored(file: Path) -> tuple[Tensors, str] | None:
    """The stored state and its note; None if there is none, or a damaged one."""
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
    """A new model whose random weights seed alone decides; global streams stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _checksum(state: Tensors, note: str) -> str:
    """SHA-256 over the note, and name, dtype, shape and bytes of each tensor."""
    parts = hashlib.sha256(json.dumps(note).encode())
    for name, value in sorted(state.items()):
        parts.update(json.dumps([name, str(value.dtype), [*value.shape]]).encode())
        parts.update(value.cpu().view(-1).view(torch.uint8).numpy().tobytes())
    return parts.hexdigest()


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a .safetensors file or a state dict saved by torch.save into the model, by name.

    Raises:
        ValueError: the file is missing or unreadable, or its tensors are not the model's.
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
    """Buffers that state_dict leaves out may be missing: only a run's own files hold them."""
    own = whole_state(model)
    beside = own.keys() - model.state_dict().keys()
    model.load_state_dict({name: value for name, value in given.items() if name not in beside})
    load_into(model, {**own, **{name: given[name] for name in beside & given.keys()}})


def _reason(error: Exception) -> str:
    """At most the first two of torch's lines: it has one per tensor that does not fit."""
    if not isinstance(error, OSError | RuntimeError | safetensors.SafetensorError):
        return "it holds no plain dict of tensors"
    first, *rest = (line.strip().rstrip(".:") for line in str(error).splitlines() if line.strip())
    more = f", and {len(rest) - 1} more lines like this" if len(rest) > 1 else ""
    return ": ".join([first, *rest[:1]]) + more
