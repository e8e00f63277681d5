"""Tests what harness.score and prune make of what they are given: words, masks, own saliencies."""

import pytest
import torch
from torch import Tensor, nn

import harness
from harness.saliency.weight_gradient import WeightGradient

Tensors = dict[str, Tensor]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


class Forgetful(WeightGradient):
    """Scores all weights but the first."""

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: weights[name].abs() for name in [*weights][1:]}


def test_a_saliency_that_leaves_a_weight_without_scores_is_named_with_the_weight() -> None:
    data = [(torch.ones(2, 2), torch.tensor([0, 1]))]
    with pytest.raises(ValueError, match="score of Forgetful returned nothing for 0.weight; it"):
        harness.prune(network(), 0.5, saliency=Forgetful(), batches=data)


def test_one_excluded_layer_needs_no_list() -> None:
    assert [*harness.prune(network(), 0.5, exclude="last")] == ["0.weight"]
    assert [*harness.score(network(), exclude="0")] == ["2.weight"]


def test_masks_of_0_and_1_are_taken_in_any_dtype_and_others_are_refused() -> None:
    mask = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = harness.prune(network(), 1.0, masks={"0.weight": mask})
    assert found["0.weight"].dtype == torch.bool and found["0.weight"].equal(mask.bool())
    with pytest.raises(ValueError, match=r"masks\['0.weight'\] holds other values than 0 and 1"):
        harness.prune(network(), 1.0, masks={"0.weight": mask / 2})
