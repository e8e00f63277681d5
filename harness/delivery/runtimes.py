"""Makes models ready for one pass after the other in a runtime: eager, compile or onnxruntime."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from harness.delivery import onnx_file
from harness.delivery.formats import write_formats
from harness.delivery.quiet import quiet
from harness.metrics.peak_memory import peak_bytes
from harness.metrics.stopwatch import waiting
from harness.model_state.whole_state import whole_state
from harness.vocabulary.given.inputs import (
    Inputs,
    call_model,
    device_of,
    first_samples,
    floats_to,
    input_tensors,
)
from harness.vocabulary.undisturbed import deepcopy_model


@dataclass(frozen=True)
class Ready:
    """Holds what a measurement needs of one model.

    Args:
        run: one pass; returns when all is done that it started, on a GPU too.
        model: the copy that runs, in eval mode.
        file_bytes: of its tensors in a file, or of the file that the runtime reads.
        peak: measures the most memory that a pass needs at once, in bytes; None where nothing can
            measure it.
    """

    run: Callable[[], object]
    model: nn.Module
    file_bytes: int
    peak: Callable[[], int] | None


@dataclass
class OnnxFiles:
    """Keeps the ONNX files of models: one serves every batch size and number of threads."""

    _made: dict[tuple[nn.Module, torch.dtype], bytes] = field(default_factory=dict)

    def of(self, model: nn.Module, inputs: Inputs, dtype: torch.dtype) -> bytes:
        """Returns the content of the file, which is written at the first call.

        Raises:
            ValueError: ONNX cannot express the model.
        """
        if (model, dtype) not in self._made:
            with TemporaryDirectory() as folder:
                copy = deepcopy_model(model).to(dtype)
                try:
                    path = write_formats(copy, first_samples(inputs, 2), Path(folder), ["onnx"])[
                        "onnx"
                    ]
                except ValueError as error:  # without the advice, which is about the key export
                    raise ValueError(str(error).partition(";")[0]) from error
                self._made[model, dtype] = path.read_bytes()
        return self._made[model, dtype]


def make_ready(
    runtime: str,
    model: nn.Module,
    inputs: Inputs,
    dtype: torch.dtype,
    threads: int,
    files: OnnxFiles,
) -> Ready:
    """Returns a copy of the model, ready to run these inputs under torch.no_grad.

    Its first pass was run. The given model does not change.

    Args:
        runtime: "eager", "compile" or "onnxruntime".
        model: on the device of the inputs.
        inputs: in the dtype of the run.
        dtype: of the copy and its inputs; whole numbers stay as they are.
        threads: intra-op threads of onnxruntime. torch's are those in force.
        files: of earlier calls.

    Raises:
        ValueError: the runtime cannot run the model so, or not on this device.
        Exception: what torch or the runtime raises.
    """
    copy = deepcopy_model(model).to(dtype).eval()
    inputs = floats_to(inputs, dtype)
    if runtime == "onnxruntime":
        _check_onnx(inputs, dtype)
        content = files.of(model, inputs, dtype)
        run = onnx_file.read(content, threads)
        run(inputs)
        return Ready(lambda: run(inputs), copy, len(content), None)
    return _eager(copy, inputs) if runtime == "eager" else _compiled(copy, inputs)


def _eager(model: nn.Module, inputs: Inputs) -> Ready:
    run = waiting(lambda: call_model(model, inputs), device_of(inputs))
    run()
    return Ready(run, model, _file_bytes(model), _peak(model, inputs, run))


def _compiled(model: nn.Module, inputs: Inputs) -> Ready:
    """Returns the model compiled for the shape of the inputs, in this process alone."""
    with quiet():
        import torch._inductor.config as options

        compiled = torch.compile(model, dynamic=False)
        run = waiting(lambda: call_model(compiled, inputs), device_of(inputs))
        with options.patch(compile_threads=1):
            run()
    on_gpu = device_of(inputs).type == "cuda"
    return Ready(run, model, _file_bytes(model), _peak(model, inputs, run) if on_gpu else None)


def _check_onnx(inputs: Inputs, dtype: torch.dtype) -> None:
    if device_of(inputs).type != "cpu":
        raise ValueError("onnxruntime is measured on the CPU only; use device=cpu")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError("onnxruntime is measured in float32 and float64 only")


def _file_bytes(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in whole_state(model).values())


def _peak(model: nn.Module, inputs: Inputs, run: Callable[[], object]) -> Callable[[], int]:
    given = [*model.parameters(), *model.buffers(), *input_tensors(inputs)]
    return lambda: peak_bytes(run, device_of(inputs), given)
