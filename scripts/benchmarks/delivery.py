"""Measures what it takes to read the half of ResNet-50 from its folder, and to export it."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

import harness
from benchmarks.figure import Figure, Note, Side, duration, in_turns, ratio, spread
from harness.delivery.formats import FORMATS
from harness.extras import MissingExtra
from harness.groups.proving.differences import relative_error

sys.path.append(str(Path(__file__).parents[2] / "examples"))
from read_compact import read_compact  # noqa: E402

REPEATS, AT_MOST_S, AT_MOST_ERROR = 9, 1.0, 1e-4


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Returns the seconds of examples/read_compact.py, beside itself and harness.load_compact.

    Half of the units of every group of ResNet-50 are gone. Building the dense model is not timed.
    Of each exported file: the largest difference from the model, relative to the largest output.
    """
    build, inputs = (small if quick else resnet_50), torch.randn(2, 3, 64, 64)
    with TemporaryDirectory() as home:
        torch.manual_seed(0)
        model = build()
        share = {"structure": "group", "allocation": "uniform", "example_input": inputs}
        masks = harness.prune(model, 0.5, **share)
        half = harness.compact(model, masks, inputs, folder=home).eval()
        sides = {
            "reader": Side(build, partial(read_compact, home)),
            "harness": Side(build, partial(harness.load_compact, home)),
            "again": Side(build, partial(read_compact, home)),
        }
        seconds = in_turns(sides, repeats or REPEATS)
        yield duration("delivery: half of ResNet-50 read", seconds, "reader", at_most=AT_MOST_S)
        yield ratio("delivery: reader / itself (noise)", seconds, "reader", "again")
        yield ratio("delivery: harness.load_compact / reader", seconds, "harness", "reader")
        for name in FORMATS:
            yield exported(name, half, inputs, Path(home))


def exported(name: str, model: nn.Module, inputs: Any, home: Path) -> Figure | Note:
    label = f"delivery: {name}, difference x 1e6"
    try:
        file = harness.export(model, inputs, home / "export", [name])[name]
    except MissingExtra as error:
        return Note(label, f"not measured: {error}")
    with torch.no_grad():
        (found,), expected = FORMATS[name].read(file)(inputs), model(inputs)
    error = 1e6 * relative_error(found, expected)
    return spread(label, "ratio", [error], at_most=1e6 * AT_MOST_ERROR)


def resnet_50() -> nn.Module:
    from torchvision.models import resnet50

    return resnet50(weights=None).eval()


def small() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 4)).eval()
