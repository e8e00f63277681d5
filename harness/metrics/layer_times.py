"""Times the modules of a dense and a smaller model, and says what slows the smaller one."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn

from harness.metrics.macs import count_macs
from harness.metrics.slow_layers import Kind, LayerTime, SlowPass
from harness.metrics.stopwatch import Clock, Stopwatch, wait_for
from harness.vocabulary.given.inputs import (
    Inputs,
    call_model,
    device_of,
    first_samples,
    input_tensors,
    join_samples,
    samples_of,
)
from harness.vocabulary.tensors import Counts

VECTOR_BYTES = {"AVX512": 64, "AVX2": 32}  # of a CPU; other ones have 16, as a GPU's tensor cores
SLICE_S = 1.0
REPEATS = 7


@dataclass(frozen=True)
class PassTimes:
    """Records how long modules take in each pass, without those that they call.

    seconds: name -> one entry per pass.
    clock: returns seconds, after all work that was started.
    """

    clock: Clock
    seconds: dict[str, list[float]] = field(default_factory=dict)
    _running: list[list[Any]] = field(default_factory=list)  # name, since, time of modules inside

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """Records the passes of this model inside the context."""
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(partial(self._enter, name)))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            self._running.clear()
            for handle in handles:
                handle.remove()

    def _enter(self, name: str, module: nn.Module, inputs: Any) -> None:
        if not name:
            for passes in self.seconds.values():
                passes.append(0.0)
        self._running.append([name, self.clock(), 0.0])

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        name, since, inside = self._running.pop()
        whole = self.clock() - since
        self.seconds.setdefault(name, [0.0])[-1] += whole - inside
        if self._running:
            self._running[-1][2] += whole

    def medians(self, warm_up: int = 1) -> dict[str, float]:
        """Returns the median over the passes after the first ones, by module."""
        return {name: median(each[warm_up:] or each) for name, each in self.seconds.items()}


def explain_slow_pass(
    dense: nn.Module,
    left: nn.Module,
    inputs: Inputs,
    speedups: tuple[float, float],
    clock: Clock | None = None,
) -> Generator[None, None, str | None]:
    """Measures both models in slices, and returns why the smaller one is slow, or None.

    Nothing is measured where the measured speed-up is near the theoretical one, or where weights
    are masked and none is gone.

    Args:
        dense: in eval mode, as `left`.
        left: the model without pruned units, with the dense one's names.
        inputs: of one pass.
        speedups: measured and theoretical.
        clock: returns seconds; by default the wall clock, behind all work of the device.
    """
    removed = _are_smaller(dense, left)
    found = SlowPass((), *speedups, samples_of(inputs), vector_width(inputs), removed)
    if found.is_near or not removed:
        return found.why
    chosen = clock or partial(_wall_clock, device_of(inputs))
    times = [PassTimes(chosen) for _ in range(3)]
    twice = join_samples([inputs, inputs])
    runs = {"dense": (dense, inputs), "left": (left, inputs), "twice": (left, twice)}
    steps = {n: partial(_timed, t, *runs[n]) for n, t in zip(runs, times, strict=True)}
    watch = Stopwatch(steps, REPEATS, 1)
    while not watch.run_for(SLICE_S):
        yield
    seconds = [each.medians() for each in times]
    return SlowPass(
        list(_layers((dense, left), inputs, seconds, found.vector_width)),
        *speedups, samples_of(inputs), found.vector_width,
    ).why  # fmt: skip


def vector_width(inputs: Inputs) -> int:
    """Returns how many numbers of the inputs' dtype fit into what is computed at once.

    On a CPU these are its vector registers: 64 bytes with AVX-512, 32 with AVX2, else 16. On a GPU
    they are 16 bytes, 8 numbers in half precision, as its tensor cores take them.
    """
    given = input_tensors(inputs)
    numbers = next((tensor for tensor in given if tensor.is_floating_point()), given[0])
    kind = torch.backends.cpu.get_cpu_capability() if numbers.device.type == "cpu" else ""
    return VECTOR_BYTES.get(kind, 16) // numbers.element_size()


def _timed(times: PassTimes, model: nn.Module, inputs: Inputs) -> None:
    with times.of(model):
        call_model(model, inputs)


def _wall_clock(device: torch.device) -> float:
    wait_for(device)
    return time.perf_counter()


def _are_smaller(dense: nn.Module, left: nn.Module) -> bool:
    shapes = {name: parameter.shape for name, parameter in dense.named_parameters()}
    return shapes != {name: parameter.shape for name, parameter in left.named_parameters()}


def _layers(
    models: tuple[nn.Module, nn.Module],
    inputs: Inputs,
    seconds: list[dict[str, float]],
    width: int,
) -> Iterator[LayerTime]:
    dense_macs, left_macs = (_macs_by_module(model, inputs) for model in models)
    dense, left = (dict(model.named_modules()) for model in models)
    for name, module in dense.items():
        times = [each.get(name, 0.0) for each in seconds]
        kind: Kind = "products" if dense_macs.get(name) else "elementwise"
        if kind == "elementwise" and any(True for _ in module.children()):
            kind = "outside"
        odd = _odd(module, left[name], width) if name in left else ()
        counts = dense_macs.get(name, 0), left_macs.get(name, 0)
        yield LayerTime(name, kind, times[0], times[1], times[2], *counts, odd)


def _macs_by_module(model: nn.Module, inputs: Inputs) -> Counts:
    found: Counts = {}
    for name, count in count_macs(model, first_samples(inputs, 1)).weights.items():
        owner = name.rpartition(".")[0]
        found[owner] = found.get(owner, 0) + count
    return found


def _odd(dense: nn.Module, left: nn.Module, width: int) -> tuple[int, ...]:
    """Returns the sizes of the first two dimensions of weights that are cut to no multiple."""
    before = dict(dense.named_parameters(recurse=False))
    sizes = [
        size
        for name, weight in left.named_parameters(recurse=False)
        if name in before and weight.dim() > 1
        for size, whole in zip(weight.shape[:2], before[name].shape[:2], strict=True)
        if size != whole and size % width
    ]
    return tuple(dict.fromkeys(sizes))
