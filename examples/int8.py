"""Quantises the smaller model of a run to int8 with onnxruntime; prints accuracy and latency.

python int8.py RUN    (a finished run on data=mnist5k with compact=end or compact=levels)
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

import harness
from harness.data.base import Split
from harness.data.mnist5k import Mnist5k


class Batches(CalibrationDataReader):
    """Feeds inputs, from which onnxruntime takes the ranges of activations."""

    def __init__(self, inputs: Tensor) -> None:
        self.batches: Iterator[dict[str, np.ndarray]] = iter(
            [{"input": batch.numpy()} for batch in inputs.split(32)]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def quantise(file: Path, inputs: Tensor) -> Path:
    """Returns the file of the int8 model: weights per channel, activations by their ranges."""
    prepared, int8 = file.with_name("prepared.onnx"), file.with_name("int8.onnx")
    quant_pre_process(file, prepared)  # folds BatchNorm into convolutions
    quantize_static(prepared, int8, Batches(inputs), QuantFormat.QDQ, per_channel=True)
    return int8


def session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def accuracy(model: onnxruntime.InferenceSession, split: Split) -> float:
    outputs = model.run(None, {"input": split.inputs.numpy()})[0]
    return float((torch.from_numpy(outputs).argmax(1) == split.labels).double().mean())


def milliseconds(
    models: dict[str, onnxruntime.InferenceSession], inputs: Tensor, rounds: int
) -> dict[str, list[float]]:
    """Returns quartiles of one pass on one thread; models take turns.

    It is time of the CPU, which other work of the machine does not lengthen.
    """
    times: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 3):
        for name, model in models.items():
            began = time.process_time()
            model.run(None, {"input": inputs.numpy()})
            if number >= 3:  # the first passes warm up
                times[name].append(1000 * (time.process_time() - began))
    return {name: quantiles(each, n=4) for name, each in times.items()}


def measure(run: Path, home: Path, train: Split, test: Split, rounds: int = 100) -> list[str]:
    """Returns the rows of a table: model, size, accuracy, latency at batches of 1 and 64.

    home: folder that gets the files.
    """
    example, files = test.inputs[:2], {}
    for name, dense in (("masked, float32", True), ("smaller, float32", False)):
        model, _ = harness.load(run, dense=dense)
        files[name] = harness.export(model, example, home / name.partition(",")[0], ["onnx"])[
            "onnx"
        ]
    files["smaller, int8"] = quantise(files["smaller, float32"], train.inputs[:512])
    models = {name: session(file) for name, file in files.items()}
    models["masked, float32 again"] = session(files["masked, float32"])
    found = [milliseconds(models, test.inputs[:size], rounds) for size in (1, 64)]
    return [
        f"| {name} | {files.get(name, files['masked, float32']).stat().st_size / 1000:.0f} KB "
        f"| {100 * accuracy(model, test):.1f} % | "
        + " | ".join("{1:.3f} ({0:.3f} to {2:.3f})".format(*times[name]) for times in found)
        + " |"
        for name, model in models.items()
    ]


if __name__ == "__main__":
    splits = Mnist5k().load()
    print("\n".join(measure(Path(sys.argv[1]), Path("int8"), splits.train, splits.test)))
