"""Checks what is left of a model without some units: tensors, sizes, ties, names."""

import copy
import pickle

import pytest
import torch
from groups_by_hand import NORM, flags, group, layer, proven, removed_from
from torch import nn

from harness.groups.removal import remove, slice_model

PAIRS = torch.arange(6).view(3, 2)  # unit i owns two neighbours


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Sigmoid(),
        nn.Conv2d(4, 3, 1),
        nn.Flatten(),
        nn.Linear(3 * 4, 2),
    )


CONVOLUTIONS = [
    group("0", 4, *layer("0"), *layer("1", *NORM), ("3.weight", 1, "input")),
    group("3", 3, *layer("3"), ("5.weight", 1, "input", torch.arange(12).view(3, 4))),
]


def test_a_removed_filter_takes_its_bias_norm_statistics_and_columns() -> None:
    model = convolutions()
    removed, proof = proven(model, CONVOLUTIONS, {"0": "1010", "3": "011"}, torch.zeros(2, 2, 2, 2))

    shapes = {name: tuple(t.shape) for name, t in removed.model.state_dict().items()}
    assert shapes["0.weight"] == (2, 2, 3, 3) and shapes["1.running_var"] == (2,)
    assert shapes["3.weight"] == (2, 2, 1, 1) and shapes["5.weight"] == (2, 8)
    assert list(shapes) == list(model.state_dict())
    assert proof.tolerance == 1e-9 and proof.train < 1e-12 and proof.randomised_train < 1e-12
    assert str(removed.model[0]).startswith("Conv2d(2, 2,") and removed.model[5].in_features == 8


def grouped() -> tuple:
    """Returns a network with whole convolution groups, of two channels each."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=3), nn.GroupNorm(3, 6), nn.Conv2d(6, 2, 1)
    )
    names = [f"{n}.{leaf}" for n in range(3) for leaf in ("weight", "bias")]
    members = [(name, 0, "output", PAIRS) for name in names]
    whole = group("0", 3, *members, ("3.weight", 1, "input", PAIRS))
    sizes = {
        "1": {"groups": 2, "in_channels": 4, "out_channels": 4},
        "2": {"num_groups": 2, "num_channels": 4},
        "3": {"in_channels": 4},
    }
    return model, whole, "101", torch.randn(2, 3, 4, 4), sizes


def transposed() -> tuple:
    model = nn.Sequential(
        nn.ConvTranspose1d(2, 4, 2),
        nn.ConvTranspose1d(4, 4, 2, groups=4),
        nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
        nn.ConvTranspose1d(4, 2, 1),
    )
    members = [("0.weight", 1, "output"), ("0.bias", 0, "output"), *layer("1")]
    norm = layer("2", *NORM)
    one = group("0", 4, *members, *norm, ("3.weight", 0, "input"))
    sizes = {
        "0": {"in_channels": 2, "out_channels": 2},
        "1": {"groups": 2, "in_channels": 2, "out_channels": 2},
        "2": {"num_features": 2},
        "3": {"in_channels": 2, "out_channels": 2},
    }
    return model, one, "0110", torch.randn(2, 2, 5), sizes


def table() -> tuple:
    model = nn.Sequential(nn.Embedding(5, 4), nn.ReLU(), nn.Linear(4, 2))
    one = group("0", 4, ("0.weight", 1, "output"), ("2.weight", 1, "input"))
    sizes = {"0": {"embedding_dim": 2, "num_embeddings": 5}, "2": {"in_features": 2}}
    return model, one, "1100", torch.randint(5, (2, 7)), sizes


def slopes() -> tuple:
    model = nn.Sequential(nn.Linear(2, 4), nn.PReLU(4), nn.Linear(4, 2))
    one = group("0", 4, *layer("0"), *layer("1", "weight"), ("2.weight", 1, "input"))
    return model, one, "1101", torch.randn(3, 2), {"1": {"num_parameters": 3}}


def recurrent() -> tuple:
    class Last(nn.Module):
        def forward(self, outputs: tuple) -> torch.Tensor:
            return outputs[0][:, -1]

    model = nn.Sequential(nn.Linear(2, 4), nn.GRU(4, 3, batch_first=True), Last())
    one = group("0", 4, *layer("0"), ("1.weight_ih_l0", 1, "input"))
    return model, one, "1010", torch.randn(3, 5, 2), {"1": {"input_size": 2, "hidden_size": 3}}


@pytest.mark.parametrize("case", [grouped, transposed, table, slopes, recurrent])
def test_layers_state_the_sizes_of_their_tensors(case) -> None:
    model, one, kept, inputs, sizes = case()
    removed, _ = proven(model, [one], {one.name: kept}, inputs)
    for name, expected in sizes.items():
        module = removed.model.get_submodule(name)
        assert {key: getattr(module, key) for key in expected} == expected


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.both = nn.Linear(3, 4), nn.Bilinear(4, 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.both(self.left(x), x)


def test_a_bilinear_layer_loses_its_first_inputs() -> None:
    groups = [group("left", 4, *layer("left"), ("both.weight", 1, "input"))]
    removed, _ = proven(Bilinear(), groups, {"left": "0101"}, torch.randn(2, 3))
    assert removed.model.both.in1_features == 2 and removed.model.both.in2_features == 3


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.table, self.head = nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(4, 5)
        self.head.weight = self.table.weight
        self.table.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x).relu()
        return self.table(y) + self.head(y)


def test_tied_weights_stay_tied_under_all_names() -> None:
    model = Tied()
    groups = [group("first", 4, *layer("first"), ("table.weight", 1, "input"))]
    removed, _ = proven(model, groups, {"first": "1001"}, torch.randn(2, 3))
    small = removed.model
    assert small.head.weight is small.table.weight and small.head.weight.shape == (5, 2)
    assert small.head.in_features == 2 and not small.head.weight.requires_grad
    assert list(dict(small.named_parameters())) == list(dict(model.named_parameters()))


def test_the_result_is_an_ordinary_module_and_the_model_stays() -> None:
    model = convolutions().to(torch.bfloat16)
    model[0].weight.requires_grad_(False)
    inputs = torch.randn(2, 2, 2, 2, dtype=torch.bfloat16)
    before = [copy.deepcopy(model.state_dict()), torch.get_rng_state()]
    removed, proof = proven(model, CONVOLUTIONS, {}, inputs)
    assert torch.equal(torch.get_rng_state(), before[1]) and model.training
    assert all(torch.equal(t, before[0][n]) for n, t in model.state_dict().items())

    removed, proof = proven(model, CONVOLUTIONS, {"0": "1010"}, inputs)
    small = removed.model
    assert type(small) is type(model) and proof.dtype == "float64"
    assert small[0].weight.dtype == torch.bfloat16 and not small[0].weight.requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in small.modules())
    again = slice_model(model, removed.kept_indices)
    again.load_state_dict(pickle.loads(pickle.dumps(small)).state_dict())
    assert torch.equal(again.eval()(inputs), small.eval()(inputs))


def test_the_result_can_be_exported() -> None:
    removed, _ = removed_from(convolutions(), CONVOLUTIONS, {"0": "0110"})
    small = removed.model.eval()
    inputs = torch.randn(1, 2, 2, 2)
    exported = torch.export.export(small, (inputs,)).module()
    assert torch.allclose(exported(inputs), small(inputs), atol=1e-6)


def test_a_group_without_units_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="group=3: the masks leave none of its 3 units"):
        removed_from(convolutions(), CONVOLUTIONS, {"3": "000"})


def test_unequal_parts_of_convolution_groups_are_refused_by_layer() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1, groups=2), nn.Conv2d(4, 1, 1))
    cut = {"0.weight": (torch.tensor([0, 1, 2]), None, None, None)}
    with pytest.raises(ValueError, match="layer=0: groups=2 are left with unequal widths"):
        remove(model, cut, [group("0", 4, *layer("0"))], {"0": flags("1110")})
