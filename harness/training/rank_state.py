"""Holds the state of each rank inside an epoch, where replicas may differ."""

from typing import Any

import torch
from torch import Tensor, nn

from harness.model_state.whole_state import buffers_of, load_buffers
from harness.training.updates.weight_average import WeightAverage


def rank_state(
    model: nn.Module, total: Tensor, average: WeightAverage | None = None
) -> dict[str, Any]:
    """Returns random streams, sum of losses and buffers of this rank, and averages of buffers.

    `total` has the rank's device.
    """
    device = total.device
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "loss": total.cpu(),
        "buffers": {name: buffer.cpu() for name, buffer in buffers_of(model).items()},
        "statistics": [each.cpu() for each in average.statistics] if average else [],
    }


def load_rank_state(
    own: dict[str, Any], model: nn.Module, total: Tensor, average: WeightAverage | None = None
) -> None:
    """Loads the result of `rank_state`, in place."""
    torch.set_rng_state(own["cpu"])
    if own["cuda"] is not None:
        torch.cuda.set_rng_state(own["cuda"], total.device)
    total.copy_(own["loss"])
    load_buffers(model, own["buffers"])
    if average:
        average.load({"statistics": own["statistics"]})
