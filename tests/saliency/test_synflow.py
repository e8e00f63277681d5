import copy
from typing import Any

import pytest
import torch
from conftest import cases
from left_alone import check_same, snapshot
from lockstep import on_ranks
from probes import Net, batches, check_close, inputs
from simulated import cross_entropy
from torch import Tensor, nn

from harness.experiment.experiment import Experiment
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.models.lenet_5 import LeNet5
from harness.saliency.base import CalibrationData
from harness.saliency.synflow import SynFlow, positive_copy
from harness.vocabulary.tensors import Batch, Tensors, prunable_weights


def scores(model: nn.Module, batch: Batch, bias: str = "abs") -> Tensors:
    method = SynFlow(bias)
    statistics = method.statistics(CalibrationData(model, [batch], cross_entropy))
    return method.score(prunable_weights(model), statistics)


def two_layers(bias: bool = False) -> nn.Module:
    """W1 = ((1, -2), (3, 0)), W2 = (-1, 2); biases (-4, 0) and (-5)."""
    model = nn.Sequential(nn.Linear(2, 2, bias=bias), nn.ReLU(), nn.Linear(2, 1, bias=bias))
    values = {
        "0.weight": [[1.0, -2.0], [3.0, 0.0]],
        "2.weight": [[-1.0, 2.0]],
        "0.bias": [-4.0, 0.0],
        "2.bias": [-5.0],
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(values[name]))
    return model


PAIR: Batch = (torch.tensor([[-7.0, 9.0]]), torch.zeros(1, dtype=torch.int64))


def test_two_layers_by_hand() -> None:
    # |W1| (1, 1) = (3, 3); R = 1 x 3 + 2 x 3. A weight of W1 scores |w1| x the weight after it.
    flow = scores(two_layers(), PAIR)
    assert flow["0.weight"].tolist() == [[1.0, 2.0], [6.0, 0.0]]
    assert flow["2.weight"].tolist() == [[3.0, 6.0]]


def test_biases_count_by_their_absolute_value_or_not_at_all() -> None:
    # With |b1| = (4, 0) the hidden units hold (3 + 4, 3).
    by_abs = scores(two_layers(bias=True), PAIR, "abs")
    assert by_abs["0.weight"].tolist() == [[1.0, 2.0], [6.0, 0.0]]
    assert by_abs["2.weight"].tolist() == [[7.0, 6.0]]
    by_zero = scores(two_layers(bias=True), PAIR, "zero")
    assert by_zero["2.weight"].tolist() == [[3.0, 6.0]]


@pytest.mark.parametrize(
    ("bias", "first", "second"),
    # abs: (2 - 3) / 2 x 2 + 5 = 4 goes into the weight 3; zero: 2 / 2 x 2 = 2 does.
    [("abs", 6.0, 12.0), ("zero", 6.0, 6.0)],
)
def test_a_norm_by_hand(bias, first, second) -> None:
    norm = nn.BatchNorm1d(1, eps=0.0)
    model = nn.Sequential(nn.Linear(1, 1, bias=False), norm, nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(-2.0)
        model[2].weight.fill_(3.0)
        norm.weight.fill_(-2.0)
        norm.bias.fill_(-5.0)
        norm.running_mean.fill_(-3.0)
        norm.running_var.fill_(4.0)
    flow = scores(model, inputs(8.0), bias)
    assert (flow["0.weight"].item(), flow["2.weight"].item()) == (first, second)


def test_flow_is_conserved_from_layer_to_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2, bias=False), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 2, groups=2, dilation=2, bias=False), nn.ReLU(), nn.Flatten(),
        nn.Linear(24, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False),
    )  # fmt: skip
    flow = scores(model, (torch.randn(1, 2, 16, 16), torch.zeros(1)))
    sums = [float(score.sum()) for score in flow.values()]
    assert len(sums) == 4 and sums[0] > 0
    assert sums == pytest.approx([sums[0]] * 4, rel=1e-12)


def test_flow_is_conserved_despite_biases_and_norms_when_these_are_zero() -> None:
    flow = scores(Net(), batches()[0], "zero")
    assert flow["conv.weight"].sum().item() == pytest.approx(flow["fc.weight"].sum().item())
    flow = scores(Net(), batches()[0], "abs")
    assert flow["conv.weight"].sum().item() != pytest.approx(flow["fc.weight"].sum().item())


def test_a_deep_network_does_not_leave_the_range_of_its_numbers() -> None:
    # 2 x 2 weights of 1e-3, 40 layers: R = 2 x (2e-3)^40 = 2.2e-108; float32 ends at 1e-45.
    model = nn.Sequential(*[nn.Linear(2, 2, bias=False) for _ in range(40)])
    for layer in model:
        nn.init.constant_(layer.weight, -1e-3)
    for flow in scores(model, PAIR).values():
        assert flow.dtype == torch.float64
        # Scores are taken with the weights in float32, which hold 1e-3 to 5e-8 of it.
        assert flow.sum().item() == pytest.approx(2 * 2e-3**40, rel=1e-5)


def test_values_and_labels_of_the_batch_do_not_matter() -> None:
    model, (images, labels) = Net(), batches()[0]
    few = (images[:1] * 100 - 5, labels[:1])
    check_same(scores(model, (images, labels)), scores(model, few))


class TokenNet(nn.Module):
    """Takes token ids of one dtype: its rows are looked up."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.embedding = nn.Embedding(5, 3)
        self.fc = nn.Linear(3, 2, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        assert tokens.dtype == self.dtype
        return self.fc(self.embedding(tokens.long()).mean(1))


@cases("given, taken", (torch.float32, torch.float64), (torch.int64, torch.int64))
def test_token_ids_are_ones(given, taken) -> None:
    model = TokenNet(taken)
    flow = scores(model, (torch.tensor([[4, 0], [3, 2]]).to(given), torch.zeros(2)))
    expected = model.fc.weight.abs() * model.embedding.weight[1].abs()
    torch.testing.assert_close(flow["fc.weight"].float(), expected.detach())


def test_the_model_keeps_everything_and_lends_no_memory() -> None:
    model = Net().train()
    before = snapshot(model)
    kept = copy.deepcopy(scores(model, batches()[0]))
    check_same(snapshot(model), before)
    check_same(scores(model, batches()[0]), kept)


def test_one_batch_is_drawn_and_no_more() -> None:
    def only_one() -> Any:
        yield PAIR
        raise AssertionError("a second batch was asked for")

    SynFlow().statistics(CalibrationData(two_layers(), only_one(), cross_entropy))


@cases("shares", [[PAIR], []], [[], [PAIR]], [[PAIR, PAIR], [PAIR]])
def test_ranks_with_and_without_a_batch_agree(shares) -> None:
    alone = SynFlow().statistics(CalibrationData(two_layers(), [PAIR], cross_entropy))
    for statistics in on_ranks(SynFlow(), two_layers(), shares, cross_entropy):
        check_close(statistics, alone, rtol=0)


def test_no_batch_at_all_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="SynFlow needs one batch.*shape.*no calibration samples"):
        SynFlow().statistics(CalibrationData(two_layers(), [], cross_entropy))


def test_a_flow_that_overflows_is_refused_by_name() -> None:
    model = nn.Sequential(*[nn.Linear(2, 2, bias=False) for _ in range(12)])
    for layer in model:
        nn.init.constant_(layer.weight, 1e30)
    with pytest.raises(ValueError, match=r"synaptic flow through 0.weight is not finite"):
        scores(model, PAIR)


def test_an_unknown_treatment_of_biases_is_refused() -> None:
    with pytest.raises(ValueError, match="bias must be abs or zero, got 'keep'"):
        SynFlow("keep")


@cases("more, rounds", ([], 100), (["schedule.rounds=3"], 3))
def test_a_level_takes_the_authors_hundred_rounds_if_none_are_asked_for(more, rounds) -> None:
    experiment = build(compose_config(["method=synflow", "schedule=one_shot", *more]))
    assert isinstance(experiment, Experiment)
    assert experiment.rounds == rounds
    snip = build(compose_config(["method=snip", "schedule=one_shot", *more]))
    assert snip.rounds == (1 if rounds == 100 else 3)
    assert build(compose_config(["method=iterative_snip", "schedule=one_shot"])).rounds == 100


def test_it_scores_a_shipped_model() -> None:
    model = LeNet5().build((1, 28, 28), 10)
    flow = scores(model, (torch.zeros(1, 1, 28, 28), torch.zeros(1)))
    assert all(bool((score > 0).all()) for score in flow.values())


def test_an_infinite_entry_of_a_buffer_keeps_its_sign() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf, -1.0]))

        def forward(self, inputs: Tensor) -> Tensor:
            return (self.fc(inputs) + self.mask).softmax(-1)

    assert positive_copy(Masked()).state_dict()["mask"].tolist() == [0.0, -torch.inf, 1.0]
