"""Steps with 90% of the weights masked over dense steps; beside it torch.nn.utils.prune."""

from collections.abc import Iterator
from functools import partial

from torch import nn
from torch.nn.utils import prune

from benchmarks.figure import Figure, Side, in_turns, ratio
from benchmarks.task import OPTIMIZERS, build_model, checked_difference, context, recipe
from harness.metrics.size import nonzero_fraction
from harness.pruning.masks import MaskStore
from harness.training.context import Hooks
from harness.vocabulary.tensors import prunable_layers, prunable_weights
from harness.vocabulary.topk import topk_counts, topk_masks

DENSITY = 0.1
# Short blocks in many rounds, so that other load rarely disturbs one side alone.
REPEATS, EPOCHS, QUICK_EPOCHS = 81, 2, 1


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    """Returns three figures per optimizer; every side runs in the harness's loop.

    Dense over dense again should be 1: its distance from 1 is the noise of the other two.

    Raises:
        RuntimeError: the two ways of masking do not give the same model.
    """
    store = global_magnitude(build_model())
    for optimizer in OPTIMIZERS:
        work = partial(train, optimizer=optimizer, epochs=QUICK_EPOCHS if quick else EPOCHS)
        masked = partial(work, store=store)
        difference = compared(store, optimizer)
        sides = {
            "dense": Side(build_model, work),
            "masked": Side(partial(by_harness, store), masked),
            "torch": Side(partial(by_torch, store), work),
            "dense again": Side(build_model, work),
        }
        seconds = in_turns(sides, repeats or REPEATS)
        for side, name, more in (
            ("masked", "masked / dense step", {"at_most": 1.03}),
            ("torch", "torch's prune / dense", {"largest_weight_difference": difference}),
            ("dense again", "dense / dense (noise)", {}),
        ):
            yield ratio(f"masks: {name}, {optimizer}", seconds, side, "dense", **more)


def compared(store: MaskStore, optimizer: str) -> float:
    """Returns the largest difference of weights after an epoch with our masks and with torch's.

    Raises:
        RuntimeError: the difference is more than rounding, or pruned weights are not 0.
    """
    ours, theirs = by_harness(store), by_torch(store)
    train(ours, optimizer, 1, store)
    train(theirs, optimizer, 1)
    for layer in prunable_layers(ours):
        prune.remove(theirs.get_submodule(layer.removesuffix(".weight")), "weight")
    left = nonzero_fraction(prunable_weights(ours))
    if left > DENSITY:
        raise RuntimeError(f"density is {left} after training, not {DENSITY}; the masks leak")
    return checked_difference(ours.state_dict(), theirs.state_dict(), "model pruned by torch")


def train(model: nn.Module, optimizer: str, epochs: int, store: MaskStore | None = None) -> None:
    hooks = Hooks(after_backward=store.gradient_masker(model) if store else None)
    recipe(optimizer, epochs).fit(model, context(), hooks)


def global_magnitude(model: nn.Module) -> MaskStore:
    weights = prunable_weights(model)
    scores = {name: weight.abs() for name, weight in weights.items()}
    keep = round(DENSITY * sum(weight.numel() for weight in weights.values()))
    store = MaskStore(weights)
    store.shrink_to(topk_masks(scores, topk_counts(scores, keep)))
    return store


def by_harness(store: MaskStore) -> nn.Module:
    model = build_model()
    store.apply_to(model)
    return model


def by_torch(store: MaskStore) -> nn.Module:
    """Prunes the same number of weights by torch's own global magnitude."""
    model = build_model()
    layers = [(layer, "weight") for layer in prunable_layers(model).values()]
    gone = sum(int((~mask).sum()) for mask in store.masks.values())
    prune.global_unstructured(layers, prune.L1Unstructured, amount=gone)
    return model
