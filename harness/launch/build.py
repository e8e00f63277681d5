"""The one place where configs become objects."""

from typing import Any

import hydra
from omegaconf import DictConfig


def build_part(node: DictConfig) -> Any:
    """Instantiates a config node and all inside it; lists and dicts become plain ones."""
    return hydra.utils.instantiate(node, _convert_="all")
