from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.task.base import IGNORED
from harness.task.shared.classes import check_classes, explain_classes
from harness.task.shared.measures import MIOU, Measure
from harness.task.shared.torch_metrics import MetricInputs
from harness.task.shared.with_metrics import WithIgnoredLabels
from harness.vocabulary.given.batches import kind_of


@dataclass(frozen=True)
class Segmentation(WithIgnoredLabels):
    """Predicts a class for each pixel: outputs (samples, classes, h, w), labels (samples, h, w).

    Loss: the mean over a sample's pixels of the cross-entropy, summed over samples. A pixel
    labelled -100 counts in nothing: a sample with half of them weighs half.

    Measures: pixel_accuracy is the fraction of pixels of the right class; miou is the mean over
    classes of intersection / union over all pixels of a split, without classes that neither occur
    nor are predicted. The primary one is miou.

    metrics: names of classes of torchmetrics, such as MulticlassCohenKappa, that are measured too.

    Raises:
        ValueError: a name is no class of torchmetrics, or one that cannot be merged over ranks.
        MissingExtra: torchmetrics is not installed.
    """

    primary: ClassVar[Measure] = MIOU
    has_class_scores: ClassVar[bool] = False

    def check_labels(self, labels: Tensor, classes: int, source: str) -> None:
        """Checks that labels are a class per pixel.

        Raises:
            ValueError: they are not.
        """
        if labels.ndim != 3:
            raise ValueError(
                f"task=segmentation needs labels of {source} (samples, height, width), got "
                f"{tuple(labels.shape)}; for one label per picture use task=classification"
            )
        check_classes(source, labels, classes)

    def check_outputs(self, outputs: Any, classes: int) -> None:
        """Checks that there is an output for every class and pixel.

        Raises:
            ValueError: there is not.
        """
        if isinstance(outputs, Tensor) and (outputs.ndim != 4 or outputs.shape[1] < classes):
            raise ValueError(
                "task=segmentation needs outputs (samples, classes, height, width) for "
                f"{classes} classes of the data, and the model returns {kind_of(outputs)}; change "
                "its last layer, or the task"
            )

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Returns the cross-entropy, summed over the samples.

        Raises:
            ValueError: outputs and labels differ in height or width, or a label is no class.
        """
        if outputs.shape[2:] != labels.shape[1:]:
            raise ValueError(
                "task=segmentation needs outputs of the labels' height and width, got "
                f"{tuple(outputs.shape)} and {tuple(labels.shape)}; interpolate in the model"
            )
        with explain_classes(labels, outputs.shape[1]):
            losses = F.cross_entropy(outputs, labels, reduction="none", ignore_index=IGNORED)
        return losses.mean(dim=(1, 2)).sum()

    @torch.no_grad()
    def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        counts, best, classes = self.label_mask(labels), outputs.argmax(dim=1), outputs.shape[1]
        right = (best == labels) & counts
        return {
            "loss": self.loss(outputs, labels),
            "pixel_accuracy": right.double().mean(dim=(1, 2)).sum(),
            "right": torch.bincount(best[right], minlength=classes),
            "predicted": torch.bincount(best[counts], minlength=classes),
            "labelled": torch.bincount(labels[counts], minlength=classes),
        }

    def results(self, sums: Mapping[str, Tensor], counted: Tensor) -> dict[str, float]:
        """Returns the measures of sums over all samples."""
        union = sums["predicted"] + sums["labelled"] - sums["right"]
        seen = union > 0
        return {
            "pixel_accuracy": float(sums["pixel_accuracy"] / counted),
            "miou": float((sums["right"][seen] / union[seen]).mean()),
        }

    def metric_inputs(self, outputs: Tensor, labels: Tensor) -> MetricInputs:
        return MetricInputs(outputs.softmax(dim=1), labels, outputs.shape[1])
