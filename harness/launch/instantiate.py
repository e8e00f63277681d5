"""Builds objects from configs; no other module instantiates a config."""

from collections.abc import Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from harness.launch.paths import CONF
from harness.launch.trust.targets import allowed
from harness.system.loaded_sources import without_added_paths

# Hydra 1.4 warns of targets that are not listed, and its successor refuses them; 1.3 has no list.
ALLOW_LIST = "_execution_whitelist_"
_HAS_ALLOW_LIST = ALLOW_LIST in signature(hydra.utils.instantiate).parameters


@without_added_paths()
def build_part(node: DictConfig | Mapping[str, Any]) -> Any:
    """Builds what a config node describes, with all nodes inside; lists and dicts become plain.

    Raises:
        ValueError: the node names a target that no config may build.
    """
    config = node if isinstance(node, DictConfig) else OmegaConf.create(dict(node))
    targets = allowed(config)
    known = {ALLOW_LIST: targets} if _HAS_ALLOW_LIST else {}
    return hydra.utils.instantiate(config, _convert_="all", **known)


def build_named(
    group: str, name: str, seed: int, changes: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """Builds the component that conf/<group>/<name>.yaml describes.

    Args:
        group: folder of conf/
        name: file of the folder, without .yaml
        seed: seed of the run, to which the file may refer
        changes: other values of keys, with dots in nested keys

    Raises:
        ValueError: there is no such file.
    """
    file = CONF / group / f"{name}.yaml"
    if not file.is_file():
        names = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
        raise ValueError(f"there is no {group} {name!r}; there are: {names}; or give an object")
    part = OmegaConf.load(file)
    assert isinstance(part, DictConfig)
    part.pop("defaults", None)  # they are for composed configs
    for key, value in changes.items():
        OmegaConf.update(part, key, value)
    return build_part(OmegaConf.create({"seed": seed, "part": part}).part)
