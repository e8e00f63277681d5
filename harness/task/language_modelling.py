from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.task.base import IGNORED
from harness.task.shared.classes import check_classes, check_scores_of_classes, explain_classes
from harness.task.shared.torch_metrics import MetricInputs
from harness.task.shared.with_metrics import WithIgnoredLabels


@dataclass(frozen=True)
class LanguageModelling(WithIgnoredLabels):
    """Predicts the next token: outputs (samples, positions, classes).

    Labels are (samples, positions).

    Loss: sum over a sample's positions of -ln p(label) / positions, summed over samples. A
    recorded loss, the mean over all positions, is in nats per token (per character with
    data=topics): divided by ln 2 it is in bits. perplexity = exp(loss). top1 and top5 are
    the fractions of positions whose label is the best class, or among the best five.

    Samples are sequences of equal length. Positions labelled -100, such as padding, count in
    nothing: a sample with half of them weighs half, so that all means are over the other positions.

    metrics: names of classes of torchmetrics, such as MulticlassF1Score, that are measured too.

    Raises:
        ValueError: outputs or labels have another shape; a name is no class of torchmetrics, or one
            that cannot be merged over ranks.
        MissingExtra: torchmetrics is not installed.
    """

    has_perplexity: ClassVar[bool] = True

    def check_labels(self, labels: Tensor, classes: int, source: str) -> None:
        """Checks that labels are tokens.

        Raises:
            ValueError: they are not.
        """
        check_classes(source, labels, classes)

    def check_outputs(self, outputs: Any, classes: int) -> None:
        """Checks that there is an output for every token.

        Raises:
            ValueError: there is not.
        """
        check_scores_of_classes("language_modelling", outputs, ("samples", "positions"), classes)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        _check_shapes(outputs, labels)
        # cross_entropy has its classes in dimension 1.
        with explain_classes(labels, outputs.shape[2]):
            losses = F.cross_entropy(
                outputs.transpose(1, 2), labels, reduction="none", ignore_index=IGNORED
            )
        return losses.mean(dim=1).sum()

    @torch.no_grad()
    def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        loss = self.loss(outputs, labels)
        best = outputs.topk(min(5, outputs.shape[2]), dim=2).indices
        hits = (best == labels.unsqueeze(2)).double().mean(dim=1).sum(dim=0)
        return {"top1": hits[0], "top5": hits.sum(), "loss": loss}

    def metric_inputs(self, outputs: Tensor, labels: Tensor) -> MetricInputs:
        return MetricInputs(outputs.softmax(dim=2).transpose(1, 2), labels, outputs.shape[2])


def _check_shapes(outputs: Tensor, labels: Tensor) -> None:
    if outputs.ndim != 3 or outputs.shape[:2] != labels.shape:
        raise ValueError(
            "task=language_modelling needs outputs (samples, positions, classes) and labels "
            f"(samples, positions), got {tuple(outputs.shape)} and {tuple(labels.shape)}; "
            "use it with model=char_transformer and data=topics, or use task=classification"
        )
