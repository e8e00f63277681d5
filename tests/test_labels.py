"""Tests what the API makes of labels in a row for each sample, and of outputs without classes."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import cases
from torch import Tensor, nn

import harness
from harness.task.base import IGNORED

TOKENS = torch.tensor([[0, 1, 2], [3, 4, 0], [1, 1, 3], [2, 0, 4]])
LABELS = torch.tensor([[1, 2, 0], [4, 0, IGNORED], [IGNORED] * 3, [3, 3, 1]])


def network(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 5), *more)


def summed(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), labels.flatten(), reduction="sum")


@cases("saliency", "gradient", "fisher", "hutchinson", "wanda", "taylor_unit")
@cases("loss", None, summed)
def test_a_network_that_flattens_its_positions_scores_as_one_that_does_not(saliency, loss) -> None:
    more: Any = {"structure": "neuron"} if saliency == "taylor_unit" else {}
    wanted = harness.score(network(), saliency, batches=[(TOKENS, LABELS)], loss=summed, **more)
    cut = [(TOKENS[:2], LABELS[:2].flatten()), (TOKENS[2:], LABELS[2:].flatten())]
    flat = network(nn.Flatten(0, 1))
    found = harness.score(flat, saliency, batches=cut, loss=loss, **more)
    assert found.keys() == wanted.keys()
    for name, score in wanted.items():
        assert score.any() and torch.allclose(found[name], score, rtol=1e-4, atol=1e-7)


def test_sequences_of_one_position_may_stand_beside_longer_ones() -> None:
    parts = [(TOKENS[:1, :1], LABELS[:1, :1]), (TOKENS[1:], LABELS[1:])]
    wanted = harness.score(network(), "gradient", batches=parts, loss=summed)
    flat = [(tokens, labels.flatten()) for tokens, labels in parts]
    found = harness.score(network(nn.Flatten(0, 1)), "gradient", batches=flat, loss=summed)
    assert torch.allclose(found["3.weight"], wanted["3.weight"], atol=1e-7)


def test_a_mean_over_flattened_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="as of a mean"):
        harness.score(
            network(nn.Flatten(0, 1)),
            "gradient",
            batches=[(TOKENS, LABELS.flatten())],
            loss=F.cross_entropy,
        )


@cases("inputs, labels", (4, 2), (4, 6), (4, 0), (0, 3), ids=lambda count: str(count))
def test_labels_that_do_not_divide_among_the_samples_are_refused(inputs, labels) -> None:
    data = [(torch.ones(inputs, 2), torch.zeros(labels, dtype=torch.int64))]
    with pytest.raises(
        ValueError, match=rf"\({labels},\) are {labels} for {inputs} samples.*label"
    ):
        harness.score(nn.Linear(2, 3), "magnitude", batches=data)


class Dict(nn.Linear):
    def forward(self, inputs: Tensor) -> Any:
        return {"logits": super().forward(inputs)}


@cases(
    "model, labels, said",
    (nn.Linear(2, 1), torch.zeros(3, dtype=torch.int64), r"\(3, 1\)"),
    (nn.Linear(2, 1), torch.zeros(3, 1), r"\(3, 1\)"),
    (nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)), torch.zeros(3), r"\(3,\)"),
    (
        nn.Linear(2, 4),
        torch.zeros(3, 2, dtype=torch.int64),
        r"\(3, 4\) for torch.int64 labels \(3, 2\)",
    ),
    (Dict(2, 4), torch.zeros(3, dtype=torch.int64), "dict"),
)
def test_the_default_loss_refuses_outputs_of_no_classes(model, labels, said) -> None:
    with pytest.raises(ValueError, match=f"cross-entropy by default.* gives {said}.*give a loss"):
        harness.score(model, "gradient", batches=[(torch.ones(3, 2), labels)])
