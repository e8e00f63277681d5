"""Training: what a step does, in which order samples come, and what ends it or is refused."""

import re
from functools import partial
from typing import Any

import pytest
import torch
from conftest import cases
from small_training import (
    Steps,
    Summing,
    blobs,
    context,
    line,
    mlp,
    points,
    trained,
    trainer,
    weights,
)
from torch import Tensor, nn
from torch.optim import SGD, Adam

from harness.data.base import Split
from harness.distributed import Ranks
from harness.system.errors import NotFinite
from harness.task.classification import Classification
from harness.training.batches.batching import epoch_order
from harness.training.context import Hooks
from harness.vocabulary.step_index import StepIndex


def test_one_step_goes_down_the_mean_gradient() -> None:
    model = line()
    trainer().fit(model, context(points([1.0, 2.0], [3.0, -4.0])), Hooks())
    assert weights(model) == [-2.0, 1.0]


def test_a_partial_last_batch_takes_the_mean_of_its_own_samples() -> None:
    model = line()
    split = points([1.0, 0.0], [1.0, 0.0], [1.0, 0.0])
    trainer(batch_size=2).fit(model, context(split), Hooks())
    assert weights(model) == [-2.0, 0.0]


def test_samples_are_seen_in_the_order_of_their_epoch() -> None:
    seen: list[float] = []

    class Probe(Summing):
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            seen.extend(labels.tolist())
            return outputs.sum()

    split = Split(torch.zeros(7, 2), torch.arange(7))
    trainer(batch_size=3, epochs=2).fit(line(), context(split, Probe(), level=4), Hooks())
    expected = [epoch_order(7, seed=0, level=4, epoch=epoch).tolist() for epoch in (0, 1)]
    assert seen == expected[0] + expected[1]


def test_learning_rate_is_the_optimizers_own_times_the_factor() -> None:
    model, steps = line(), Steps(rule=lambda step: [1.0, 0.5, 0.25][step])
    recipe = trainer(steps, optimizer=partial(SGD, lr=4.0), batch_size=1)
    recipe.fit(model, context(points(*[[1.0, 0.0]] * 3)), Hooks())
    # 4 x 1 + 4 x 1/2 + 4 x 1/4: the factors do not multiply up.
    assert weights(model) == [-7.0, 0.0]


def test_every_parameter_group_keeps_its_own_learning_rate() -> None:
    def two_groups(parameters: Any) -> SGD:
        first, *rest = parameters
        return SGD([{"params": [first], "lr": 1.0}, {"params": rest or [nn.Parameter()]}], lr=4.0)

    model = nn.Linear(2, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    recipe = trainer(Steps(rule=lambda step: 0.5), optimizer=two_groups)
    recipe.fit(model, context(points([1.0, 0.0])), Hooks())
    assert weights(model) == [-0.5, 0.0, -2.0]


def test_a_later_first_epoch_goes_on_with_the_schedule_and_the_order_of_that_epoch() -> None:
    steps = Steps()
    recipe = trainer(steps, batch_size=2, epochs=3)
    done: list[int] = []
    hooks = Hooks(epoch_end=lambda epoch, _: done.append(epoch))
    recipe.fit(line(), context(points(*[[0.0, 0.0]] * 5)), hooks, begin=StepIndex(2))
    assert steps.calls == [(6, 3, 3), (7, 3, 3), (8, 3, 3)]
    assert done == [3]


def test_training_may_stop_before_the_recipes_end_without_changing_its_schedule() -> None:
    steps = Steps()
    trainer(steps, epochs=5).fit(line(), context(points([1.0, 0.0])), Hooks(), stop=StepIndex(2))
    assert steps.calls == [(0, 1, 5), (1, 1, 5)]


def test_no_epochs_leave_the_model_alone() -> None:
    model = line()
    trainer(epochs=0).fit(model, context(points([1.0, 0.0])), Hooks())
    trainer(epochs=3).fit(model, context(points([1.0, 0.0])), Hooks(), begin=StepIndex(3))
    assert weights(model) == [0.0, 0.0]


def test_stop_and_restart_would_not_change_a_stateless_optimizers_result() -> None:
    whole, parts = mlp(), mlp()
    recipe = trainer(epochs=4, batch_size=8, optimizer=partial(SGD, lr=0.1))
    there = context(blobs(), Classification())
    recipe.fit(whole, there, Hooks())
    recipe.fit(parts, there, Hooks(), stop=StepIndex(3))
    recipe.fit(parts, there, Hooks(), begin=StepIndex(3))
    assert weights(parts) == weights(whole)


def test_equal_seeds_train_bit_for_bit_and_unequal_ones_do_not() -> None:
    one, two, other = (weights(trained(mlp(), blobs(), seed)) for seed in (0, 0, 1))
    assert one == two != other


def test_dropout_follows_from_the_seed_too() -> None:
    def noisy() -> nn.Module:
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3))

    one = weights(trained(noisy(), blobs()))
    torch.manual_seed(99)
    torch.rand(5)
    model = noisy()
    torch.rand(7)
    assert weights(trained(model, blobs())) == one


def test_training_ends_without_gradients_and_in_training_mode() -> None:
    model = trained(mlp().eval(), blobs())
    assert model.training
    assert all(p.grad is None for p in model.parameters())


@cases("optimizer", partial(SGD, lr=0.1, momentum=0.9), partial(Adam, lr=0.01))
@cases("accumulate", 2, 4, 50)
def test_accumulated_gradients_train_like_whole_batches(optimizer, accumulate) -> None:
    split = blobs(dtype=torch.float64)
    whole, cut = (
        trained(mlp(torch.float64), split, optimizer=optimizer, accumulate=parts)
        for parts in (1, accumulate)
    )
    assert weights(cut) == pytest.approx(weights(whole), rel=0, abs=1e-12)


def test_gradients_are_clipped_to_their_norm() -> None:
    model = line()
    trainer(clip_norm=2.5).fit(model, context(points([3.0, 4.0])), Hooks())
    assert weights(model) == pytest.approx([-1.5, -2.0], rel=1e-5)


def test_a_loss_that_is_not_finite_ends_training_and_names_level_and_epoch() -> None:
    split = points([float("nan"), 0.0])
    with pytest.raises(
        NotFinite, match=r"epoch 1 of level 3: loss nan .*not finite in weight; low"
    ):
        trainer().fit(line(), context(split, level=3), Hooks())


def test_weights_that_explode_end_training_in_that_epoch_before_it_is_reported() -> None:
    done: list[int] = []
    steps = Steps(rule=lambda step: 1.0 if step == 0 else float("inf"))
    with pytest.raises(NotFinite, match=r"epoch 2 of level 0: .* not finite in weight"):
        hooks = Hooks(epoch_end=lambda epoch, _: done.append(epoch))
        trainer(steps, epochs=3).fit(line(), context(points([1.0, 1.0])), hooks)
    assert done == [1]


@cases(
    "key, value, message",
    ("epochs", -1, "epochs must be a whole number in [0, 1000000], got -1"),
    ("epochs", 1.5, "epochs must be a whole number in [0, 1000000], got 1.5"),
    ("batch_size", 0, "batch_size must be a whole number in [1, 1000000000], got 0"),
    ("accumulate", True, "accumulate must be a whole number in [1, 1000000], got True"),
    ("autocast", "int8", "autocast must be bfloat16 or float16 or null, got 'int8'"),
    ("clip_norm", 0.0, "clip_norm must be a number above 0 or null, got 0.0"),
    ("clip_norm", float("nan"), "clip_norm must be a number above 0 or null, got nan"),
    ("optimizer", partial(SGD, lr=-1.0), "optimizer.lr=-1.0: Invalid learning rate"),
    ("optimizer", partial(SGD, lr="abc"), "optimizer.lr must be a number, got 'abc'"),
    ("optimizer", partial(Adam, betas=[0.9]), "betas must be a list of 2 numbers, got [0.9]"),
    ("optimizer", partial(Adam, amsgrad=1), "optimizer.amsgrad must be true or false, got 1"),
    ("optimizer", partial(SGD, nesterov=True), "optimizer.nesterov=True: Nesterov momentum"),
    ("optimizer", partial(SGD, speed=2), "optimizer.speed=2: TypeError: "),
    ("optimizer", int, "optimizer: TypeError: "),
)
def test_a_recipe_out_of_range_is_refused_when_it_is_built(key, value, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        trainer(**{key: value})


@cases("ranks, ways_out", (3, "use 99 or 102"), (64, "use 64 or 128"))
def test_a_batch_that_ranks_cannot_share_equally_is_refused(ranks, ways_out) -> None:
    with pytest.raises(ValueError, match=f"batch_size=100 .* {ranks} ranks .*{ways_out}"):
        trainer(batch_size=100).check_ranks(Ranks(0, ranks))
    trainer(batch_size=100).check_ranks(Ranks(0, 4))


def test_steps_count_partial_batches() -> None:
    assert trainer(batch_size=4).steps_per_epoch(samples=9) == 3


def test_a_training_goes_on_from_the_middle_of_an_epoch() -> None:
    recipe, there = trainer(batch_size=8, epochs=3), context(blobs(), Classification())
    whole, parts = mlp(), mlp()
    recipe.fit(whole, there, Hooks())
    recipe.fit(parts, there, Hooks(), stop=StepIndex(1, 2))
    recipe.fit(parts, there, Hooks(), begin=StepIndex(0, 7))
    assert all(map(torch.equal, whole.state_dict().values(), parts.state_dict().values()))
