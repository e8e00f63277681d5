"""Measures the report command on runs like the default survey's, and on 10,000 records."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import safetensors.numpy

from benchmarks.figure import Figure, Side, duration, in_turns, spread
from harness.run_folder.records import Record, to_line

CHECKOUT = Path(__file__).parents[2]
METHODS = ("Global Gradient", "Global Magnitude", "Layerwise Gradient", "Random", "SNIP", "Taylor")
LAYERS = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}
EPOCHS = 12


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    with TemporaryDirectory(prefix="report-") as top:
        survey, many = Path(top, "survey"), Path(top, "many")
        write(survey, settings=1, levels=1, compressions=7, seeds=3, masks=True)
        # 6 methods x 10 settings x 33 seeds, a dense record and four levels each.
        write(many, settings=1 if quick else 10, levels=4, compressions=1, seeds=3 if quick else 33)
        sides = {
            name: Side(lambda folder=folder: folder, report)
            for name, folder in (("survey", survey), ("many", many))
        }
        seconds = in_turns(sides, repeats or 3, warm_up=False)
        yield duration("report: default survey, 126 runs", seconds, "survey", at_most=5.0)
        size = (survey / "report" / "report.html").stat().st_size / 1e6
        yield spread("report: its HTML page", "MB", [size], at_most=2.5)
        yield duration("report: 9,900 records", seconds, "many", at_most=10.0)


def report(runs: Path) -> None:
    command = [sys.executable, "-m", "harness", "report", str(runs)]
    subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)


def write(
    runs: Path, settings: int, levels: int, compressions: int, seeds: int, masks: bool = False
) -> None:
    """Writes folders as runs leave them, with made-up numbers."""
    which = itertools.product(METHODS, range(settings), range(compressions), range(seeds))
    for number, (label, setting, power, seed) in enumerate(which):
        folder = runs / f"{number % 256:02x}" / f"run-{number:012x}"
        folder.mkdir(parents=True)
        lines = [to_line(record) for record in _records(label, setting, power, seed, levels)]
        (folder / "records.jsonl").write_text("".join(lines))
        hashed_config = {"seed": seed, "saliency": label, "training": {"epochs": EPOCHS}}
        (folder / "identity.json").write_text(json.dumps({"hashed_config": hashed_config}))
        made = {"command": ["python", "-m", "harness", f"seed={seed}"], "commit": "0" * 12}
        (folder / "environment.json").write_text(json.dumps(made))
        if masks:
            _write_masks(folder / "masks.safetensors", 2.0**-power, number)


def _records(label: str, setting: int, power: int, seed: int, levels: int) -> Iterator[Record]:
    rng = np.random.default_rng([seed, setting, power])
    dense = _record(label, f"{setting:04x}", seed, 0, 1.0, rng)
    yield replace(dense, stage="dense", masks="")
    for level in range(1, levels + 1):
        yield _record(label, f"{setting:04x}", seed, level, 2.0 ** (power + level - 1), rng)


def _record(
    label: str, setting: str, seed: int, level: int, ratio: float, rng: np.random.Generator
) -> Record:
    top1 = 0.96 - 0.002 * ratio + 0.002 * rng.standard_normal()
    return Record(
        **{"run": "0" * 12, "method": label.lower(), "label": label, "setting": setting},
        **{"model": "lenet", "data": "digits", "seed": seed, "level": level},
        **{"model_published_as": None, "data_published_as": None},
        **{"stage": "finetuned", "requested_density": 1 / ratio, "requested_compression": ratio},
        **{"density": 1 / ratio, "density_of": "weights", "density_of_weights": 1 / ratio},
        **{"compression": ratio, "speedup": ratio},
        **{"parameters": 266610, "macs": 266200, "top1": top1, "top5": 0.99, "loss": 0.2},
        **{"validation_top1": top1, "validation_loss": 0.2, "epochs": EPOCHS, "steps": 336},
        **{"layers": dict.fromkeys(LAYERS, 1 / ratio), "masks": "0" * 12},
        **{"effective_density": 1 / ratio, "empty_layers": [], "dead_units": {}},
        **{"examples": 42000, "training_flops": 10**10, "training_flops_dense": 10**10},
        **{"epoch_losses": rng.random(EPOCHS).tolist(), "epoch_validation": [top1] * EPOCHS},
    )


def _write_masks(file: Path, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = {name: rng.random(shape) < density for name, shape in LAYERS.items()}
    safetensors.numpy.save_file(masks, file)
