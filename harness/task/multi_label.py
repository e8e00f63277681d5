from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.task.base import IGNORED
from harness.task.shared.classes import check_scores_of_classes
from harness.task.shared.measures import F1_MACRO, Measure
from harness.task.shared.torch_metrics import MetricInputs
from harness.task.shared.with_metrics import WithIgnoredLabels


@dataclass(frozen=True)
class MultiLabel(WithIgnoredLabels):
    """Predicts of each label whether it applies: outputs and labels (samples, labels).

    Loss: the mean over a sample's labels of the binary cross-entropy of sigmoid(outputs), summed
    over samples. Labels are real numbers, 1 or 0; a label of -100 counts in nothing.

    Measures: subset_accuracy is the fraction of samples with all labels right, at probability 0.5;
    f1_micro is F1 over all labels, f1_macro the mean of the labels' F1, where a label that neither
    occurs nor is predicted has 0. The primary one is f1_macro.

    metrics: names of classes of torchmetrics, such as MultilabelAUROC, that are measured too.

    Raises:
        ValueError: a name is no class of torchmetrics, or one that cannot be merged over ranks.
        MissingExtra: torchmetrics is not installed.
    """

    primary: ClassVar[Measure] = F1_MACRO
    has_class_scores: ClassVar[bool] = False

    def check_labels(self, labels: Tensor, classes: int, source: str) -> None:
        """Checks that labels are real numbers, 1 or 0, a column for each of the data's labels.

        Raises:
            ValueError: they are not.
        """
        if not labels.is_floating_point() or labels.ndim != 2 or labels.shape[1] != classes:
            raise ValueError(
                f"task=multi_label needs labels of {source} as real numbers (samples, {classes}), "
                f"got {labels.dtype} {tuple(labels.shape)}; convert classes with "
                "torch.nn.functional.one_hot(labels, classes).float()"
            )
        wrong = labels[(labels != 0) & (labels != 1) & (labels != IGNORED)]
        if wrong.numel():
            raise ValueError(
                f"task=multi_label: {wrong.numel()} labels of {source} are neither 0 nor 1, such "
                f"as {float(wrong[0]):g}; label what is not known {IGNORED}"
            )

    def check_outputs(self, outputs: Any, classes: int) -> None:
        """Checks that there is an output for every label.

        Raises:
            ValueError: there is not.
        """
        check_scores_of_classes("multi_label", outputs, ("samples",), classes)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Returns the binary cross-entropy, summed over the samples.

        Raises:
            ValueError: outputs and labels differ in shape.
        """
        if outputs.shape != labels.shape:
            raise ValueError(
                f"task=multi_label needs an output for every label, got outputs "
                f"{tuple(outputs.shape)} and labels {tuple(labels.shape)}; change the last layer"
            )
        counts = self.label_mask(labels)
        known = torch.where(counts, labels, 0.0).to(outputs.dtype)
        losses = F.binary_cross_entropy_with_logits(outputs, known, reduction="none")
        return torch.where(counts, losses, 0.0).mean(dim=1).sum()

    @torch.no_grad()
    def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        counts, applies, found = self.label_mask(labels), labels == 1, outputs > 0
        right = ((applies == found) | ~counts).all(dim=1)
        return {
            "loss": self.loss(outputs, labels),
            "subset_accuracy": (right * counts.double().mean(dim=1)).sum(),
            "right": (applies & found & counts).sum(dim=0),
            "wrong": ((applies != found) & counts).sum(dim=0),
        }

    def results(self, sums: Mapping[str, Tensor], counted: Tensor) -> dict[str, float]:
        """Returns the measures of sums over all samples."""
        right, wrong = sums["right"], sums["wrong"]
        by_label = torch.nan_to_num(2 * right / (2 * right + wrong))
        total = 2 * right.sum() / (2 * right.sum() + wrong.sum())
        return {
            "subset_accuracy": float(sums["subset_accuracy"] / counted),
            "f1_micro": float(torch.nan_to_num(total)),
            "f1_macro": float(by_label.mean()),
        }

    def metric_inputs(self, outputs: Tensor, labels: Tensor) -> MetricInputs:
        return MetricInputs(outputs.sigmoid(), labels.long(), outputs.shape[1])
