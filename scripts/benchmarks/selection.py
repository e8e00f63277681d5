"""Scores -> counts -> masks, exact and global, over ResNet-50's 25.5 M weights."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torchvision.models import resnet50

from benchmarks.figure import Figure, Side, in_turns, ratio, spread
from benchmarks.memory import extra_megabytes
from harness.vocabulary.tensors import Tensors, prunable_layers
from harness.vocabulary.topk import topk_counts, topk_masks

DENSITY, REPEATS = 0.1, 9
TARGET = {"cpu": 0.6, "cuda": 1.2}


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores = {n: s.to(device) for n, s in random_scores(64 if quick else 1).items()}
    flat = torch.cat([score.flatten() for score in scores.values()])
    keep = round(DENSITY * len(flat))
    sides = {
        "harness": Side(lambda: None, lambda _: done(selected(scores, keep))),
        "topk": Side(lambda: None, lambda _: done(torch.topk(flat, keep))),
        "torch": Side(lambda: modules(scores), partial(globally, gone=len(flat) - keep)),
    }
    seconds = in_turns(sides, repeats or REPEATS)
    yield ratio(
        "selection: harness / torch.topk", seconds, "harness", "topk", at_most=TARGET[device]
    )
    yield ratio("selection: harness / global_unstructured", seconds, "harness", "torch")
    if device == "cuda":
        return  # the kernel's mark is that of the host
    own = flat.numel() * flat.element_size() / 1e6
    works: dict[str, tuple[Callable[[], object], dict[str, float]]] = {
        "harness": (lambda: selected(scores, keep), {"at_most": 2.0}),
        "torch.topk": (lambda: torch.topk(flat, keep), {}),
    }
    for name, (work, target) in works.items():
        times = [extra_megabytes(work) / own for _ in range(3)]
        yield spread(f"selection: extra memory / scores, {name}", "ratio", times, **target)


def done(result: object) -> object:
    """Waits until the device has computed the result."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def selected(scores: Tensors, keep: int) -> Tensors:
    return topk_masks(scores, topk_counts(scores, keep))


def random_scores(divisor: int) -> Tensors:
    """Returns random scores in the shapes of ResNet-50, each `divisor` times smaller."""
    with torch.device("meta"):
        model = resnet50(weights=None)
    stream = torch.Generator().manual_seed(0)
    sizes = {n: model.get_parameter(n).numel() // divisor for n in prunable_layers(model)}
    return {name: torch.rand(size, generator=stream) for name, size in sizes.items()}


def modules(scores: Tensors) -> list[tuple[nn.Module, str]]:
    def module(score: Tensor) -> nn.Module:
        module = nn.Module()
        module.weight = nn.Parameter(score)
        return module

    return [(module(score), "weight") for score in scores.values()]


def globally(parameters: list[tuple[nn.Module, str]], gone: int) -> None:
    prune.global_unstructured(parameters, prune.L1Unstructured, amount=gone)
