"""Groups of small networks, whose members are written here by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.groups.find import groups_of
from harness.groups.group import Group


def free(model: nn.Module, *shape: int) -> dict[str, Group]:
    return {g.name: g for g in groups_of(model, torch.randn(shape)) if not g.pinned}


def pinned(model: nn.Module, *shape: int) -> dict[str, str]:
    return {g.name: g.pinned for g in groups_of(model, torch.randn(shape)) if g.pinned}


def unit(group: Group, number: int) -> dict[str, list[int]]:
    return {f"{m.name}[{m.dim}]": m.indices[number].tolist() for m in group.members}


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.max_pool2d(F.relu(self.norm(self.conv(x))), 2).flatten(1))


def test_a_filter_owns_its_norm_and_all_columns_that_read_it() -> None:
    found = free(Chain(), 2, 1, 6, 6)
    assert list(found) == ["conv"] and found["conv"].units == 4
    assert unit(found["conv"], 2) == {
        "conv.weight[0]": [2],
        "conv.bias[0]": [2],
        "norm.weight[0]": [2],
        "norm.bias[0]": [2],
        "fc.weight[1]": [8, 9, 10, 11],
        "norm.running_mean[0]": [2],
        "norm.running_var[0]": [2],
    }
    roles = {m.name: m.role for m in found["conv"].members}
    assert roles.pop("fc.weight") == "input" and set(roles.values()) == {"output"}
    assert pinned(Chain(), 2, 1, 6, 6) == {"fc": "it is an output of the model"}


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.back = nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + self.back(torch.sigmoid(self.inner(x))))


def test_layers_whose_outputs_are_added_lose_the_same_units() -> None:
    found = free(Residual(), 2, 3)
    assert {name: group.units for name, group in found.items()} == {"stem": 4, "inner": 5}
    assert unit(found["stem"], 1) == {
        "stem.weight[0]": [1],
        "stem.bias[0]": [1],
        "inner.weight[1]": [1],
        "back.weight[0]": [1],
        "back.bias[0]": [1],
        "head.weight[1]": [1],
    }


class Concatenated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(3, 2), nn.Linear(3, 4), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.one(x), self.two(x)], 1))


def test_a_concatenation_shifts_the_columns_of_its_later_parts() -> None:
    found = free(Concatenated(), 2, 3)
    assert unit(found["one"], 1)["head.weight[1]"] == [1]
    assert unit(found["two"], 1)["head.weight[1]"] == [3]


def test_depthwise_and_grouped_convolutions_lose_whole_groups_on_both_sides() -> None:
    deep = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 2, 1))
    assert unit(free(deep, 2, 1, 5, 5)["0"], 1) == {
        "0.weight[0]": [1],
        "0.bias[0]": [1],
        "1.weight[0]": [2, 3],
        "1.bias[0]": [2, 3],
        "2.weight[1]": [2, 3],
    }
    grouped = nn.Sequential(nn.Conv2d(1, 6, 1), nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(4, 2, 1))
    found = free(grouped, 2, 1, 5, 5)["0"]
    assert found.units == 2
    assert unit(found, 1)["0.weight[0]"] == [3, 4, 5]
    assert unit(found, 1)["1.weight[0]"] == unit(found, 1)["2.weight[1]"] == [2, 3]


def test_a_convolution_group_that_reads_the_input_stays() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 2, 1))
    assert "reads the model's input in 0 (Conv2d)" in pinned(model, 2, 4, 5, 5)["0"]


class Shuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.head = nn.Conv2d(1, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.wide(x).view(len(x), 2, 3, *x.shape[2:])
        return self.head(parts.transpose(1, 2).flatten(1, 2))


def test_a_shuffle_loses_the_same_place_of_every_part() -> None:
    found = free(Shuffled(), 2, 1, 4, 4)["wide"]
    assert found.units == 3
    assert unit(found, 1) == {
        "wide.weight[0]": [1, 4],
        "wide.bias[0]": [1, 4],
        "head.weight[1]": [2, 3],
    }


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.back = nn.Linear(4, 6), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.wide(x).chunk(2, -1)
        return self.back(value * gate.sigmoid())


def test_halves_of_a_gated_layer_lose_the_same_places() -> None:
    found = free(Gated(), 2, 4)["wide"]
    assert found.units == 3 and unit(found, 0)["wide.weight[0]"] == [0, 3]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc = nn.Embedding(7, 4), nn.Linear(4, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(self.fc(self.table(tokens)), self.table.weight)


def test_a_tied_table_is_cut_by_width_and_never_by_entry() -> None:
    tokens = torch.randint(7, (2, 3))
    found = {g.name: g for g in groups_of(Tied(), tokens)}
    assert "read by index" in found["table"].pinned
    assert unit(found["table#2"], 2) == {
        "table.weight[1]": [2],
        "fc.weight[0]": [2],
        "fc.weight[1]": [2],
        "fc.bias[0]": [2],
    }


@pytest.mark.parametrize(
    ("norm", "units"), [(nn.GroupNorm(2, 6), 2), (nn.InstanceNorm2d(6, affine=True), 6)]
)
def test_norms_over_groups_of_channels_are_cut_by_group(norm, units) -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 1), norm, nn.Conv2d(6, 2, 1))
    found = free(model, 2, 1, 4, 4)["0"]
    assert found.units == units and not found.mixing


@pytest.mark.parametrize("norm", [nn.LayerNorm(6), nn.RMSNorm(6)])
def test_norms_over_the_width_are_named(norm) -> None:
    found = free(nn.Sequential(nn.Linear(3, 6), norm, nn.Linear(6, 2)), 2, 3)["0"]
    assert found.mixing == ("1",) and "1.weight[0]" in unit(found, 0)


class Odd(nn.Module):
    def __init__(self, act) -> None:
        super().__init__()
        self.fc, self.head, self.act = nn.Linear(3, 4), nn.Linear(4, 2), act

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.fc(x)))


def into_part(x: Tensor) -> Tensor:
    made = torch.zeros(x.shape)
    made[:, :2] = x[:, :2]
    return made


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda x: torch.linalg.matrix_exp(x.view(-1, 2, 2)).flatten(1), "linalg_matrix_exp"),
        (lambda x: x.softmax(1), "_softmax is taken over it"),
        (lambda x: x - x.mean(1, keepdim=True), "mean is taken over it"),
        (lambda x: x * torch.arange(4.0), "it meets values of a fixed size"),
        (lambda x: F.pad(x, (1, -1)), "it lies beside what has a fixed size"),
        (lambda x: x[:, [1, 0, 2, 3]], "it is a position"),
        (into_part, "it meets values of a fixed size"),
    ],
)
def test_what_cannot_be_removed_says_why(act, reason) -> None:
    assert reason in pinned(Odd(act), 2, 3)["fc"]


def test_the_length_of_a_vector_loses_what_is_zero() -> None:
    assert "fc" in free(Odd(lambda x: F.normalize(x, dim=1)), 2, 3)


def test_finding_groups_leaves_the_model_alone() -> None:
    model, sample = Chain(), torch.randn(2, 1, 6, 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    model.train()
    groups_of(model, sample)
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.conv._forward_hooks and not model.conv._forward_pre_hooks


def test_tensors_of_one_group_are_cut_in_their_order() -> None:
    groups = groups_of(Chain(), torch.randn(2, 1, 6, 6))
    assert [group.name for group in groups] == ["conv", "fc"]
