"""Stores states of models with a checksum, and builds models from a seed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
from torch import nn

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
