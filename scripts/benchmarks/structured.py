"""Measures the speed-up of networks that are cut to half and a quarter, over the theoretical one.

All models of a network take turns on one batch. Seconds are CPU seconds of one thread.
"""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import harness
from benchmarks.figure import Figure, Note, Seconds, Side, in_turns, ratio
from harness.allocation.base import ModelInfo
from harness.allocation.uniform import Uniform
from harness.delivery.runtimes import OnnxFiles, Ready, make_ready
from harness.groups.units import Units
from harness.metrics.layer_times import explain_slow_pass
from harness.metrics.macs import count_macs
from harness.metrics.stopwatch import quartiles, ratios
from harness.models.resnet_18 import ResNet18
from harness.models.vgg_bn import VggBn
from harness.pruning.budget import RequestedSize
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.magnitude import Magnitude
from harness.structure.group import Group
from harness.vocabulary.tensors import Tensors, local_mean

SPEEDUPS, ROUND_TO = (2, 4), (None, 8, 16)
QUICK_SPEEDUPS = (2,)
# (round_to, speed-up) -> measured / theoretical speed-up.
TARGETS = {(8, 2): 0.8, (8, 4): 0.7, (16, 2): 0.85, (16, 4): 0.8}
REPEATS, BATCH, CLASSES = 15, 16, 10
QUICK_WIDTH, QUICK_BATCH = 0.5, 2
PROOF_SIDE = 64  # pixels, of the example with which compaction proves
COMPARED = 16  # round_to of the shapes that torch-pruning cuts too


@dataclass(frozen=True)
class Network:
    """Holds a dense model and the size of its pictures."""

    name: str
    model: nn.Module
    side: int

    def inputs(self, count: int, side: int | None = None) -> Tensor:
        pixels = side or self.side
        return torch.randn(count, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Smaller:
    """Holds what is left of a network, its theoretical speed-up, and how it was cut."""

    model: nn.Module
    theoretical: float
    units: Units
    masks: Tensors


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Yields the ratios of each network, each way to round and each size, with the reasons."""
    if not find_spec("torch_pruning"):
        yield Note("structured: torch-pruning", "not measured: pip install torch-pruning")
    for network in networks(quick):
        work = (QUICK_BATCH, QUICK_SPEEDUPS) if quick else (BATCH, SPEEDUPS)
        yield from measured(network, repeats or REPEATS, *work)


def networks(quick: bool) -> Iterator[Network]:
    torch.manual_seed(0)
    shape, width = (3, 32, 32), QUICK_WIDTH if quick else 1.0
    yield Network("ResNet-18", ResNet18(width_factor=width).build(shape, CLASSES).eval(), 32)
    if not quick:
        yield Network("VGG-16-BN", VggBn().build(shape, CLASSES).eval(), 32)
        yield Network("MobileNetV2", torchvision.models.mobilenet_v2(weights=None).eval(), 224)
        yield Network("ResNet-50", torchvision.models.resnet50(weights=None).eval(), 224)


def measured(
    network: Network, repeats: int, batch: int, speedups: Sequence[int]
) -> Iterator[Figure | Note]:
    cells = {(r, s): cut(network, r, s) for s in speedups for r in ROUND_TO}
    models = {"dense": network.model, "dense again": network.model}
    for cell, smaller in cells.items():
        models[title(*cell)] = smaller.model
        if cell[0] == COMPARED and find_spec("torch_pruning"):
            models[f"torch-pruning {cell[1]}x"] = cut_alike(network, smaller)
    inputs = network.inputs(batch)
    sides = {n: Side(partial(_same, model), partial(_run, inputs)) for n, model in models.items()}
    with torch.inference_mode():
        seconds = in_turns(sides, repeats, clock=time.process_time)
    name = f"structured: {network.name}"
    yield ratio(f"{name}, dense / itself", seconds, "dense again", "dense")
    for cell, smaller in cells.items():
        yield from efficiency(f"{name}, {title(*cell)}", seconds, title(*cell), smaller, cell)
        yield from reason(network, smaller, seconds, title(*cell), inputs)
    for s in speedups if find_spec("torch_pruning") else ():
        yield from compared(name, seconds, f"torch-pruning {s}x", title(COMPARED, s))
    if find_spec("onnxruntime"):
        yield from fused(network, cells, inputs, repeats)


def fused(
    network: Network,
    cells: Mapping[tuple[int | None, int], Smaller],
    inputs: Tensor,
    repeats: int,
) -> Iterator[Figure]:
    """Yields the ratios in onnxruntime, which computes norms and activations in the layers."""
    models = {title(*cell): smaller for cell, smaller in cells.items() if cell[0] == COMPARED}
    dense = {"dense": network.model, "dense again": network.model}
    files = OnnxFiles()
    ready = {
        name: make_ready("onnxruntime", model, inputs, torch.float32, 1, files)
        for name, model in {**dense, **{n: each.model for n, each in models.items()}}.items()
    }
    sides = {name: Side(partial(_ready, each), _pass) for name, each in ready.items()}
    seconds = in_turns(sides, repeats, clock=time.process_time)
    name = f"structured: {network.name}, onnxruntime"
    yield ratio(f"{name}, dense / itself", seconds, "dense again", "dense")
    for side, smaller in models.items():
        shares = [r / smaller.theoretical for r in ratios(seconds["dense"], seconds[side])]
        chosen = {each: seconds[each] for each in ("dense", side)}
        yield Figure(f"{name}, {side}", "ratio", median(shares), min(shares), max(shares), chosen)


def title(round_to: int | None, speedup: int) -> str:
    return f"{speedup}x, round_to {round_to or 'null'}"


def efficiency(
    name: str, seconds: Seconds, side: str, smaller: Smaller, cell: tuple[int | None, int]
) -> Iterator[Figure | Note]:
    """Yields measured / theoretical speed-up, with extremes, and the quartiles of the speed-up."""
    rounds = ratios(seconds["dense"], seconds[side])
    shares = [each / smaller.theoretical for each in rounds]
    chosen = {each: seconds[each] for each in ("dense", side)}
    yield Figure(
        name, "ratio", median(shares), min(shares), max(shares), chosen,
        at_least=TARGETS.get((cell[0] or 0, cell[1])),
    )  # fmt: skip
    low, middle, high = quartiles(rounds)
    text = f"speed-up {middle:.2f} ({low:.2f} to {high:.2f}), MACs / {smaller.theoretical:.2f}"
    yield Note(name, text)


def reason(
    network: Network, smaller: Smaller, seconds: Seconds, side: str, inputs: Tensor
) -> Iterator[Note]:
    """Yields why the model is slow, where it is."""
    speedup = median(ratios(seconds["dense"], seconds[side]))
    speedups = speedup, smaller.theoretical
    steps = explain_slow_pass(network.model, smaller.model, inputs, speedups, time.process_time)
    with torch.no_grad():
        while True:
            try:
                next(steps)
            except StopIteration as end:
                if end.value:
                    yield Note(f"structured: {network.name}, {side}", end.value)
                return


def compared(name: str, seconds: Seconds, theirs: str, own: str) -> Iterator[Figure | Note]:
    yield ratio(f"{name}, {theirs} / harness", seconds, theirs, own)
    ends = [quartiles([1000 * each for each in seconds[side]]) for side in (theirs, own)]
    overlap = ends[0][0] <= ends[1][2] and ends[1][0] <= ends[0][2]
    shown = " and ".join(f"{low:.1f} to {high:.1f} ms" for low, _, high in ends)
    yield Note(f"{name}, {theirs}", f"quartiles {'overlap' if overlap else 'differ'}: {shown}")


def cut(network: Network, round_to: int | None, speedup: int) -> Smaller:
    """Cuts a copy to the nearest size, by the magnitude of units, equal fractions of each group."""
    model, sample = network.model, network.inputs(1)
    structure, allocation = Group(round_to=round_to), Uniform(min_units=1)
    pruner = Pruner(Magnitude(), structure, allocation)
    units = structure.units(model, network.inputs(2, PROOF_SIDE))
    counted = count_macs(model, sample)
    model_info = ModelInfo(counted.weights, counted.activations, counted.uncounted)
    size_model = pruner.size_model("speedup", model, units, model_info)
    keep = round(size_model.to_kept_fraction(speedup) * size_model.removable)
    data = Calibration([], lambda outputs, labels: outputs.sum(), local_mean)
    requested = RequestedSize(keep, size_model.counts)
    store = make_mask_store(model, units)
    masks = pruner.propose(model, store, units, requested, data, model_info).masks
    masked = copy.deepcopy(model)
    store.shrink_to(masks)
    store.apply_to(masked)
    small = harness.compact(masked, masks, network.inputs(2, PROOF_SIDE)).eval()
    return Smaller(small, counted.dense / count_macs(small, sample).dense, units, masks)


def cut_alike(network: Network, smaller: Smaller) -> nn.Module:
    """Lets torch-pruning cut the same units out.

    Raises:
        AssertionError: a tensor has another shape than ours.
    """
    import torch_pruning as tp

    model = copy.deepcopy(network.model)
    graph: Any = tp.DependencyGraph().build_dependency(model, network.inputs(1, PROOF_SIDE))
    layers = dict(model.named_modules())
    for each in smaller.units.values():
        name = next(n for n in each.weights if _is_plain(layers[n.rpartition(".")[0]]))
        gone = (~each.alive(smaller.masks)).nonzero().flatten().tolist()
        layer = layers[name.rpartition(".")[0]]
        linear = isinstance(layer, nn.Linear)
        how = tp.prune_linear_out_channels if linear else tp.prune_conv_out_channels
        if gone:
            graph.get_pruning_group(layer, how, idxs=gone).prune()
    found = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert found == {name: tuple(p.shape) for name, p in smaller.model.named_parameters()}
    return model.eval()


def _is_plain(layer: nn.Module) -> bool:
    return getattr(layer, "groups", 1) == 1


def _same(model: nn.Module) -> nn.Module:
    return model


def _run(inputs: Tensor, model: nn.Module) -> object:
    return model(inputs)


def _ready(each: Ready) -> Ready:
    return each


def _pass(each: Ready) -> object:
    return each.run()
