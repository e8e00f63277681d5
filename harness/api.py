"""What notebooks and scripts use: the pruned network of a run, as an nn.Module."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch import nn

from harness.delivery import read_delivery
from harness.launch.build import build_part
from harness.models.base import Model
from harness.tensors import Tensors


def load(run: str | Path) -> tuple[nn.Module, Tensors]:
    """(model, masks) of a finished run, on the CPU: pruned weights are 0, masks True where kept.

    run: the run's folder, as the command line prints it. The model is in eval mode and in the
    run's dtype; it is built by the config beside it, so an own model must be importable.

    Raises:
        ValueError: the folder holds no delivered network.
    """
    folder = Path(run)
    delivery = read_delivery(folder)
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    component: Model = build_part(config.model)
    model = component.build(delivery.shape, delivery.classes)
    model.to(next(iter(delivery.state.values())).dtype).load_state_dict(delivery.state)
    return model.eval(), delivery.masks
