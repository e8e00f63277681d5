"""Measures a split by classes of torchmetrics; each rank sees its shard, and states are merged."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

from torch import Tensor

from harness.extras import check_extra
from harness.task.base import IGNORED

METRICS = "names of classes of torchmetrics; write e.g. [MulticlassF1Score]"
PACKAGES = ("classification", "regression", "segmentation")  # of torchmetrics

Gather = Callable[[Any], Sequence[Any]]  # an object of this rank -> those of all ranks


class MetricInputs(NamedTuple):
    """Holds what a metric is updated with.

    Args:
        predictions: probabilities of classes or labels, or real numbers.
        targets: as the metric takes them.
        classes: number of classes, labels or targets.
    """

    predictions: Tensor
    targets: Tensor
    classes: int


def check_metrics(names: Sequence[str]) -> None:
    """Checks that torchmetrics has these classes, and that their states can be merged over ranks.

    Raises:
        ValueError: it has not, or a state cannot be merged.
        MissingExtra: torchmetrics is not installed.
    """
    known = _known() if names else {}
    for name in names:
        if name not in known:
            near = ", ".join(get_close_matches(name, known, n=3))
            raise ValueError(
                f"task.metrics={name}: torchmetrics has no such class; "
                f"{f'did you mean {near}? ' if near else ''}Name one of its classification, "
                "regression or segmentation metrics"
            )
        if known[name].full_state_update is not False:
            raise ValueError(
                f"task.metrics={name}: its state cannot be merged over ranks; choose another metric"
            )


class MetricStates:
    """Holds metrics of this rank's samples."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        self._metrics: dict[str, Any] = {}
        self._classes = 1

    def update(self, given: MetricInputs) -> None:
        self._classes = given.classes
        for name in self.names:
            if name not in self._metrics:
                self._metrics[name] = _made(name, given.classes).to(given.predictions.device)
            self._metrics[name].update(given.predictions, given.targets)

    def results(self, gather: Gather) -> dict[str, float]:
        """Returns the metrics over the samples of all ranks, by class; every rank calls it.

        Raises:
            ValueError: a result is no single number.
        """
        if not self.names:
            return {}
        own = {name: _portable(metric) for name, metric in self._metrics.items()}
        found = [(classes, part) for classes, part in gather((self._classes, own)) if part]
        classes = max(number for number, _ in found)
        return {
            name: _merged(_made(name, classes), name, [part[name] for _, part in found])
            for name in self.names
        }


def _known() -> dict[str, Any]:
    check_extra("metrics", "task.metrics")
    packages = [import_module(f"torchmetrics.{name}") for name in PACKAGES]
    found = {name: getattr(package, name) for package in packages for name in package.__all__}
    return {name: kind for name, kind in found.items() if inspect.isclass(kind)}


def _made(name: str, classes: int) -> Any:
    """Returns a new metric, with those of our arguments that it takes."""
    kind = _known()[name]
    takes = inspect.signature(kind.__init__).parameters
    sizes = dict.fromkeys(("num_classes", "num_labels"), classes)
    known = {**sizes, "ignore_index": IGNORED}
    return kind(**{key: value for key, value in known.items() if key in takes})


def _portable(metric: Any) -> dict[str, Any]:
    """Returns the state on the CPU."""
    return {
        key: [each.cpu() for each in value] if isinstance(value, list) else value.cpu()
        for key, value in metric.metric_state.items()
    }


def _merged(metric: Any, name: str, states: Sequence[dict[str, Any]]) -> float:
    for state in states:
        metric.merge_state(state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it counts updates, and a merge is none
        value = metric.compute()
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ValueError(f"task.metrics={name} gives no single number; choose another metric")
    return float(value)
