from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from harness.data.base import Split
from harness.distributed import Ranks
from harness.failures import NotFinite
from harness.learning_rate.base import LearningRate
from harness.learning_rate.constant import Constant
from harness.masks import MaskStore
from harness.models.mlp import Mlp
from harness.moment import Moment
from harness.task.classification import Classification
from harness.training.evaluation import evaluate
from harness.training.order import epoch_order
from harness.training.setting import Hooks, Setting
from harness.training.trainer import Trainer

PLAIN = partial(SGD, lr=1.0)


@dataclass(frozen=True)
class Summing(Classification):
    """The loss is the sum of outputs: a linear network's gradient is its mean input."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.float().sum()


@dataclass
class Steps:
    """A learning rate that remembers what it was asked, and answers by `rule`."""

    rule: Callable[[int], float] = lambda step: 1.0
    asked: list[tuple[int, int, int]] = field(default_factory=list)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        self.asked.append((step, steps_per_epoch, epochs))
        return self.rule(step)


def line() -> nn.Linear:
    """y = 0 x1 + 0 x2."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


def points(*rows: list[float]) -> Split:
    return Split(torch.tensor(rows), torch.zeros(len(rows), dtype=torch.int64))


def blobs(samples: int = 33, dtype: torch.dtype = torch.float32) -> Split:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % 3
    inputs = torch.randn(samples, 4, generator=random) + 2 * torch.eye(4)[labels]
    return Split(inputs.to(dtype), labels)


def mlp(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(1)
    return Mlp(hidden=[8]).build((4,), 3).to(dtype)


def trainer(learning_rate: LearningRate | None = None, **changes: Any) -> Trainer:
    values: dict[str, Any] = {"optimizer": PLAIN, "epochs": 1, "batch_size": 100} | changes
    return Trainer(learning_rate=learning_rate or Constant(), **values)


def setting(split: Split, task: Classification | None = None, level: int = 0) -> Setting:
    return Setting(split, task or Summing(), Ranks(), seed=0, level=level)


def trained(model: nn.Module, split: Split, seed: int = 0, **changes: Any) -> nn.Module:
    recipe = trainer(**({"batch_size": 8, "epochs": 2} | changes))
    recipe.fit(model, Setting(split, Classification(), Ranks(), seed, level=0), Hooks())
    return model


def weights(model: nn.Module) -> list[float]:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


def test_one_step_goes_down_the_mean_gradient() -> None:
    model = line()
    trainer().fit(model, setting(points([1.0, 2.0], [3.0, -4.0])), Hooks())
    assert weights(model) == [-2.0, 1.0]


def test_a_partial_last_batch_takes_the_mean_of_its_own_samples() -> None:
    model = line()
    split = points([1.0, 0.0], [1.0, 0.0], [1.0, 0.0])
    trainer(batch_size=2).fit(model, setting(split), Hooks())
    assert weights(model) == [-2.0, 0.0]


def test_samples_are_seen_in_the_order_of_their_epoch() -> None:
    seen: list[float] = []

    class Probe(Summing):
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            seen.extend(labels.tolist())
            return outputs.sum()

    split = Split(torch.zeros(7, 2), torch.arange(7))
    trainer(batch_size=3, epochs=2).fit(line(), setting(split, Probe(), level=4), Hooks())
    expected = [epoch_order(7, seed=0, level=4, epoch=epoch).tolist() for epoch in (0, 1)]
    assert seen == expected[0] + expected[1]


def test_learning_rate_is_the_optimizers_own_times_the_factor() -> None:
    model, steps = line(), Steps(rule=lambda step: [1.0, 0.5, 0.25][step])
    recipe = trainer(steps, optimizer=partial(SGD, lr=4.0), batch_size=1)
    recipe.fit(model, setting(points(*[[1.0, 0.0]] * 3)), Hooks())
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
    recipe.fit(model, setting(points([1.0, 0.0])), Hooks())
    assert weights(model) == [-0.5, 0.0, -2.0]


def test_a_later_first_epoch_goes_on_with_the_schedule_and_the_order_of_that_epoch() -> None:
    steps = Steps()
    recipe = trainer(steps, batch_size=2, epochs=3)
    done: list[int] = []
    hooks = Hooks(epoch_end=lambda epoch, _: done.append(epoch))
    recipe.fit(line(), setting(points(*[[0.0, 0.0]] * 5)), hooks, begin=Moment(2))
    assert steps.asked == [(6, 3, 3), (7, 3, 3), (8, 3, 3)]
    assert done == [3]


def test_training_may_stop_before_the_recipes_end_without_changing_its_schedule() -> None:
    steps = Steps()
    trainer(steps, epochs=5).fit(line(), setting(points([1.0, 0.0])), Hooks(), stop=Moment(2))
    assert steps.asked == [(0, 1, 5), (1, 1, 5)]


def test_no_epochs_leave_the_model_alone() -> None:
    model = line()
    trainer(epochs=0).fit(model, setting(points([1.0, 0.0])), Hooks())
    trainer(epochs=3).fit(model, setting(points([1.0, 0.0])), Hooks(), begin=Moment(3))
    assert weights(model) == [0.0, 0.0]


def test_stop_and_restart_would_not_change_a_stateless_optimizers_result() -> None:
    whole, parts = mlp(), mlp()
    recipe = trainer(epochs=4, batch_size=8, optimizer=partial(SGD, lr=0.1))
    there = setting(blobs(), Classification())
    recipe.fit(whole, there, Hooks())
    recipe.fit(parts, there, Hooks(), stop=Moment(3))
    recipe.fit(parts, there, Hooks(), begin=Moment(3))
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


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.1, momentum=0.9), partial(Adam, lr=0.01)])
@pytest.mark.parametrize("accumulate", [2, 4, 50])
def test_accumulated_gradients_train_like_whole_batches(optimizer: Any, accumulate: int) -> None:
    split = blobs(dtype=torch.float64)
    whole, cut = (
        trained(mlp(torch.float64), split, optimizer=optimizer, accumulate=parts)
        for parts in (1, accumulate)
    )
    assert weights(cut) == pytest.approx(weights(whole), rel=0, abs=1e-12)


def test_gradients_are_clipped_to_their_norm() -> None:
    model = line()
    trainer(clip_norm=2.5).fit(model, setting(points([3.0, 4.0])), Hooks())
    assert weights(model) == pytest.approx([-1.5, -2.0], rel=1e-5)


def test_clipping_sees_only_living_gradients() -> None:
    # Of the gradient (3, 4) the 4 is pruned: 3 is within 3.5, 5 would not be.
    model = line()
    store = MaskStore({"weight": model.weight})
    store.shrink_to({"weight": torch.tensor([[True, False]])})
    hooks = Hooks(after_backward=store.gradient_masker(model))
    trainer(clip_norm=3.5).fit(model, setting(points([3.0, 4.0])), hooks)
    assert weights(model) == [-3.0, 0.0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_handed_on_once_per_step_averaged_and_whole(accumulate: int) -> None:
    model = line()
    seen: list[list[float]] = []

    def look() -> None:
        assert model.weight.grad is not None
        seen.append(model.weight.grad.flatten().tolist())

    recipe = trainer(accumulate=accumulate, clip_norm=0.1)
    recipe.fit(model, setting(points([1.0, 2.0], [3.0, 4.0])), Hooks(after_backward=look))
    assert seen == [[2.0, 3.0]]


@pytest.mark.parametrize("optimizer", [partial(AdamW, lr=0.1, weight_decay=0.1, fused=True), PLAIN])
def test_pruned_weights_stay_exactly_zero_through_a_whole_training(optimizer: Any) -> None:
    model = mlp()
    store = MaskStore({"fc1.weight": model.get_parameter("fc1.weight")})
    mask = torch.arange(32).view(8, 4) % 3 == 0
    store.shrink_to({"fc1.weight": mask})
    store.apply_to(model)
    recipe = trainer(optimizer=optimizer, epochs=3, batch_size=8)
    hooks = Hooks(after_backward=store.gradient_masker(model))
    recipe.fit(model, setting(blobs(), Classification()), hooks)
    assert not model.get_parameter("fc1.weight")[~mask].any()
    assert model.get_parameter("fc1.weight")[mask].all()


def test_epochs_are_reported_when_they_are_done() -> None:
    model, seen = line(), []
    hooks = Hooks(epoch_end=lambda done, _: seen.append((done, weights(model)[0])))
    trainer(epochs=2).fit(model, setting(points([1.0, 0.0])), hooks)
    assert seen == [(1, -1.0), (2, -2.0)]


def test_a_loss_that_is_not_finite_ends_training_and_names_level_and_epoch() -> None:
    split = points([float("nan"), 0.0])
    with pytest.raises(
        NotFinite, match=r"epoch 1 of level 3: loss nan .*not finite in weight; low"
    ):
        trainer().fit(line(), setting(split, level=3), Hooks())


def test_weights_that_explode_end_training_in_that_epoch_before_it_is_reported() -> None:
    done: list[int] = []
    steps = Steps(rule=lambda step: 1.0 if step == 0 else float("inf"))
    with pytest.raises(NotFinite, match=r"epoch 2 of level 0: .* not finite in weight"):
        hooks = Hooks(epoch_end=lambda epoch, _: done.append(epoch))
        trainer(steps, epochs=3).fit(line(), setting(points([1.0, 1.0])), hooks)
    assert done == [1]


@pytest.mark.parametrize("autocast", ["bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.1), partial(Adam, lr=0.01, fused=True)])
def test_lower_precision_computes_in_it_and_keeps_float32_weights(
    autocast: str, optimizer: Any
) -> None:
    seen = set()

    class Probe(Classification):
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            seen.add(outputs.dtype)
            return super().loss(outputs, labels)

    split, task, model = blobs(), Probe(), mlp()
    before = evaluate(model, split, Classification(), Ranks()).loss
    recipe = trainer(optimizer=optimizer, autocast=autocast, epochs=5, batch_size=8)
    recipe.fit(model, setting(split, task), Hooks())

    assert seen == {getattr(torch, autocast)}
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert evaluate(model, split, Classification(), Ranks()).loss < before - 0.1


def test_float16_gradients_are_handed_on_without_their_loss_scale() -> None:
    model = line()
    seen: list[list[float]] = []

    def look() -> None:
        assert model.weight.grad is not None
        seen.append(model.weight.grad.flatten().tolist())

    recipe = trainer(autocast="float16")
    recipe.fit(model, setting(points([0.25, 0.5], [0.75, 0.5])), Hooks(after_backward=look))
    assert seen == [[0.5, 0.5]]


def test_a_float16_step_that_overflows_is_left_out() -> None:
    # 65536, the first loss scale, is infinite in float16; the next one, 32768, is not.
    model = line()
    recipe = trainer(autocast="float16", epochs=2)
    done: list[list[float]] = []
    hooks = Hooks(epoch_end=lambda *_: done.append(weights(model)))
    recipe.fit(model, setting(points([1.0, 0.5])), hooks)
    assert done == [[0.0, 0.0], [-1.0, -0.5]]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epochs", -1, "epochs must be a whole number >= 0, got -1"),
        ("epochs", 1.5, "epochs must be a whole number >= 0, got 1.5"),
        ("batch_size", 0, "batch_size must be a whole number >= 1, got 0"),
        ("accumulate", True, "accumulate must be a whole number >= 1, got True"),
        ("autocast", "int8", "autocast must be null, bfloat16 or float16, got 'int8'"),
        ("clip_norm", 0.0, "clip_norm must be > 0 or null, got 0.0"),
        ("clip_norm", float("nan"), "clip_norm must be > 0 or null, got nan"),
        ("optimizer", partial(SGD, lr=-1.0), "learning rate"),
    ],
)
def test_a_recipe_out_of_range_is_refused_when_it_is_built(
    key: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(**{key: value})


@pytest.mark.parametrize(("ranks", "ways_out"), [(3, "use 99 or 102"), (64, "use 64 or 128")])
def test_a_batch_that_ranks_cannot_share_equally_is_refused(ranks: int, ways_out: str) -> None:
    with pytest.raises(ValueError, match=f"batch_size=100 .* {ranks} ranks .*{ways_out}"):
        trainer(batch_size=100).check_ranks(Ranks(0, ranks))
    trainer(batch_size=100).check_ranks(Ranks(0, 4))


def test_steps_count_partial_batches() -> None:
    assert trainer(batch_size=4).steps_per_epoch(samples=9) == 3


def test_a_training_goes_on_from_the_middle_of_an_epoch() -> None:
    recipe, there = trainer(batch_size=8, epochs=3), setting(blobs(), Classification())
    whole, parts = mlp(), mlp()
    recipe.fit(whole, there, Hooks())
    recipe.fit(parts, there, Hooks(), stop=Moment(1, 2))
    recipe.fit(parts, there, Hooks(), begin=Moment(0, 7))
    assert all(map(torch.equal, whole.state_dict().values(), parts.state_dict().values()))


def test_steps_are_numbered_from_the_trainings_own_beginning() -> None:
    asked: list[int] = []
    hooks = Hooks(before_step=lambda number, optimizer: asked.append(number))
    recipe = trainer(batch_size=4, epochs=3, accumulate=2)
    recipe.fit(mlp(), setting(blobs(9), Classification()), hooks, begin=Moment(1, 1))
    assert asked == [0, 1, 2, 3, 4]


def test_a_step_that_something_else_takes_moves_no_weight() -> None:
    model, seen = line(), []

    def takes(optimizer: Optimizer) -> bool:
        seen.append(model.weight.grad is not None)
        return len(seen) == 1

    trainer(epochs=2).fit(model, setting(points([1.0, 2.0])), Hooks(takes_step=takes))
    assert seen == [True, True]
    assert model.weight.tolist() == [[-1.0, -2.0]]


def test_a_loss_term_sees_inputs_outputs_and_the_tasks_loss() -> None:
    model, seen = line(), []

    def twice(inputs: Tensor, outputs: Tensor, loss: Tensor) -> Tensor:
        seen.append((inputs.tolist(), outputs.tolist(), float(loss.detach())))
        return 2 * loss

    trainer().fit(model, setting(points([1.0, 2.0])), Hooks(loss_term=twice))
    assert seen == [([[1.0, 2.0]], [[0.0]], 0.0)]
    assert model.weight.tolist() == [[-2.0, -4.0]]


def test_the_norm_is_that_of_live_gradients_before_clipping() -> None:
    model = line()
    store = MaskStore(dict(model.named_parameters()))
    store.shrink_to({"weight": torch.tensor([[True, False]])})
    hooks = Hooks(after_backward=store.gradient_masker(model))
    fit = trainer(clip_norm=0.5).fit(model, setting(points([3.0, 4.0])), hooks)
    assert fit.norm == 3.0
    assert trainer(epochs=0).fit(model, setting(points([3.0, 4.0])), hooks).norm is None
