"""Finds files of pretrained weights in the caches of libraries; downloads nothing."""

import os
from pathlib import Path
from urllib.parse import urlparse

import torch

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def hub_file(user: str, url: str) -> Path:
    """Returns the file of an address in the cache of torch.hub.

    Raises:
        ValueError: it is not there.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / os.path.basename(urlparse(url).path)
    if not file.is_file():
        raise ValueError(
            f"weights=pretrained: {user} has its weights in {file.name}, which is not in {folder}; "
            f"put the file of {url} there, or give weights=FILE"
        )
    return file


def snapshot_file(user: str, repository: str, name: str | None = None) -> Path:
    """Returns a file of weights of a Hugging Face repository in its cache.

    name: None takes the first of WEIGHTS that is there.

    Raises:
        ValueError: it is not there.
    """
    names = [name] if name else WEIGHTS
    for each in names:
        if file := cached_file(repository, each):
            return file
    from huggingface_hub.constants import HF_HUB_CACHE

    raise ValueError(
        f"weights=pretrained: {user} has its weights in {names[0]} of {repository}, which is not "
        f"in {HF_HUB_CACHE}; bring it with `hf download {repository} {names[0]}`, or give "
        "weights=FILE"
    )


def cached_file(repository: str, name: str) -> Path | None:
    """Returns a file of a Hugging Face repository in its cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(repository, name)
    return Path(file) if isinstance(file, str) else None
