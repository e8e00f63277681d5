"""Which optimizers leave pruned weights at 0 is found out before a run trains."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from command import TINY, run_main
from conftest import cases
from forked_ranks import harness_on_ranks
from torch import nn
from torch.optim import LBFGS, SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RAdam, RMSprop
from watched import experiment, optimized

from harness.distributed import Ranks
from harness.experiment.rehearsals.rehearsal import rehearse
from harness.experiment.runner import prepare


class Matrices:
    """Builds a model without biases."""

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        hidden = nn.Linear(shape[0], 8, bias=False)
        return nn.Sequential(hidden, nn.ReLU(), nn.Linear(8, classes, bias=False))


class Centralised(SGD):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.dim() > 1:
                    p.grad.sub_(p.grad.mean(1, keepdim=True))
        return super().step(closure)


# Versions of torch without Muon try the one below twice.
MUON: Any = getattr(torch.optim, "Muon", Centralised)


class Noisy(SGD):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.add_(torch.randn_like(p.grad), alpha=1e-3)
        return super().step(closure)


class SAM(SGD):
    """Ascends first, so it needs the loss again."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        assert closure is not None, "SAM requires closure, but it was not provided"
        return super().step(closure)


class Hidden(SGD):
    """Keeps a momentum where nobody can clear it."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        kept = self.__dict__.setdefault("kept", {})
        for group in self.param_groups:
            for p in group["params"]:
                kept[p] = kept.get(p, 0) + p.grad
                p.grad.copy_(kept[p])
        return super().step(closure)


def tried(optimizer: Any, *overrides: str, key: str = "retraining", **more: Any) -> None:
    parts = experiment(*overrides)
    parts = optimized(parts, optimizer, **more)
    object.__setattr__(parts, "model", Matrices())
    if key == "training":
        object.__setattr__(parts, "training", parts.retraining)
    ready = prepare(parts, Ranks(), Path("unused"))
    rehearse(ready.context, ready.state.model, None)


@cases(
    "optimizer",
    partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    partial(Adam, lr=0.1, weight_decay=0.1), partial(AdamW, lr=0.1, amsgrad=True),
    partial(RMSprop, lr=0.1, momentum=0.9, centered=True), partial(Adagrad, lr=0.1),
    partial(NAdam, lr=0.1), partial(RAdam, lr=0.1),
)  # fmt: skip
@pytest.mark.parametrize("when", ["init", "during_training"])
def test_elementwise_optimizers_pass(optimizer, when) -> None:
    interval = ("gradual.interval=2",) if when == "during_training" else ()
    tried(optimizer, f"prune_at={when}", *interval)


@cases(
    "optimizer, reason",
    (MUON, "moves pruned weights, whose gradients are 0: in 0.weight, "),
    (Centralised, "moves pruned weights, whose gradients are 0: in 0.weight, "),
    (Noisy, "moves pruned weights, whose gradients are 0: in 0.weight, "),
    (LBFGS, "fails at steps of two samples: TypeError: .*closure"),
    (SAM, "fails at steps of two samples: AssertionError: SAM requires closure"),
)
def test_others_are_refused_by_name(optimizer, reason) -> None:
    reason = f"^retraining.optimizer={optimizer.__name__} {reason}"
    with pytest.raises(ValueError, match=reason) as caught:
        tried(partial(optimizer, lr=0.1))
    assert "rehearse=false" not in str(caught.value)


def test_a_warm_up_from_0_hides_nothing() -> None:
    class Late:
        def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
            return 0.0

    with pytest.raises(ValueError, match="Centralised moves"):
        tried(partial(Centralised, lr=0.1), learning_rate=Late())


def test_a_momentum_out_of_sight_moves_what_is_pruned_inside_a_training_alone() -> None:
    hidden = partial(Hidden, lr=0.1)
    tried(hidden)
    with pytest.raises(ValueError, match="Hidden moves pruned weights"):
        tried(hidden, "prune_at=during_training", "gradual.interval=2")


def test_dense_training_may_move_any_weight_but_has_to_take_its_steps() -> None:
    trained = ("prune_at=after_training", "finetune=none")
    tried(partial(Centralised, lr=0.1), *trained, key="training")
    with pytest.raises(ValueError, match=r"^training.optimizer=LBFGS fails"):
        tried(partial(LBFGS, lr=0.1), *trained, key="training")


def test_a_training_with_a_penalty_is_tried_too() -> None:
    with pytest.raises(ValueError, match="Centralised moves"):
        tried(partial(Centralised, lr=0.1), "penalty=l1", "finetune=none", "rescore_trained=true")


def test_steps_that_become_infinite_on_two_samples_are_no_refusal() -> None:
    tried(partial(SGD, lr=1e38))


def test_on_the_command_line_it_is_one_line_with_status_2_and_nothing_is_written(
    tmp_path, monkeypatch, capfd
) -> None:
    noisy = "retraining.optimizer._target_=test_rehearsed_optimizers.Noisy"
    arguments = (*TINY, "training@retraining=sgd", noisy, f"output_dir={tmp_path}/runs")
    assert run_main(monkeypatch, *arguments) == 2
    (line,) = [text for text in capfd.readouterr().err.splitlines() if text.startswith("harness")]
    assert line.startswith("harness: retraining.optimizer=Noisy moves pruned weights")
    assert not list(tmp_path.iterdir())


def test_the_optimizer_of_a_subclass_is_named_by_its_class() -> None:
    def made(parameters: Any) -> Optimizer:
        return Noisy(parameters, lr=0.1)

    with pytest.raises(ValueError, match=r"retraining.optimizer=made moves"):
        tried(made)


def test_two_ranks_refuse_alike_in_one_line_and_none_waits(tmp_path) -> None:
    noisy = "retraining.optimizer._target_=test_rehearsed_optimizers.Noisy"
    arguments = (*TINY, "training@retraining=sgd", noisy, f"output_dir={tmp_path}/runs")
    done = harness_on_ranks(2, *arguments)
    assert done.returncode == 2, done.stderr
    lines = [text for text in done.stderr.splitlines() if text.startswith("harness")]
    assert len(lines) == 1 and "optimizer=Noisy moves pruned weights" in lines[0]
    assert not list(tmp_path.iterdir())
