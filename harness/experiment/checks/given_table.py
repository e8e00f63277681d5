"""Checks a latency table against the model and the device of a run."""

from typing import Any

import torch
from torch import nn

from harness.experiment.config import ExperimentConfig
from harness.metrics.macs import Macs
from harness.run_folder.environment import chip_name
from harness.vocabulary.given.latency_table import LatencyTable, LayerFacts, read_latency_table
from harness.vocabulary.tensors import prunable_layers


def table_of(experiment: ExperimentConfig, model: nn.Module, macs: Macs) -> LatencyTable | None:
    """Returns the latency table of this experiment's model; None if none is given.

    macs: of the dense model.

    Raises:
        ValueError: the file cannot be read, or is of another model.
    """
    if experiment.latency_table is None:
        return None
    table = read_latency_table(experiment.latency_table)
    table.check_model(layer_facts(model, macs))
    return table


def layer_facts(model: nn.Module, macs: Macs) -> dict[str, LayerFacts]:
    """Returns what a table says of the layers of its model, by name of the weight."""
    shapes = {name: tuple(model.get_parameter(name).shape) for name in prunable_layers(model)}
    return {name: LayerFacts(shape, macs.weights.get(name, 0)) for name, shape in shapes.items()}


def conditions(device: torch.device, dtype: str) -> dict[str, Any]:
    """Returns what decides the time of a forward pass here, beside the model and the batch."""
    return {
        "device": chip_name(device),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "dtype": dtype,
    }


def check_place(experiment: ExperimentConfig, device: torch.device, elsewhere: bool) -> None:
    """Checks that the experiment's latency table was measured where the run computes.

    elsewhere: the table is of another place, and that is meant.

    Raises:
        ValueError: device, versions, threads or dtype are others; names them and the ways out.
    """
    if experiment.latency_table is not None and not elsewhere:
        table = read_latency_table(experiment.latency_table)
        table.check_conditions(conditions(device, experiment.dtype))
