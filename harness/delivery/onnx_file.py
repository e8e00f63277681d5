"""Writes and runs files of ONNX, which onnxruntime and many compilers read."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from harness.delivery.quiet import quiet
from harness.extras import check_extra
from harness.vocabulary.given.errors import first_line

OPERATOR = re.compile(r"OpOverload\(op='([\w.]+)'|No ONNX function found for .*?(aten[\w.:]+)")


def check() -> None:
    """Checks that the packages are installed.

    Raises:
        MissingExtra: one is not.
    """
    check_extra("export", "export=onnx")


def write(program: ExportedProgram, names: list[str], path: Path) -> None:
    """Writes one file with weights inside.

    names: of the inputs.

    Raises:
        ValueError: ONNX has no such operator; names it.
    """
    check()
    try:
        with quiet():
            torch.onnx.export(
                program, (), path, input_names=names, dynamo=True, external_data=False,
                verbose=False,
            )  # fmt: skip
    except Exception as error:  # its own kinds are not public
        found = OPERATOR.search(str(error))
        which = f"the operator {found[1] or found[2]}" if found else first_line(error)
        raise ValueError(
            f"export=onnx: ONNX cannot express {which}; replace it in the model, or use "
            "export=[torch_export]"
        ) from error


def read(file: Path | bytes, threads: int = 0) -> Callable[[Any], list[Tensor]]:
    """Returns a function that runs a file, or its content, on the CPU.

    threads: intra-op threads; 0: as many as onnxruntime chooses.
    """
    check()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(inputs: Any) -> list[Tensor]:
        given = [*inputs.values()] if isinstance(inputs, Mapping) else [inputs]
        arrays = {name: value.numpy() for name, value in zip(names, given, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, arrays)]

    return run
