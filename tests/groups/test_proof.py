"""A proof names what differs, sees through zeros and dropout, and changes nothing."""

from dataclasses import replace

import pytest
import torch
from groups_by_hand import NORM, flags, group, layer, proven, removed_from
from torch import Tensor, nn
from torch.nn import functional

from harness.groups.group import Group
from harness.groups.proof import prove
from harness.groups.removal import remove
from harness.vocabulary.tensors import all_tensors

INPUTS = torch.zeros(2, 2, 4, 4)  # zeros and equal samples prove as much as others


class Residual(nn.Module):
    """x + branch(x), whose last norm begins at 0: the branch is invisible."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem, self.inside = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.norm, self.out = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)
        self.last_norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, 2)
        nn.init.zeros_(self.last_norm.weight)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = functional.dropout2d(self.norm(self.inside(x)).sigmoid(), self.dropout, self.training)
        keep = torch.full((len(x), 1, 1, 1), 1 - self.dropout).to(x)
        y = self.last_norm(self.out(y)) * keep.bernoulli() / keep
        return self.head((x + y).mean((2, 3)))


GROUPS = [
    group("inside", 4, *layer("inside"), *layer("norm", *NORM), ("out.weight", 1, "input")),
]


def broken(model: nn.Module, change: dict) -> None:
    """Checks a removal with wrong kept indices of some tensors."""
    removed, masks = removed_from(model, GROUPS, {"inside": "1010"})
    cut = {**removed.kept_indices, **change}
    plan = remove(model, cut, GROUPS, removed.kept_units)
    prove(model, masks, replace(plan, kept_indices=removed.kept_indices), GROUPS, INPUTS)


WRONG = torch.tensor([0, 3])


def test_a_wrong_plan_inside_a_zero_initialised_branch_is_named() -> None:
    model = Residual()
    with pytest.raises(ValueError, match="out.weight: the smaller model has other values"):
        broken(model, {"out.weight": (None, WRONG, None, None)})


def prove_plan(wrong: Group, right: Group, kept: str) -> None:
    """Checks a removal by the indices of one group with the masks of another one."""
    model = Residual()
    cut = removed_from(Residual(), [wrong], {wrong.name: kept})[0].kept_indices
    masks = removed_from(model, [right], {wrong.name: kept})[1]
    prove(model, masks, remove(model, cut, [wrong], {wrong.name: flags(kept)}), [wrong], INPUTS)


def with_wrong(right: Group, tensor: str) -> Group:
    """Returns the group with units of one tensor taken for their neighbours."""
    order = torch.arange(right.units).roll(1).view(-1, 1)
    members = (replace(m, indices=order) if m.name == tensor else m for m in right.members)
    return replace(right, members=tuple(members))


@pytest.mark.parametrize("tensor, module", [("out.weight", "out"), ("norm.bias", "norm")])
def test_a_wrong_member_inside_a_zero_initialised_branch_is_named(tensor, module) -> None:
    with pytest.raises(ValueError, match=rf"^module={module}: its output .* differs .* random"):
        prove_plan(with_wrong(GROUPS[0], tensor), GROUPS[0], "1010")


def test_a_wrong_member_that_is_0_shows_with_random_weights_alone(monkeypatch) -> None:
    stream = [*layer("stem"), *layer("out"), *layer("last_norm", *NORM)]
    right = group("stem", 3, *stream, ("inside.weight", 1, "input"), ("head.weight", 1, "input"))
    wrong = with_wrong(right, "last_norm.weight")
    with pytest.raises(ValueError, match="^module=last_norm: its output .* random weights, eval"):
        prove_plan(wrong, right, "101")
    monkeypatch.setattr("harness.groups.proving.pair.random_values", all_tensors)
    prove_plan(wrong, right, "101")


def test_wrong_running_statistics_are_named() -> None:
    with pytest.raises(ValueError, match="module=norm: its output .* random weights, eval mode"):
        prove_plan(with_wrong(GROUPS[0], "norm.running_var"), GROUPS[0], "1010")


class Watching(nn.Sequential):
    """Keeps the mean of what its layer returns in train mode, and does not use it."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 4), nn.Linear(4, 2))
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self[0](x)
        if self.training:
            self.seen += y.detach().mean(0)
        return self[1](y)


def test_a_wrong_buffer_is_named_after_the_pass_in_train_mode() -> None:
    right = group("0", 4, *layer("0"), ("seen", 0, "output"), ("1.weight", 1, "input"))
    proven(Watching(), [right], {"0": "0110"}, torch.randn(2, 3))
    with pytest.raises(ValueError, match="module=Watching: its buffer seen .* train mode"):
        proven(Watching(), [with_wrong(right, "seen")], {"0": "0110"}, torch.randn(2, 3))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_and_drop_path_do_not_disturb_the_proof(dropout) -> None:
    state = torch.get_rng_state()
    _, proof = proven(Residual(dropout), GROUPS, {"inside": "0011"}, INPUTS)
    assert proof.randomised_train < 1e-12 and proof.train < 1e-12
    assert not torch.equal(state, torch.get_rng_state())  # Residual() drew its weights
    state = torch.get_rng_state()
    model = Residual(dropout)
    torch.set_rng_state(state)
    proven(model, GROUPS, {"inside": "0011"}, INPUTS)
    assert torch.equal(state, torch.get_rng_state())


def test_masks_that_spare_the_columns_differ_where_0_is_not_mapped_to_0() -> None:
    model = Residual()
    removed, masks = removed_from(model, GROUPS, {"inside": "1010"})
    masks = {name: mask for name, mask in masks.items() if name != "out.weight"}
    with pytest.raises(ValueError, match="^module=out: its output .* differs"):
        prove(model, masks, removed, GROUPS, INPUTS)


@pytest.mark.parametrize("training", [True, False])
def test_one_sample_is_enough_and_the_model_stays(training) -> None:
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Linear(4, 2)
    )
    groups = [group("0", 4, *layer("0"), *layer("1", *NORM), ("3.weight", 1, "input"))]
    model.train(training)
    removed, masks = removed_from(model, groups, {"0": "1100"})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()

    proof = prove(model, masks, removed, groups, torch.zeros(1, 3))

    assert proof.train < 1e-9 and model.training is training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_ids_that_are_floats_stay_ids() -> None:
    model = nn.Sequential(Ids(), nn.Linear(3, 4), nn.Linear(4, 2))
    parts = *layer("1"), ("2.weight", 1, "input")
    ids = torch.tensor([[0.0, 6.0], [3.0, 1.0]])
    _, proof = proven(model, [group("1", 4, *parts)], {"1": "1010"}, ids)
    assert proof.worst < 1e-9


def test_an_example_input_that_the_model_refuses_is_told() -> None:
    removed, masks = removed_from(Residual(), GROUPS, {"inside": "1010"})
    with pytest.raises(
        ValueError, match="example_input: Residual fails with it in eval mode .*channels"
    ):
        prove(Residual(), masks, removed, GROUPS, torch.zeros(2, 5, 4, 4))


class Ids(nn.Module):
    """Looks 7 tokens up, whatever the dtype of their ids, as models of data=topics do."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x.long())


class Narrow(nn.Module):
    """Computes in float32 inside, as many language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, scale: Tensor) -> dict:
        y = self.first(x * scale)
        y = y.float().softmax(1)[:, :1].to(y) * y
        return {"logits": self.last(y), "mask": torch.full((2, 2), float("-inf"))}


def test_a_model_that_computes_in_float32_inside_has_the_tolerance_of_float32() -> None:
    groups = [group("first", 4, *layer("first"), ("last.weight", 1, "input"))]
    inputs = {"x": torch.randn(2, 3), "scale": torch.ones(1)}
    _, proof = proven(Narrow(), groups, {"first": "1111"}, inputs)
    assert proof.tolerance == 1e-4 and proof.dtype == "float64"
