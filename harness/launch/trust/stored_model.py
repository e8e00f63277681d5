"""The network that a run's folder describes, built anew; its config is data of somebody else."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from harness.launch.error_messages import one_line
from harness.launch.instantiate import build_part
from harness.launch.trust.stored_parts import stored_part


def build_stored_model(
    file: Path, shape: tuple[int, ...], classes: int, trust: str | Sequence[str]
) -> nn.Module:
    """A fresh network of the `model` in a run's config.yaml.

    Raises:
        ValueError: the file is no config, its model is not allowed (see
            harness/launch/trust/stored_parts.py), or it cannot be built.
    """
    try:
        config = OmegaConf.load(file)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, OSError) as error:
        raise ValueError(
            f"{file} cannot be read ({one_line(error)}); give the run's command again"
        ) from error
    part = stored_part(config, "model", trust)
    try:
        model = build_part(part).build(shape, classes)
    except Exception as error:  # whatever a model does, its own or with keys that it does not know
        raise ValueError(
            f"{file}: its model cannot be built ({one_line(error)}); load the run with the code "
            "that made it"
        ) from error
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{file}: its model builds {type(model).__name__}, and no torch.nn.Module; load the "
            "run with the code that made it"
        )
    return model
