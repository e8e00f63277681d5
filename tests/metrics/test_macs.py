"""Multiply-accumulates by hand, of whatever way a network multiplies by its weights."""

import pytest
import torch
import torch.nn.functional as F
from conftest import cases
from probes import ByFunction, Use
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harness.metrics.macs import Macs, count_macs, macs


class Around(nn.Module):
    """A layer between others: inputs -> layer -> 2 outputs per position."""

    def __init__(self, layer: nn.Module, width: int):
        super().__init__()
        self.layer, self.last = layer, nn.Linear(width, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.layer(inputs)
        return self.last(found[0] if isinstance(found, tuple) else found)


class Attending(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.attention(inputs, inputs, inputs)[0]


def by(way: Use) -> Macs:
    return count_macs(ByFunction(way), torch.zeros(1, 4))


# 5 positions of width 8: q, k, v and the output; q k^T and attention x v of 5 x 5 positions.
ATTENTION = 5 * (3 * 64 + 64) + 2 * 25 * 8


@cases(
    "model, shape, wanted",
    # 8 steps of 4 x 16 rows of inputs and of states; the classifier at each step.
    (Around(nn.LSTM(8, 16, batch_first=True), 16), (8, 8), 8 * 64 * (8 + 16) + 8 * 32),
    (Around(nn.GRU(8, 16, batch_first=True), 16), (8, 8), 8 * 48 * (8 + 16) + 8 * 32),
    (Around(nn.RNN(8, 16, batch_first=True), 16), (8, 8), 8 * 16 * (8 + 16) + 8 * 32),
    # Two directions; states of 4 that 16 cells are projected to.
    (
        Around(nn.LSTM(8, 16, batch_first=True, bidirectional=True, proj_size=4), 8),
        (8, 8),
        8 * 2 * (64 * (8 + 4) + 16 * 4) + 8 * 16,
    ),
    (Around(nn.LSTMCell(8, 16), 16), (8,), 64 * (8 + 16) + 32),
    (Around(nn.GRUCell(8, 16), 16), (8,), 48 * (8 + 16) + 32),
    (Attending(8, 2), (5, 8), ATTENTION),
    (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8), ATTENTION + 5 * 256),
    (nn.Conv2d(4, 8, 3, groups=4), (4, 6, 6), 8 * 9 * 16),
    (nn.ConvTranspose2d(4, 8, 2, stride=2, groups=2), (4, 3, 3), 4 * 4 * 4 * 9),
    ids=lambda one: type(getattr(one, "layer", one)).__name__ if isinstance(one, nn.Module) else "",
)
@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own, of another kernel
def test_a_layer_costs_its_weights_at_every_position(model, shape, wanted) -> None:
    assert count_macs(model, torch.zeros(1, *shape)).dense == wanted
    assert count_macs(model.double(), torch.zeros(1, *shape).double()).dense == wanted
    assert count_macs(model, torch.zeros(1, *shape).double()).uncounted == {}


@cases("dtype", torch.float16, torch.bfloat16)
def test_a_recurrent_layer_of_half_precision_costs_the_same(dtype) -> None:
    # Other operators run than in float32.
    model = Around(nn.LSTM(8, 16, batch_first=True), 16).to(dtype)
    assert macs(model, (8, 8), whole=True) == 8 * 64 * (8 + 16) + 8 * 32


# Of inputs x (1, 4) and weights w (8, 4): each of 32 weights once, if nothing else is said.
ONCE: dict[str, Use] = {
    "linear": F.linear,
    "x w^T": lambda x, w: x @ w.T,
    "matrix times vector": lambda x, w: torch.mv(w, x[0]),
    "einsum": lambda x, w: torch.einsum("bi,oi->bo", x, w),
    "tensordot": lambda x, w: torch.tensordot(x, w, ([1], [1])),
    "product and sum": lambda x, w: (w * x).sum(-1),
    "product and mean": lambda x, w: (2 * (x[:, None] * w)).mean(2),
    "convolution": lambda x, w: F.conv1d(x[:, None], w[:, None]),
    "another dtype": lambda x, w: F.linear(x.double(), w.double()),
    "autocast": torch.autocast("cpu", torch.bfloat16)(F.linear),
    "inference mode": torch.inference_mode()(F.linear),
    "vmap": lambda x, w: torch.func.vmap(lambda row: row @ x[0])(w),
    "reentrant checkpoint": lambda x, w: checkpoint(F.linear, x, w, use_reentrant=True),
    "scaled": lambda x, w: F.linear(x, 0.5 * w),
    "normalised": lambda x, w: F.linear(x, F.normalize(w)),
    "multiplied in place": lambda x, w: F.linear(x, w.data.mul_(torch.ones(4))),
    "parts": lambda x, w: [F.linear(x, part) for part in w.chunk(4)],
    "put together": lambda x, w: F.linear(x, torch.cat([w[4:], w[:4]]).flip(0)),
}


@pytest.mark.parametrize("way", ONCE.values(), ids=ONCE.keys())
def test_a_product_with_a_weight_belongs_to_the_weight_however_it_is_called(way) -> None:
    found = by(way)
    assert (found.weights, found.activations, found.uncounted) == ({"layer.weight": 32}, 0, {})
    pruned = torch.ones(8, 4)
    pruned[0] = 0
    assert found.remaining({"layer.weight": pruned}) == 28


def test_a_part_of_a_weight_costs_its_own_non_zeros_only() -> None:
    found = by(lambda x, w: [F.linear(x, w[:2]), F.linear(x, w[1:3])])
    assert found.weights == {"layer.weight": 16}
    alive = torch.ones(8, 4)
    alive[1] = 0  # both take it
    alive[7] = 0  # no one does
    assert found.remaining({"layer.weight": alive}) == 8


def test_a_weight_that_is_spread_over_several_samples_costs_as_often() -> None:
    found = by(lambda x, w: torch.bmm(x.expand(3, 1, 4), w.T.expand(3, 4, 8)))
    assert (found.weights, found.uses["layer.weight"]) == ({"layer.weight": 96}, 3)


def test_constants_beside_a_weight_belong_to_no_weight() -> None:
    found = by(lambda x, w: F.linear(x, torch.cat([w, torch.ones(2, 4)])))
    assert (found.weights, found.activations) == ({"layer.weight": 32}, 8)


def test_bilinear_layers_cost_each_weight_once() -> None:
    model = nn.Sequential(Squared(), nn.Linear(5, 2))
    assert count_macs(model, torch.zeros(1, 3)).weights == {"0.both.weight": 45, "1.weight": 10}


class Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Bilinear(3, 3, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.both(inputs, inputs)


def test_tied_layers_cost_their_weight_each() -> None:
    found = by(lambda x, w: F.linear(F.linear(x, w), w.T))
    assert (found.weights, found.dense) == ({"layer.weight": 64}, 64)


def test_products_of_activations_stay_however_much_is_pruned() -> None:
    found = count_macs(Attending(8, 2), torch.zeros(1, 5, 8))
    assert found.weights == {
        "attention.in_proj_weight": 5 * 192, "attention.out_proj.weight": 5 * 64,
    }  # fmt: skip
    assert found.activations == 2 * 25 * 8
    gone = {"attention.out_proj.weight": torch.zeros(8, 8)}
    assert found.remaining(gone) == 5 * 192 + 2 * 25 * 8


def test_what_multiplies_no_weight_costs_nothing() -> None:
    def way(x: Tensor, w: Tensor) -> Tensor:
        found = F.layer_norm(F.linear(x, w), (8,), torch.ones(8)) * torch.ones(8)
        return F.embedding(x.long(), w).sum(1) + found.softmax(-1)[:, :4] + w

    assert by(way).dense == 32


def test_scales_of_hand_written_norms_cost_nothing() -> None:
    class Normed(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(4, 8), nn.Linear(8, 2))
            self.scale = nn.Parameter(torch.ones(8))

        def forward(self, inputs: Tensor) -> Tensor:
            found = self[0](inputs) * self.scale
            return self[1](found - found.mean(-1, keepdim=True))

    assert count_macs(Normed(), torch.zeros(1, 4)).dense == 32 + 16


class Stateful(nn.Module):
    """Changes one buffer, replaces another and draws numbers, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(1, 4), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        assert isinstance(self.calls, Tensor)
        self.calls += 1
        self.seen = inputs + torch.rand(())
        return self.layer(inputs)


def test_counting_leaves_buffers_random_streams_and_torchs_switches_as_they_were() -> None:
    model, random = Stateful(), torch.random.get_rng_state()
    count_macs(model, torch.ones(1, 4))
    assert float(model.calls) == 0 and not model.get_buffer("seen").any()
    assert torch.equal(torch.random.get_rng_state(), random)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_network_of_token_ids_is_counted_on_ids() -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 3))
    assert count_macs(model, torch.zeros(1, 5, dtype=torch.int64)).weights == {"1.weight": 60}
