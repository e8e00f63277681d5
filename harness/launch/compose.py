"""Composes configs outside a run: to check them, to explain errors, to build parts in notebooks."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig

from harness.launch.paths import CONF


def composed(overrides: Sequence[str] = ()) -> DictConfig:
    """The whole config with these overrides, without the `hydra` node."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def defaults(arguments: Sequence[str]) -> DictConfig | None:
    """The config with those arguments that choose existing group options, or None."""
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    choices = [text for text in arguments if text.split("=")[0].split("@")[0] in groups]
    try:
        return composed(choices)
    except HydraException:
        return None
