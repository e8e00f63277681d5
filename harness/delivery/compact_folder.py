"""Writes and reads `compact/`: a model without its pruned units, as tensors and JSON.

`compact.json` says how the model differs from the dense one, so that a program with torch and
safetensors alone can load it: examples/read_compact.py.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

import harness
from harness.groups.attributes import BASE
from harness.model_state.whole_state import EXTRA, load_in_stored_dtype, whole_state
from harness.pruning.removal.compaction import Cut
from harness.system.atomic_files import read_object, write_atomic, writing
from harness.vocabulary.tensors import Tensors, clone_tensors

FORMAT = 1
STATE, FACTS = "model.safetensors", "compact.json"
PLAIN = (bool, int, float, str, type(None))
DAMAGED = (KeyError, TypeError, AttributeError, IndexError, RuntimeError)


@dataclass(frozen=True)
class CompactModel:
    """Holds the tensors of a smaller model, and the facts of compact.json as plain values."""

    state: Tensors
    facts: dict[str, Any]

    @property
    def cut(self) -> Cut:
        return Cut.load(self.facts)


def describe(
    dense: nn.Module, smaller: nn.Module, cut: Cut, build: Mapping[str, Any] | None = None
) -> CompactModel:
    """Returns what the folder holds of a smaller model.

    Args:
        dense: the model in its dense shapes.
        smaller: the same model without its pruned units.
        cut: how they differ.
        build: how the dense model is built: its config, the shape of a sample, classes.
    """
    state, before = whole_state(smaller), _shapes(dense)
    after = {name: list(tensor.shape) for name, tensor in state.items()}
    shapes = {name: [shape, after.get(name)] for name, shape in before.items()}
    facts = {
        "format": FORMAT,
        "versions": {"pruning-harness": harness.__version__, "torch": torch.__version__},
        "class": type(dense).__qualname__,
        "build": build,
        "architecture": architecture_sha256(dense),
        "shapes": shapes,
        **cut.state_dict(),
        "attributes": dict(_changed_attributes(dense, smaller)),
    }
    return CompactModel(state, facts)


def architecture_sha256(model: nn.Module) -> str:
    """Returns SHA-256, in hex, of the names and shapes of a model's tensors, in their order."""
    return hashlib.sha256(json.dumps([*_shapes(model).items()]).encode()).hexdigest()


def write_compact(folder: Path, compact: CompactModel) -> None:
    """Writes the folder; compact.json, the last file, has the checksum of the tensors.

    Raises:
        CannotWrite: the disk is full, read-only or gone.
    """
    tensors = safetensors.torch.save(clone_tensors(compact.state))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / STATE, tensors)
    facts = {**compact.facts, "sha256": hashlib.sha256(tensors).hexdigest()}
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in facts.items())
    write_atomic(folder / FACTS, "{\n" + ",\n".join(lines) + "\n}\n")


def read_compact(folder: Path) -> CompactModel:
    """Reads the folder, and checks its format and checksum.

    Raises:
        ValueError: a file is missing or damaged, or the format is another one.
    """
    for name in (STATE, FACTS):
        if not (folder / name).exists():
            raise ValueError(
                f"{folder} has no {name}; name the folder compact/ of a run with compact=end or "
                "compact=levels, or one that harness.compact wrote"
            )
    facts = read_object(folder / FACTS)
    if facts.get("format") != FORMAT:
        raise ValueError(
            f"{folder / FACTS}: format={facts.get('format')!r}, and this version reads {FORMAT}; "
            "load it with the version that wrote it"
        )
    tensors = (folder / STATE).read_bytes()
    if hashlib.sha256(tensors).hexdigest() != facts.get("sha256"):
        raise ValueError(
            f"{folder / STATE} is damaged: its SHA-256 is not the one in {FACTS}; write it again"
        )
    try:
        return CompactModel(safetensors.torch.load(tensors), facts)
    except (safetensors.SafetensorError, *DAMAGED, ValueError) as error:
        raise ValueError(f"{folder / STATE} is damaged ({error}); write it again") from error


def fill(dense: nn.Module, compact: CompactModel) -> nn.Module:
    """Returns a copy of the model without the pruned units, with the tensors of the folder.

    The copy is in the dtype of the tensors. The given model does not change.

    Raises:
        ValueError: the model is of another class or architecture, whose first difference is named,
            or the facts are damaged.
    """
    try:
        check_architecture(dense, compact.facts)
        smaller = compact.cut.apply(dense)
        load_in_stored_dtype(smaller, compact.state)
    except DAMAGED as error:
        raise ValueError(f"{FACTS} is damaged ({error!r}); write it again") from error
    return smaller


def check_architecture(model: nn.Module, facts: Mapping[str, Any]) -> None:
    """Checks that a model in dense shapes is the one that was compacted.

    Raises:
        ValueError: it is not; the first difference is named.
    """
    for what, stored, own in _differences(model, facts):
        raise ValueError(
            f"{what}: {stored} in {FACTS}, {own} in the given {type(model).__qualname__}; build "
            "the model that was compacted, in its dense shapes"
        )


def _differences(
    model: nn.Module, facts: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    if (kind := type(model).__qualname__) != facts["class"]:
        yield "class", facts["class"], kind
    shapes = _shapes(model)
    stored = {name: dense for name, (dense, _) in facts["shapes"].items()}
    for name in {**stored, **shapes}:
        if stored.get(name) != shapes.get(name):
            yield name, _shape(stored.get(name)), _shape(shapes.get(name))
    for name, (value, _) in facts["attributes"].items():
        path, _, attribute = name.rpartition(".")
        own = vars(model.get_submodule(path)).get(attribute)
        if _plain(own) != value:
            yield name, value, own


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    state = whole_state(model).items()
    return {name: list(tensor.shape) for name, tensor in state if not name.endswith(EXTRA)}


def _shape(sizes: list[int] | None) -> str:
    return "missing" if sizes is None else f"shape {tuple(sizes)}"


def _changed_attributes(
    dense: nn.Module, smaller: nn.Module
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yields plain attributes that differ, those of torch's layers included."""
    others = dict(smaller.named_modules())
    for path, module in dense.named_modules():
        other = others.get(path)
        for name, value in vars(module).items() if type(other) is type(module) else ():
            new = vars(other).get(name)
            if name not in BASE and _is_plain(value) and value != new:
                yield f"{path}.{name}".removeprefix("."), (_plain(value), _plain(new))


def _is_plain(value: Any) -> bool:
    each = value if isinstance(value, list | tuple) else (value,)
    return all(isinstance(part, PLAIN) for part in each)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
