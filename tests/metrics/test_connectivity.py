"""Reachable weights of networks whose paths are counted by hand."""

import pytest
import torch
from random_masks import pruned
from torch import Tensor, nn

from harness.metrics.connectivity import connected_weights, connectivity
from harness.models.char_transformer import CharTransformer
from harness.models.lenet_5 import LeNet5


def test_a_gate_that_a_dead_unit_makes_leaves_the_other_factor_its_paths() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.squeeze, self.main = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.main(x) * torch.sigmoid(self.squeeze(x))

    network = Gated()
    with torch.no_grad():
        network.squeeze.weight.zero_()

    found = connectivity(network, torch.zeros(1, 3))

    # 9 of 18 weights; the gate is sigmoid(bias), a constant that is not 0.
    assert found.effective_density == 0.5
    assert found.empty == ["squeeze.weight"] and found.dead_units == {"squeeze.weight": 3}


def test_density_units_and_empty_tensors_of_a_network_that_was_counted_by_hand() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    first, second, third = (layer.weight for layer in network[::2])  # type: ignore
    with torch.no_grad():
        first.copy_(torch.tensor([[1.0, 0.0], [0.0, -2.0], [0.0, 0.0]]))
        second.copy_(torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 5.0]]))
        third.copy_(torch.tensor([[-1.0, 1.0]]))

    masks = connected_weights(network, torch.zeros(1, 2))
    found = connectivity(network, torch.zeros(1, 2))

    # One path: input 0, unit 0, unit 0, output. Unit 1 of the first layer (-2) has no output, unit
    # 2 no input, so the 5 that reads it lies on no path, nor does the 1 that reads what it feeds.
    assert masks["0.weight"].tolist() == [[True, False], [False, False], [False, False]]
    assert masks["2.weight"].tolist() == [[True, False, False], [False, False, False]]
    assert masks["4.weight"].tolist() == [[True, False]]
    assert found.effective_density == 3 / 14  # 6 of 14 weights are not 0
    assert found.dead_units == {"0.weight": 2, "2.weight": 1} and found.empty == []


def test_an_empty_layer_leaves_no_path_at_all() -> None:
    torch.manual_seed(0)
    network = LeNet5().build((1, 28, 28), 10)
    with torch.no_grad():
        network.fc1.weight.zero_()  # type: ignore

    found = connectivity(network, torch.zeros(1, 1, 28, 28))

    assert found.effective_density == 0.0 and found.empty == ["fc1.weight"]
    assert found.dead_units == {
        "conv1.weight": 20, "conv2.weight": 50, "fc1.weight": 500, "fc2.weight": 10,
    }  # fmt: skip


def test_a_shortcut_around_an_empty_layer_is_a_path() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.around, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(x + self.around(x).relu())

    network = Residual()
    with torch.no_grad():
        network.around.weight.zero_()
    assert connectivity(network, torch.zeros(1, 4)).effective_density == 8 / 24


def test_a_unit_that_only_its_bias_feeds_has_no_live_input() -> None:
    for kind in (nn.ReLU, nn.Sigmoid, nn.Softplus, nn.LogSigmoid):
        network = nn.Sequential(nn.Linear(2, 2), kind(), nn.Linear(2, 1))
        with torch.no_grad():
            network[0].weight[1] = 0  # type: ignore
            network[0].bias.fill_(1.0)  # type: ignore
        assert connected_weights(network, torch.zeros(1, 2))["2.weight"].tolist() == [[True, False]]


def test_the_loser_of_a_maximum_is_reachable_too() -> None:
    network = nn.Sequential(nn.Conv1d(1, 1, 2, stride=2, bias=False), nn.MaxPool1d(2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[[0.0, 2.0]]]))  # type: ignore
    for pool in (nn.MaxPool1d(2), nn.MaxPool1d(2, ceil_mode=True), nn.AdaptiveMaxPool1d(1)):
        network[1] = pool
        assert connected_weights(network, torch.zeros(1, 1, 8))["0.weight"].tolist() == [
            [[False, True]]
        ]


@pytest.mark.parametrize("share", [0.5, 1.5 / 512, 1 / 512])
@pytest.mark.parametrize("kind", [nn.ReLU, nn.Sigmoid])
def test_fifty_layers_of_512_units_neither_vanish_nor_overflow(share, kind) -> None:
    torch.manual_seed(0)
    depth, width = 50, 512
    linear = [nn.Linear(width, width) for _ in range(depth)]
    network = pruned(nn.Sequential(*(part for one in linear for part in (one, kind()))), share, 1)
    if share < 0.01:
        with torch.no_grad():  # one sure path through all layers, which random masks may cut
            for number, layer in enumerate(linear):
                layer.weight[(7 * number + 7) % width, 7 * number % width] = 1e-30
    found = connected_weights(network, torch.zeros(1, width))

    kept = [layer.weight != 0 for layer in linear]
    fed, read = [torch.ones(width, dtype=torch.bool)], [torch.ones(width, dtype=torch.bool)]
    for mask in kept:
        fed.append((mask & fed[-1]).any(1))
    for mask in reversed(kept):
        read.append((mask & read[-1][:, None]).any(0))
    for number, mask in enumerate(kept):
        expected = mask & fed[number] & read[depth - number - 1][:, None]
        assert torch.equal(found[f"{2 * number}.weight"], expected), number
        assert expected.any()


def test_one_faint_unit_among_64_is_followed_through_250_layers() -> None:
    # Unit 0 of each layer reads all units before, of which unit 0 alone has an input: 64^-250.
    linear = [nn.Linear(64, 64, bias=False) for _ in range(250)]
    network = nn.Sequential(*(part for one in linear for part in (one, nn.ReLU())))
    with torch.no_grad():
        for number, layer in enumerate(linear):
            layer.weight[1:] = 0
            layer.weight[0, 1:] = 1 if number else 0
    for mask in connected_weights(network, torch.zeros(1, 64)).values():
        assert mask.nonzero().tolist() == [[0, 0]]


def test_attention_with_token_ids_is_traced() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 8)
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.last = nn.Linear(8, 5)

        def forward(self, ids: Tensor) -> Tensor:
            return self.last(self.block(self.embed(ids.long())))

    torch.manual_seed(0)
    network = Tokens()
    with torch.no_grad():
        network.block.linear1.weight[3:] = 0
        network.last.weight[0, 0] = 0
    masks = connected_weights(network, torch.zeros(1, 6))

    assert masks["block.self_attn.out_proj.weight"].all()
    # Units 3 to 15 have no input, so the columns of linear2 that read them lie on no path.
    assert masks["block.linear1.weight"].sum(1).tolist() == [8] * 3 + [0] * 13
    assert masks["block.linear2.weight"].sum(0).tolist() == [8] * 3 + [0] * 13
    assert int((~masks["last.weight"]).sum()) == 1


def test_inputs_that_the_network_shifts_below_zero_close_nothing() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.full((3,), 5.0))
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one((x - self.mean) / 0.1).relu())  # type: ignore

    network = Shifted()
    with torch.no_grad():
        network.one.weight[0] = 0
    assert connectivity(network, torch.zeros(1, 3)).effective_density == (9 + 6) / 20


@pytest.mark.parametrize("forwards", [0, 1])
def test_values_may_decide_which_layers_are_called_and_with_how_many_samples(forwards) -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.forwards = forwards

        def forward(self, x: Tensor) -> Tensor:
            self.forwards += 1
            if self.forwards % 2:  # stands for values that differ between the passes
                return self.last(self.two(self.one(x)))
            return self.last(self.one(x.repeat(3, 1))[:1])

    network = Experts()
    with torch.no_grad():
        network.last.weight[0, 0] = 0

    # The third pass counts: it calls all three layers, or all but two with its 16 weights.
    assert (
        connectivity(network, torch.zeros(1, 4)).effective_density
        == (39 if forwards == 0 else 23) / 40
    )


def test_wide_attention_does_not_saturate() -> None:
    torch.manual_seed(0)
    network = CharTransformer(width=512, heads=1).build((8,), 10)
    assert all(mask.all() for mask in connected_weights(network, torch.zeros(1, 8)).values())


def test_a_weight_that_layers_share_is_reached_through_any_of_them() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x))

    network = Tied()
    with torch.no_grad():
        # Inputs 0 -> unit 1 -> unit 2; alone, neither call uses both weights on a path.
        network.one.weight.copy_(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]))
    assert torch.equal(
        connected_weights(network, torch.zeros(1, 3))["one.weight"], network.one.weight != 0
    )


def test_a_sparse_matrix_in_the_layers_own_dtype_lets_paths_through() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 2), nn.Linear(2, 1)
            self.neighbours = torch.eye(2).to_sparse()  # float32, and no buffer

        def forward(self, x: Tensor) -> Tensor:
            return self.two((self.neighbours @ self.one(x).t()).t())

    network = Graph()
    with torch.no_grad():
        network.one.weight[0] = 0
    assert connectivity(network, torch.zeros(1, 3)).effective_density == (3 + 1) / 8
