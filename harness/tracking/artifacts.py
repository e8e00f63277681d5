"""Logs what a finished run leaves as W&B artifacts: masks, records and the dense training."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import safetensors.numpy

from harness.run_folder.outcome import MASKS
from harness.tracking.base import RunInfo
from harness.tracking.run_lock import is_first

if TYPE_CHECKING:
    import wandb

Kind = Literal["dense", "masks", "records"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PACKED = "masks.npz"
SHAPE = "//shape"
RECORDS = ("records.jsonl", "config.yaml", "environment.json")

Masks = dict[str, np.ndarray]


def write_masks(folder: Path, masks: Masks) -> Path:
    """Packs masks into folder/masks.npz, one bit per weight and compressed.

    The file is a NumPy archive. Its entry NAME holds the elements of a tensor in C order, packed by
    np.packbits: the first element is the highest bit, and zeros fill the last byte. Its entry
    NAME//shape holds the tensor's shape.
    """
    content: dict[str, Any] = {}
    for name, mask in masks.items():
        content[name] = np.packbits(mask)
        content[name + SHAPE] = np.array(mask.shape, dtype=np.int64)
    np.savez_compressed(folder / PACKED, **content)
    return folder / PACKED


def read_masks(folder: Path) -> Masks:
    """Reads the masks (bool, True: kept) of a downloaded artifact of type "masks".

    Raises:
        ValueError: the folder has no masks.npz.
    """
    path = folder / PACKED
    if not path.exists():
        raise ValueError(f"no {PACKED} in {folder}: pass the folder of a downloaded masks artifact")
    with np.load(path) as file:
        names = [name for name in file.files if not name.endswith(SHAPE)]
        return {name: _unpacked(file[name], file[name + SHAPE]) for name in names}


def _unpacked(bits: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return np.unpackbits(bits, count=int(shape.prod())).astype(bool).reshape(shape)


@dataclass(frozen=True)
class ArtifactLogger:
    """Logs the artifacts of one run.

    All files lie in the W&B run's own folder until they are uploaded.

    Args:
        kinds: Which of KINDS to log.
        dense_weights: Adds the weights of the dense model to the dense training's artifact.
    """

    kinds: Sequence[str] = KINDS
    dense_weights: bool = False

    def log(self, run: "wandb.Run", info: RunInfo, facts: dict[str, Any]) -> None:
        """Logs the artifacts; `facts` are fields of the last record, for the metadata."""
        home = Path(run.dir).parent / "artifacts"
        home.mkdir(parents=True, exist_ok=True)
        about = {"method": info.method, "model": info.model, "data": info.data, "seed": info.seed}
        if "masks" in self.kinds and (info.folder / MASKS).exists():
            masks = safetensors.numpy.load_file(info.folder / MASKS)
            shapes = {name: list(mask.shape) for name, mask in masks.items()}
            known = {**about, **facts, "shapes": shapes}
            run.log_artifact(
                _artifact(f"masks-{info.id}", "masks", known, [write_masks(home, masks)])
            )
        if "records" in self.kinds:
            copies = list(_copies(info.folder, home))
            run.log_artifact(_artifact(f"records-{info.id}", "records", {**about, **facts}, copies))
        if "dense" in self.kinds and info.dense.is_dir():
            self._link_dense(run, info, home)

    def _link_dense(self, run: "wandb.Run", info: RunInfo, home: Path) -> None:
        training = info.config.get("training") or {}
        about = {
            "model": info.model,
            "data": info.data,
            "seed": info.seed,
            "epochs": training.get("epochs"),
        }
        # Every run writes the same content, so that W&B keeps one version of the artifact.
        content = json.dumps(about | {"hash": info.dense.name}, indent=1, sort_keys=True)
        (home / "dense.json").write_text(f"{content}\n")
        weights = sorted(info.dense.glob("*.safetensors"))[-1:] if self.dense_weights else []
        files = [home / "dense.json", *weights]
        artifact = _artifact(f"dense-{info.dense.name}", "dense-training", about, files)
        if is_first(info.sweep, f"dense-{info.dense.name}", info.folder):
            run.log_artifact(artifact)
        else:
            # run.use_artifact refuses to work offline. Online it makes this call for an artifact
            # of this process, and waits for the upload.
            run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def _artifact(
    name: str, kind: str, metadata: dict[str, Any], files: Sequence[Path]
) -> "wandb.Artifact":
    import wandb

    artifact = wandb.Artifact(name, type=kind, metadata=json.loads(json.dumps(metadata)))
    for file in files:
        # No copy in W&B's cache, because the copy would outlive the run folder.
        artifact.add_file(str(file), policy="immutable", skip_cache=True)
    return artifact


def _copies(folder: Path, home: Path) -> Iterator[Path]:
    for name in RECORDS:
        if (folder / name).exists():
            yield Path(shutil.copyfile(folder / name, home / name))
