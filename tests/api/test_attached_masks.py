"""Tests masks in a training loop of one's own, under optimizers that move pruned weights."""

from functools import partial

import pytest
import torch
from conftest import cases
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

import harness
from harness.schedule.cubic import Cubic


class Sam(Optimizer):
    """Takes the step of a base optimizer, with the gradient at w + rho g / |g|."""

    def __init__(self, params, rho=0.5):
        super().__init__(params, {"rho": rho})
        self.base = SGD(self.param_groups, lr=0.1, momentum=0.9)

    @torch.no_grad()
    def first_step(self):
        params = [p for group in self.param_groups for p in group["params"]]
        norm = torch.stack([p.grad.norm() for p in params]).norm()
        self.moved = [(p, p.grad * self.param_groups[0]["rho"] / norm) for p in params]
        for parameter, by in self.moved:
            parameter.add_(by)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for parameter, by in self.moved:
            parameter.sub_(by)
        self.base.step()


class Noisy(SGD):
    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter.grad.add_(torch.randn_like(parameter))
        return super().step(closure)


class Centred(SGD):
    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter.grad.sub_(parameter.grad.mean())
        return super().step(closure)


class Wrapper(Optimizer):
    """Holds an optimizer and has no hooks of its own, as accelerate's."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def step(self, closure=None):
        self.optimizer.step(closure)

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)


OPTIMIZERS = {
    "sgd": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": partial(AdamW, lr=0.1, weight_decay=0.1),
    "lbfgs": partial(torch.optim.LBFGS, lr=0.1, max_iter=4, line_search_fn="strong_wolfe"),
    "rprop": torch.optim.Rprop,
    "adafactor": torch.optim.Adafactor,
    "asgd": torch.optim.ASGD,
    "noise": partial(Noisy, lr=0.1, momentum=0.9),
    "centred": partial(Centred, lr=0.1, momentum=0.9),
    "sam": Sam,
    "wrapper": lambda params: Wrapper(Noisy(params, lr=0.1)),
}
if hasattr(torch.optim, "Muon"):
    OPTIMIZERS["muon"] = partial(torch.optim.Muon, lr=0.1)


def model_of() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 4, bias=False), nn.Tanh()
    )


def train(model: nn.Module, optimizer: Optimizer, steps: int = 4) -> list[Tensor]:
    """Returns the gradients of the weights that are 0 now, summed in size, at each step."""
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
    pruned = [(p, p == 0) for p in model.parameters()]
    seen = []

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = (model(inputs) - 1).square().mean()
        value.backward()
        seen.append(sum(p.grad[zeros].abs().sum() for p, zeros in pruned))
        return value

    for _ in range(steps):
        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.step(loss)
            continue
        loss()
        if isinstance(optimizer, Sam):
            optimizer.first_step()
            loss()
            optimizer.second_step()
        else:
            optimizer.step()
    return seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_stay_exactly_0_and_the_others_train(name) -> None:
    model = model_of()
    masks = harness.prune(model, 0.4)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = OPTIMIZERS[name](list(model.parameters()))
    harness.Masks(model, masks).attach(optimizer)
    assert max(train(model, optimizer)) == 0
    for n, p in model.named_parameters():
        assert not p.isnan().any()
        assert not p[~masks[n]].count_nonzero()
        assert (p[masks[n]] != before[n][masks[n]]).any()


@cases("name", "noise", "centred", "wrapper")
def test_without_attach_and_after_detach_they_move(name) -> None:
    model = model_of()
    masks = harness.prune(model, 0.4)
    optimizer = OPTIMIZERS[name](model.parameters())
    attached = harness.Masks(model, masks).attach(optimizer)
    train(model, optimizer)
    assert not model[0].weight[~masks["0.weight"]].count_nonzero()
    attached.detach()
    train(model, optimizer)
    assert model[0].weight[~masks["0.weight"]].count_nonzero()


def test_a_step_that_a_grad_scaler_leaves_out_changes_nothing_and_the_next_one_trains() -> None:
    model = model_of()
    masks = harness.Masks(model, harness.prune(model, 0.5))
    optimizer = AdamW(model.parameters(), lr=0.1)
    masks.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-120)
    before = model[0].weight.detach().clone()
    for number in range(3):
        optimizer.zero_grad()
        scaler.scale(model(torch.full((4, 6), 3.0)).square().sum() * 8).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(model[0].weight, before) == (number == 0)
        assert not model[0].weight[~masks["0.weight"]].count_nonzero()


def test_gradients_from_before_and_the_state_of_a_pruned_weight_are_cleared() -> None:
    model = model_of()
    optimizer = AdamW(model.parameters(), lr=0.1)
    train(model, optimizer)
    masks = harness.prune(model, 0.3)
    pruned = ~masks["0.weight"]
    assert model[0].weight.grad[pruned].count_nonzero()
    harness.Masks(model, masks).attach(optimizer)
    assert not model[0].weight.grad[pruned].count_nonzero()
    optimizer.step()
    assert not model[0].weight[pruned].count_nonzero()
    assert not optimizer.state[model[0].weight]["exp_avg"][pruned].count_nonzero()


def test_a_schedule_prunes_more_between_steps_and_masks_may_revive() -> None:
    model = model_of()
    optimizer = SGD(model.parameters(), lr=0.1)
    masks = harness.Masks(model, harness.prune(model, 1.0)).attach(optimizer)
    for density in Cubic(levels=3, final=0.25).kept_fractions(float):
        masks.replace(harness.prune(model, density))
        train(model, optimizer)
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        assert int(weights.count_nonzero()) == round(density * 80)
    masks.replace({name: torch.ones_like(p) for name, p in model.named_parameters()})
    train(model, optimizer)
    assert all(p.all() for p in model.parameters())


@cases(
    "masks",
    ({"fc9.weight": torch.ones(1)}, "fc9.weight"),
    ({"0.weight": torch.ones(6, 8)}, "0.weight"),
    ({"0.weight": torch.full((8, 6), 0.5)}, "0.weight"),
)
def test_masks_of_another_model_are_refused_by_name(masks) -> None:
    wrong, name = masks
    with pytest.raises(ValueError, match=name):
        harness.Masks(model_of(), wrong)


def test_an_optimizer_of_another_model_is_refused() -> None:
    masks = harness.Masks(model_of(), {"0.weight": torch.ones(8, 6)})
    with pytest.raises(ValueError, match="SGD has none of the masked parameters"):
        masks.attach(SGD(model_of().parameters(), lr=0.1))
