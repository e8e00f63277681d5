"""Losses and gradients of tasks equal torch's, and their measures those of other libraries."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchmetrics.classification as tm
import torchmetrics.regression as tr
from forked_ranks import on_ranks
from given_runs import refusal
from sklearn import metrics as sk
from torch import Tensor, nn

from harness.data.base import Split
from harness.distributed import Ranks
from harness.task.classification import Classification
from harness.task.language_modelling import LanguageModelling
from harness.task.multi_label import MultiLabel
from harness.task.regression import Regression
from harness.task.segmentation import Segmentation
from harness.training.evaluation import EvaluationResult, evaluate


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


OUTPUTS = {
    "multi_label": drawn(23, 4), "regression": drawn(23, 3), "segmentation": drawn(23, 5, 2, 3),
    "classification": drawn(23, 5), "language_modelling": drawn(23, 6, 5),
}  # fmt: skip
LABELS = {
    "multi_label": (drawn(2, 23, 4)[1] > 0).double(),
    "regression": drawn(2, 23, 3)[1] + OUTPUTS["regression"],
    "segmentation": torch.arange(23 * 6).view(23, 2, 3) % 4,
    "classification": torch.arange(23) % 5,
    "language_modelling": torch.arange(23 * 6).view(23, 6) % 5,
}
LABELS["segmentation"][0, 0] = LABELS["language_modelling"][1, 2:] = -100
TASKS: dict[str, Any] = {
    "multi_label": MultiLabel(metrics=("MultilabelAUROC", "MultilabelF1Score")),
    "regression": Regression(metrics=("R2Score", "MeanAbsoluteError")),
    "segmentation": Segmentation(metrics=("MulticlassJaccardIndex",)),
    "classification": Classification(metrics=("MulticlassF1Score", "MulticlassAUROC")),
    "language_modelling": LanguageModelling(metrics=("MulticlassF1Score",)),
}
KEPT = LABELS["segmentation"] != -100

LOSSES: dict[str, tuple[Any, Any]] = {
    "multi_label": (MultiLabel(), F.binary_cross_entropy_with_logits),
    "squared": (Regression(), F.mse_loss),
    "absolute": (Regression("absolute"), F.l1_loss),
    "huber": (Regression("huber", delta=0.5), lambda y, t: F.huber_loss(y, t, delta=0.5)),
    "segmentation": (Segmentation(), F.cross_entropy),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_loss_and_gradient_are_those_of_torch_times_the_samples(kind) -> None:
    task, mean = LOSSES[kind]
    data = kind if kind in OUTPUTS else "regression"
    labels = LABELS[data].clamp(min=0)  # all count
    found, wanted = (OUTPUTS[data].clone().requires_grad_() for _ in range(2))
    loss, expected = task.loss(found, labels), 23 * mean(wanted, labels)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(found.grad, wanted.grad)


def measured(kind: str, ranks: Ranks) -> EvaluationResult:
    split = Split(OUTPUTS[kind], LABELS[kind])
    return evaluate(nn.Identity(), split, TASKS[kind], ranks, batch_size=4)


def all_measured(ranks: Ranks) -> dict[str, EvaluationResult]:
    return {kind: measured(kind, ranks) for kind in TASKS}


def test_two_ranks_and_more_ranks_than_samples_measure_the_same() -> None:
    alone = all_measured(Ranks())
    for found in (on_ranks(2, all_measured)[0], on_ranks(4, all_measured)[1]):
        for kind, one in alone.items():
            # Some classes of torchmetrics add up in float32.
            assert found[kind].measures == pytest.approx(one.measures, rel=1e-6)
            assert found[kind].loss == pytest.approx(one.loss, rel=1e-12)


def test_multi_label_measures_are_those_of_scikit_learn() -> None:
    found, labels = measured("multi_label", Ranks()).measures, LABELS["multi_label"]
    best = OUTPUTS["multi_label"] > 0
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(labels, best))
    for average in ("micro", "macro"):
        expected = sk.f1_score(labels, best, average=average)
        assert found[f"f1_{average}"] == pytest.approx(expected)
    auroc = sk.roc_auc_score(labels, OUTPUTS["multi_label"], average="macro")
    assert found["MultilabelAUROC"] == pytest.approx(auroc)
    assert found["MultilabelF1Score"] == pytest.approx(found["f1_macro"])


def test_regression_measures_are_those_of_scikit_learn() -> None:
    found, given = measured("regression", Ranks()).measures, LABELS["regression"]
    outputs = OUTPUTS["regression"]
    assert found["mse"] == pytest.approx(sk.mean_squared_error(given, outputs))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(given, outputs))
    assert found["r2"] == pytest.approx(sk.r2_score(given, outputs))
    assert found["R2Score"] == pytest.approx(float(tr.R2Score()(outputs, given)))
    assert found["MeanAbsoluteError"] == pytest.approx(found["mae"])


def test_r2_is_unknown_of_equal_labels_and_exact_for_labels_far_from_0() -> None:
    task, outputs = Regression(), torch.linspace(0, 1, 30, dtype=torch.float64)[:, None]

    def r2(labels: torch.Tensor) -> float:
        sums = task.measure(outputs, labels)
        return task.results(sums, torch.tensor(30.0, dtype=torch.float64))["r2"]

    assert math.isnan(r2(torch.full_like(outputs, 0.1)))
    far = 1e4 + torch.linspace(0, 1, 30, dtype=torch.float64)[:, None] ** 2
    assert r2(far) == pytest.approx(sk.r2_score(far, outputs), rel=1e-6)


def test_segmentation_measures_are_those_of_other_libraries_without_ignored_pixels() -> None:
    found, best = measured("segmentation", Ranks()).measures, OUTPUTS["segmentation"].argmax(1)
    labels = LABELS["segmentation"]
    right = sk.accuracy_score(labels[KEPT], best[KEPT])
    assert found["pixel_accuracy"] == pytest.approx(right)
    metric = tm.MulticlassJaccardIndex(5, ignore_index=-100)
    assert found["miou"] == pytest.approx(float(metric(OUTPUTS["segmentation"], labels)))
    assert found["MulticlassJaccardIndex"] == pytest.approx(found["miou"])


def test_classes_of_torchmetrics_measure_every_task() -> None:
    found = measured("classification", Ranks())
    best, labels = OUTPUTS["classification"].argmax(1), LABELS["classification"]
    expected = sk.f1_score(labels, best, average="macro")
    assert found.measures["MulticlassF1Score"] == pytest.approx(expected)
    assert found.value == found.top1 == sk.accuracy_score(labels, best)
    kept = LABELS["language_modelling"] != -100
    best, labels = OUTPUTS["language_modelling"].argmax(2), LABELS["language_modelling"]
    expected = sk.f1_score(labels[kept], best[kept], average="macro")
    of_tokens = measured("language_modelling", Ranks()).measures
    assert of_tokens == {"MulticlassF1Score": pytest.approx(expected)}


REFUSALS: dict[str, tuple[Any, str]] = {
    "a single class": (
        lambda: Classification().check_labels(torch.zeros(3).long(), 1, "the test data"),
        "needs at least 2 classes, and the test data has 1",
    ),
    "an unknown class": (lambda: Classification(metrics=("F1Scor",)), "has no such class"),
    "a state of its own": (lambda: Regression(metrics=("PearsonCorrCoef",)), "cannot be merged"),
    "labels of classes": (
        lambda: MultiLabel().check_labels(torch.arange(3), 4, "the test data"),
        "as real numbers (samples, 4), got torch.int64 (3,)",
    ),
    "a label of a half": (
        lambda: MultiLabel().check_labels(torch.full((2, 4), 0.5), 4, "the test data"),
        "8 labels of the test data are neither 0 nor 1, such as 0.5",
    ),
    "whole numbers": (
        lambda: Regression().check_labels(torch.arange(3), 1, "the test data"),
        "convert them with .float()",
    ),
    "one output too many": (
        lambda: Regression().check_outputs(torch.zeros(2, 3), 2),
        "needs outputs (samples, 2), and the model returns a tensor (2, 3)",
    ),
    "one output per picture": (
        lambda: Segmentation().check_outputs(torch.zeros(2, 5), 5),
        "needs outputs (samples, classes, height, width)",
    ),
    "another resolution": (
        lambda: Segmentation().loss(torch.zeros(2, 5, 4, 4), torch.zeros(2, 8, 8).long()),
        "interpolate in the model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_a_task_cannot_use_is_described_in_one_line(kind) -> None:
    call, message = REFUSALS[kind]
    assert message in refusal(call)
