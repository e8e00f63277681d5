"""Builds the model that a run folder describes; its config is data, not trusted code."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from harness.launch.error_messages import one_line
from harness.launch.instantiate import build_part
from harness.launch.trust.stored_parts import stored_part
from harness.vocabulary.given.inputs import SampleShape


def build_stored_model(
    file: Path, shape: SampleShape, classes: int, trust: str | Sequence[str]
) -> nn.Module:
    """Builds a new model from `model` in a run's config.yaml.

    Raises:
        ValueError: the file is no config, its model is not allowed (see
            harness/launch/trust/stored_parts.py), or it cannot be built.
    """
    try:
        config = OmegaConf.load(file)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, OSError) as error:
        raise ValueError(
            f"{file} cannot be read ({one_line(error)}); repeat the run's command"
        ) from error
    part = stored_part(config, "model", trust)
    try:
        model = build_part(part).build(shape, classes)
    except Exception as error:  # a model may raise anything, and may not know a key
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
