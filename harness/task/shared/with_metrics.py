"""Holds what tasks have in common: further metrics, and labels that count in nothing."""

from dataclasses import dataclass, field
from typing import Annotated

from torch import Tensor

from harness.task.base import IGNORED
from harness.task.shared.torch_metrics import METRICS, check_metrics
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class WithMetrics:
    """Names classes of torchmetrics that are measured too.

    Raises:
        ValueError: a field is not what it declares; a name is no class of torchmetrics, or one that
            cannot be merged over ranks.
        MissingExtra: torchmetrics is not installed.
    """

    metrics: Annotated[tuple[str, ...], METRICS] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        check_declared(self)
        check_metrics(self.metrics)


class WithIgnoredLabels(WithMetrics):
    """Leaves labels of -100 out of every loss and measure."""

    def label_mask(self, labels: Tensor) -> Tensor:
        return labels != IGNORED
