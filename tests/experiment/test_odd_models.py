"""Tests models as people have them: a run is right, or refused in one line before it trains."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from given_runs import last_record, mlp, of, points, prepared, refusal
from torch import Tensor, nn

from harness.models.shared.library_model import OutputEntry


def frozen(shape: tuple[int, ...], classes: int) -> nn.Module:
    return mlp(shape, classes).requires_grad_(False)


def scaled(factor: float) -> Callable[..., nn.Module]:
    def make(shape: tuple[int, ...], classes: int) -> nn.Module:
        model = mlp(shape, classes)
        model[0].weight.data *= factor
        return model

    return make


class Returning(nn.Module):
    """Returns outputs as another kind of object."""

    def __init__(self, classes: int, kind: Callable[[Tensor], Any]):
        super().__init__()
        self.fc, self.kind = nn.Linear(8, classes), kind

    def forward(self, inputs: Tensor) -> Any:
        return self.kind(self.fc(inputs))


def named(logits: Tensor) -> dict[str, Tensor]:
    return {"loss": logits.sum(), "logits": logits}


ODD_MODELS: dict[str, tuple[Callable[..., Any], tuple[str, ...], str]] = {
    "too few outputs": (lambda s, c: mlp(s, c - 1), (), "for 3 classes of the data, and the model"),
    "another output": (lambda s, c: nn.Unflatten(1, (2, 4)), (), "returns a tensor (2, 2, 4)"),
    "another input": (lambda s, c: nn.Linear(7, c), (), "(2x8 and 7x3); let build make a model"),
    "a tuple": (
        lambda s, c: Returning(c, lambda y: (y, y)),
        (),
        "model.output=0 (entries: 0 (2, 3), 1 (2, 3)), or return it alone",
    ),
    "a dictionary": (
        lambda s, c: Returning(c, named),
        (),
        "Returning returns a dict of loss, logits, and the task reads one tensor; name the entry "
        "that is the output, e.g. model=python model.output=logits (entries: loss (), logits",
    ),
    "no model": (lambda s, c: None, (), "must be a torch.nn.Module, got NoneType"),
    "on meta": (lambda s, c: mlp(s, c).to("meta"), (), "0.weight has no values"),
    "lazy": (lambda s, c: nn.LazyLinear(c), (), "weight has no values yet; run one batch"),
    "weights of NaN": (scaled(torch.nan), (), "0.weight holds values that are not finite"),
    "frozen": (frozen, (), "is frozen whole (no parameter requires a gradient)"),
    "frozen, retrained": (frozen, ("training.epochs=0",), "set finetune=none, or unfreeze"),
    "frozen, at init": (frozen, ("prune_at=init",), "set finetune=none, or unfreeze"),
}


@pytest.mark.parametrize("kind", ODD_MODELS)
def test_a_model_that_no_run_can_use_is_described(tmp_path, kind) -> None:
    model, overrides, message = ODD_MODELS[kind]
    assert message in refusal(lambda: prepared(tmp_path, of(points), model, *overrides))


def test_a_model_that_is_frozen_whole_is_pruned_without_training(tmp_path) -> None:
    levels = prepared(tmp_path, of(points), frozen, "training.epochs=0", "finetune=none")
    assert last_record(levels).density == 0.5


def test_an_entry_of_a_dictionary_is_the_output_and_its_loss_is_not_used(tmp_path) -> None:
    found = []
    for kind in (named, lambda logits: logits):

        def make(shape: tuple[int, ...], classes: int, kind: Any = kind) -> nn.Module:
            model = Returning(classes, kind)
            model.register_forward_hook(OutputEntry("logits"))
            return model

        found.append(last_record(prepared(tmp_path, of(points), make)))
    assert (found[0].loss, found[0].masks) == (found[1].loss, found[1].masks)


class Branch(nn.Module):
    """Has a branch of width 0."""

    def __init__(self, classes: int):
        super().__init__()
        self.a, self.out = nn.Linear(8, 8), nn.Linear(8, classes)
        self.down, self.up = nn.Linear(8, 0), nn.Linear(0, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.a(inputs).relu()
        found: Tensor = self.out(hidden) + self.up(self.down(hidden).relu())
        return found


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("part", ["saliency=gradient", "structure=row", "saliency=synflow"])
def test_a_layer_of_width_0_is_left_alone(tmp_path, part) -> None:
    record = last_record(
        prepared(tmp_path, of(points), lambda s, c: Branch(c), part, "schedule.rounds=2")
    )
    assert set(record.layers) <= {"a.weight", "out.weight"} and record.density == 0.5
