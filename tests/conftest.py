"""One thread for all tests, and contracts: a test for every file of a conf group."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

CONF = Path(__file__).parents[1] / "conf"

torch.set_num_threads(1)


def every(group: str) -> pytest.MarkDecorator:
    """Gives a test each component of conf/<group>/ in turn, as an argument of that name."""
    names = sorted(file.stem for file in (CONF / group).glob("*.yaml"))
    assert names, f"conf/{group} holds no component"
    return pytest.mark.parametrize(
        group, [pytest.param(component(group, name), id=name) for name in names]
    )


def component(group: str, name: str, seed: int = 0, **changes: object) -> Any:
    """The object that a file of conf/ describes, for a run of this seed."""
    part = OmegaConf.merge(OmegaConf.load(CONF / group / f"{name}.yaml"), changes)
    return instantiate(OmegaConf.create({"seed": seed, "part": part}).part, _convert_="all")
