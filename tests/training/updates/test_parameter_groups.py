"""Tests options of the optimizer for some of a model's parameters."""

from functools import partial
from typing import Any

import pytest
import torch
from cached_training import network
from conftest import cases
from small_training import blobs, context, mlp, trainer, weights
from torch.optim import SGD, Rprop

from harness.task.classification import Classification
from harness.training.context import Hooks

DECAYED = partial(SGD, lr=0.1, weight_decay=0.5)


def options(key: str, **changes: Any) -> dict[str, Any]:
    """Returns an option by the name of its parameter, of a network with a norm."""
    model = network()
    optimizer = trainer(optimizer=DECAYED, **changes).make_optimizer(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: g[key] for g in optimizer.param_groups for p in g["params"]}


def test_without_options_there_is_one_group_in_the_models_order() -> None:
    model = network()
    (group,) = trainer(optimizer=DECAYED).make_optimizer(model).param_groups
    assert [*map(id, group["params"])] == [*map(id, model.parameters())]


def test_norms_and_biases_are_not_decayed_where_that_is_asked_for() -> None:
    decay = options("weight_decay", no_decay="norms_and_biases")
    assert {name for name, value in decay.items() if value} == {"fc1.weight", "fc2.weight"}
    assert set(decay) == {name for name, _ in network().named_parameters()}


def test_a_pattern_fits_parameters_and_modules_and_the_first_one_counts() -> None:
    rates = options("lr", parameter_groups={"fc2": {"lr": 0.01}, "*.bias": {"lr": 0.02}})
    found = {name: rates[name] for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")}
    assert [*found.values()] == [0.1, 0.02, 0.01, 0.01]


def test_options_and_no_decay_hold_together() -> None:
    both: dict[str, Any] = {"no_decay": "norms_and_biases", "parameter_groups": {"fc2": {"lr": 1}}}
    assert options("lr", **both)["fc2.bias"] == 1
    decay = options("weight_decay", **both)
    assert (decay["fc2.bias"], decay["fc2.weight"], decay["fc1.weight"]) == (0.0, 0.5, 0.5)


def test_the_schedule_multiplies_the_rate_of_every_group() -> None:
    # At rate 0 the second layer stays as it is, whatever the schedule.
    model = mlp()
    before = {name: value.clone() for name, value in model.named_parameters()}
    recipe = trainer(parameter_groups={"fc2": {"lr": 0.0}}, epochs=2, batch_size=8)
    recipe.fit(model, context(blobs(), Classification()), Hooks())
    same = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    assert same == {"fc2.weight", "fc2.bias"}


def test_decay_zero_trains_as_without_decay() -> None:
    there = context(blobs(), Classification())
    grouped, plain = mlp(), mlp()
    trainer(optimizer=DECAYED, parameter_groups={"*": {"weight_decay": 0.0}}).fit(
        grouped, there, Hooks()
    )
    trainer(optimizer=partial(SGD, lr=0.1)).fit(plain, there, Hooks())
    assert weights(grouped) == weights(plain)


@cases(
    "groups, message",
    ({"fc1": {"rate": 0.1}}, r"parameter_groups.fc1.rate: the optimizer has no such option"),
    ({"fc1": {"weight_deca": 0.1}}, "did you mean weight_decay"),
    ({"fc1": {"lr": -1.0}}, r"parameter_groups.fc1.lr=-1.0: Invalid learning rate"),
    ({"fc1": {"lr": "fast"}}, r"parameter_groups.fc1.lr"),
)
def test_options_that_the_optimizer_does_not_take_are_refused(groups, message) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(optimizer=DECAYED, parameter_groups=groups)


def test_a_pattern_that_fits_nothing_is_refused_with_the_names_there_are() -> None:
    recipe = trainer(parameter_groups={"fc3": {"lr": 0.1}})
    with pytest.raises(ValueError, match=r"'fc3', which fits no parameter; there are: fc1.weight"):
        recipe.make_optimizer(mlp())


def test_an_optimizer_without_weight_decay_has_none_to_leave_out() -> None:
    with pytest.raises(ValueError, match="no_decay=norms_and_biases needs an optimizer with"):
        trainer(optimizer=partial(Rprop, lr=0.1), no_decay="norms_and_biases")
