"""Which code decides numbers: sources of a config's parts, and of the training loop."""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness

_HOME = Path(str(harness.__file__)).parent
LIBRARIES = ("torch", "torchvision")  # named by their version, in the numerics key
LOOP = (
    "training", "seeds.py", "draws.py", "tensors.py", "distributed", "subject.py", "moment.py",
)  # fmt: skip
LEVELS = (
    "levels.py", "targets.py", "trainings.py", "inside.py", "saver.py", "schedule/curve.py",
    "prunings.py", "stages.py", "prefix.py",
    "schedule/base.py", "finetune/base.py", "experiment.py", "cost.py", "learning_rate/held.py",
    "learning_rate/stretched.py", "schedule/target.py", "schedule/steps.py",
    "finetune/fine_tuning.py", "penalty/base.py", "dynamics/drop_grow.py", "pruning.py",
    "budget.py", "control.py", "calibration.py", "prunable.py", "rounds.py",
    "masks.py", "selection.py", "bits.py", "metrics", "records.py", "checkpoints.py",
    "sensitivity/curves.py", "saliency/evidence.py", "saliency/activations.py",
    "saliency/layer_inputs.py", "saliency/curvature.py", "structure/rows.py", "structure/graph.py",
    "allocation/base.py", "allocation/apportion.py",
)  # fmt: skip


def code_of(parts: dict[str, Any], levels: bool = True) -> str:
    """SHA-256 (16 hex digits) over the training loop and the module of every `_target_` in parts.

    levels: also over what prunes and measures. What a part's module imports is not followed.
    """
    digest = hashlib.sha256()
    files = _files((*LOOP, *LEVELS) if levels else LOOP)
    for file in sorted({*files, *_modules(parts)}):
        digest.update(_content(file, file.stat().st_mtime_ns))
    return digest.hexdigest()[:16]


def own_files(parts: dict[str, Any]) -> list[Path]:
    """Modules of parts that are not the harness's own."""
    return sorted(file for file in _modules(parts) if not file.is_relative_to(_HOME))


@cache
def _content(file: Path, changed: int) -> bytes:
    return file.read_bytes()


def _files(names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        path = _HOME / name
        yield from path.glob("*.py") if path.is_dir() else [path]


def _modules(value: Any) -> Iterator[Path]:
    if isinstance(value, dict):
        target = value.get("_target_")
        if isinstance(target, str) and target.partition(".")[0] not in LIBRARIES:
            yield from _file_of(target.rpartition(".")[0])
        for inner in value.values():
            yield from _modules(inner)


def _file_of(module: str) -> Iterator[Path]:
    spec = find_spec(module) if module else None
    if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
        yield Path(spec.origin)
