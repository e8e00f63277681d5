from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.task.shared.measures import MSE, Measure
from harness.task.shared.torch_metrics import MetricInputs
from harness.task.shared.with_metrics import WithMetrics
from harness.vocabulary.given.batches import kind_of

ROUNDING = 1e-13  # of sums in float64


@dataclass(frozen=True)
class Regression(WithMetrics):
    """Predicts real numbers: outputs and labels (samples, targets), or (samples,) for one target.

    Loss: the mean over a sample's targets of an error of output - label, summed over samples.

    Measures: mse and mae are means over samples and targets; r2 = 1 - residual sum of squares /
    total sum of squares, the mean over targets. The primary one is mse; lower is better.

    error: "squared", "absolute", or "huber", which is squared / 2 up to delta, then linear.
    delta: where huber becomes linear.
    metrics: names of classes of torchmetrics, such as SpearmanCorrCoef, that are measured too.

    Raises:
        ValueError: error or delta is none of these; a name is no class of torchmetrics, or one that
            cannot be merged over ranks.
        MissingExtra: torchmetrics is not installed.
    """

    primary: ClassVar[Measure] = MSE
    has_class_scores: ClassVar[bool] = False

    error: Literal["squared", "absolute", "huber"] = "squared"
    delta: Annotated[float, "a number above 0"] = 1.0

    def check_labels(self, labels: Tensor, classes: int, source: str) -> None:
        """Checks that labels are real numbers, one per target.

        Raises:
            ValueError: they are not.
        """
        if not labels.is_floating_point() or _columns(labels) != classes:
            raise ValueError(
                f"task=regression needs labels of {source} as real numbers, {classes} per sample "
                f"as the data's `classes` says, got {labels.dtype} {tuple(labels.shape)}; convert "
                "them with .float(), or let `classes` be the number of targets"
            )

    def check_outputs(self, outputs: Any, classes: int) -> None:
        """Checks that there is an output for every target.

        Raises:
            ValueError: there is not.
        """
        if isinstance(outputs, Tensor) and (not outputs.ndim or _columns(outputs) != classes):
            raise ValueError(
                f"task=regression needs outputs (samples, {classes}), and the model returns "
                f"{kind_of(outputs)}; change its last layer, or the task"
            )

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Returns the error, summed over the samples.

        Raises:
            ValueError: there is not one output per label.
        """
        found, wanted = _pair(outputs, labels)
        if self.error == "huber":
            errors = F.huber_loss(found, wanted, reduction="none", delta=self.delta)
        else:
            errors = (F.mse_loss if self.error == "squared" else F.l1_loss)(
                found, wanted, reduction="none"
            )
        return errors.mean(dim=1).sum()

    @torch.no_grad()
    def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found, wanted = (each.double() for each in _pair(outputs, labels))
        return {
            "loss": self.loss(outputs, labels),
            "squared": (found - wanted).square().sum(dim=0),
            "absolute": (found - wanted).abs().sum(dim=0),
            "labels": wanted.sum(dim=0),
            "squared_labels": wanted.square().sum(dim=0),
        }

    def results(self, sums: Mapping[str, Tensor], counted: Tensor) -> dict[str, float]:
        """Returns the measures of sums over all samples; r2 is NaN where all labels are equal."""
        total = sums["squared_labels"] - sums["labels"].square() / counted
        # Of equal labels rounding may leave a little.
        total = torch.where(total > ROUNDING * sums["squared_labels"], total, torch.nan)
        return {
            "mse": float((sums["squared"] / counted).mean()),
            "mae": float((sums["absolute"] / counted).mean()),
            "r2": float((1 - sums["squared"] / total).mean()),
        }

    def metric_inputs(self, outputs: Tensor, labels: Tensor) -> MetricInputs:
        found, wanted = _pair(outputs, labels)
        one = found.shape[1] == 1
        return MetricInputs(
            found.flatten() if one else found, wanted.flatten() if one else wanted, found.shape[1]
        )


def _columns(values: Tensor) -> int:
    return values[:1].numel() if len(values) else 0


def _pair(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    found, wanted = outputs.reshape(len(outputs), -1), labels.reshape(len(labels), -1)
    if found.shape != wanted.shape:
        raise ValueError(
            f"task=regression needs one output per label, got outputs {tuple(outputs.shape)} and "
            f"labels {tuple(labels.shape)}; change the model's last layer"
        )
    return found, wanted.to(found.dtype)
