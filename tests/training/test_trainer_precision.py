"""Training in bfloat16 and float16: what is computed in it, and what stays in float32."""

from functools import partial

import pytest
import torch
from small_training import blobs, context, line, mlp, points, trainer, weights
from torch import Tensor
from torch.optim import SGD, Adam

from harness.distributed import Ranks
from harness.task.classification import Classification
from harness.training.context import Hooks
from harness.training.evaluation import evaluate


@pytest.mark.parametrize("autocast", ["bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.1), partial(Adam, lr=0.01, fused=True)])
def test_lower_precision_computes_in_it_and_keeps_float32_weights(autocast, optimizer) -> None:
    seen = set()

    class Probe(Classification):
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            seen.add(outputs.dtype)
            return super().loss(outputs, labels)

    split, task, model = blobs(), Probe(), mlp()
    before = evaluate(model, split, Classification(), Ranks()).loss
    recipe = trainer(optimizer=optimizer, autocast=autocast, epochs=5, batch_size=8)
    recipe.fit(model, context(split, task), Hooks())

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
    recipe.fit(model, context(points([0.25, 0.5], [0.75, 0.5])), Hooks(after_backward=look))
    assert seen == [[0.5, 0.5]]


def test_a_float16_step_that_overflows_is_left_out() -> None:
    # 65536, the first loss scale, is infinite in float16; the next one, 32768, is not.
    model = line()
    recipe = trainer(autocast="float16", epochs=2)
    done: list[list[float]] = []
    hooks = Hooks(epoch_end=lambda *_: done.append(weights(model)))
    recipe.fit(model, context(points([1.0, 0.5])), hooks)
    assert done == [[0.0, 0.0], [-1.0, -0.5]]
