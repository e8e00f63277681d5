"""Computes digests of files that a run reads beside its data, which are a part of its name."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.launch.instantiate import build_part
from harness.run_folder.identity import Config

# Components that read files to build a model, or find its weights: they are built, with torch.
READERS = ("harness.models.transformers.Transformers",)
PRETRAINED = "pretrained"  # as in harness/models/base.py, which imports torch


def weights_digest(weights: str | None, model: Config) -> str | None:
    """Returns SHA-256 of the file that the key `weights` names, None if it names none.

    Raises:
        ValueError: there is no such file.
    """
    if weights == PRETRAINED:
        from harness.models.base import weights_file

        return _sha256([Path(weights_file(weights, _built(model)))])
    return file_digest("weights", weights)


def file_digest(key: str, file: str | None) -> str | None:
    """Returns SHA-256 of the file that a key names, None if it names none.

    Raises:
        ValueError: there is no such file.
    """
    if file is None:
        return None
    if not Path(file).is_file():
        raise ValueError(f"{key}={file}: there is no such file; give a path or null")
    return _sha256([Path(file)])


def files_digest(model: Config) -> str | None:
    """Returns SHA-256 of the files that decide the architecture, None if there are none.

    Raises:
        ValueError: the model does not find them.
    """
    if model.get("_target_") not in READERS or model.get("name") is None:
        return None
    files = _built(model).files()
    return _sha256(files) if files else None


def _built(model: Config) -> Any:
    return build_part({"model": model})["model"]


def _sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(2**24):
                digest.update(block)
    return digest.hexdigest()
