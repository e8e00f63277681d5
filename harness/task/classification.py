from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.task.base import IGNORED
from harness.task.shared.classes import check_classes, check_scores_of_classes, explain_classes
from harness.task.shared.torch_metrics import MetricInputs
from harness.task.shared.with_metrics import WithIgnoredLabels


@dataclass(frozen=True)
class Classification(WithIgnoredLabels):
    """Computes cross-entropy over classes; outputs (samples, classes), labels (samples,).

    Label smoothing acts on the training loss only; the measured loss is plain cross-entropy.
    With 5 classes or fewer top-5 is always 1. A sample labelled -100 counts in nothing.

    metrics: names of classes of torchmetrics, such as MulticlassF1Score, that are measured too.

    Raises:
        ValueError: label_smoothing is not in [0, 1); a name is no class of torchmetrics, or one
            that cannot be merged over ranks.
        MissingExtra: torchmetrics is not installed.
    """

    label_smoothing: Annotated[float, "a number in [0, 1); 0 turns it off"] = 0.0

    def check_labels(self, labels: Tensor, classes: int, source: str) -> None:
        """Checks that labels are one class per sample, of two classes or more.

        Raises:
            ValueError: they are not.
        """
        _check_shape(labels)
        if classes < 2:
            raise ValueError(
                f"task=classification needs at least 2 classes, and {source} has {classes}; for "
                "one real number per sample use task=regression"
            )
        check_classes(source, labels, classes)

    def check_outputs(self, outputs: Any, classes: int) -> None:
        """Checks that there is an output for every class.

        Raises:
            ValueError: there is not.
        """
        check_scores_of_classes("classification", outputs, ("samples",), classes)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Returns the cross-entropy, summed over the samples.

        Raises:
            ValueError: there is not one label per sample.
        """
        _check_shape(labels)
        with explain_classes(labels, outputs.shape[1]):
            return F.cross_entropy(
                outputs,
                labels,
                reduction="sum",
                ignore_index=IGNORED,
                label_smoothing=self.label_smoothing,
            )

    @torch.no_grad()
    def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        best = outputs.topk(min(5, outputs.shape[1]), dim=1).indices
        hits = best == labels.unsqueeze(1)
        with explain_classes(labels, outputs.shape[1]):
            loss = F.cross_entropy(outputs, labels, reduction="sum", ignore_index=IGNORED)
        return {"top1": hits[:, 0].sum(), "top5": hits.sum(), "loss": loss}

    def metric_inputs(self, outputs: Tensor, labels: Tensor) -> MetricInputs:
        return MetricInputs(outputs.softmax(dim=1), labels, outputs.shape[1])


def _check_shape(labels: Tensor) -> None:
    if labels.ndim != 1:
        raise ValueError(
            f"task=classification needs one label per sample, got labels {tuple(labels.shape)}"
            "; for data of sequences use task=language_modelling"
        )
