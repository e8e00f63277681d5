"""Writes a model as files of other runtimes, each compared with the model before it stays."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from harness.delivery import onnx_file, torch_export_file
from harness.delivery.compared import differences, outputs_of
from harness.delivery.quiet import quiet
from harness.run_folder.outcome import EXPORTS
from harness.system.atomic_files import write_atomic, writing
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.undisturbed import deepcopy_model

FormatName = Literal["onnx", "torch_export"]
TOLERANCE = 1e-4
Run = Callable[[Any], list[Tensor]]  # inputs, as of the model -> its outputs


class Format(NamedTuple):
    """Holds the functions of one format.

    Args:
        check: raises MissingExtra where a package is missing.
        write: writes a program, whose inputs have these names, to a file.
        read: returns a function that runs a file.
    """

    check: Callable[[], None]
    write: Callable[[ExportedProgram, list[str], Path], None]
    read: Callable[[Path], Run]


FORMATS: dict[str, Format] = {
    "onnx": Format(onnx_file.check, onnx_file.write, onnx_file.read),
    "torch_export": Format(lambda: None, torch_export_file.write, torch_export_file.read),
}


def check_formats(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of formats, all of which are known and have their packages.

    Raises:
        ValueError: a format is unknown.
        MissingExtra: a package is missing; names the pip command.
    """
    checked = tuple(dict.fromkeys(names))
    for name in checked:
        if name not in FORMATS:
            raise ValueError(f"export={name!r} is no format; choose of {', '.join(FORMATS)}")
        FORMATS[name].check()
    return checked


def write_formats(
    model: nn.Module, example_input: Any, folder: Path, names: Iterable[str]
) -> dict[str, Path]:
    """Writes files of the model in eval mode, with a batch of any size, and returns their paths.

    Each file is run with one, two and three inputs. It stays where its outputs are those of the
    model: max|file - model| <= 1e-4 x max|model|. The given model does not change.

    Args:
        model: on any device; the files are of a copy on the CPU.
        example_input: a batch of inputs, or a dictionary of keyword arguments.
        folder: made if it is missing.
        names: of FORMATS.

    Raises:
        ValueError: torch cannot trace the model, a format has no such operator, or a file computes
            another function.
        MissingExtra: a package is missing.
        CannotWrite: the disk is full, read-only or gone.
    """
    names = check_formats(names)
    copy = deepcopy_model(model).cpu().eval()
    inputs = _resized(example_input, 2)
    program = _trace(copy, inputs)
    written = {}
    with TemporaryDirectory() as home:
        for name in names:
            path = folder / Path(EXPORTS[name]).name
            temporary = Path(home) / path.name
            FORMATS[name].write(program, _names(inputs), temporary)
            _compare(name, copy, inputs, FORMATS[name].read(temporary))
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, temporary.read_bytes())
            written[name] = path
    return written


def _trace(model: nn.Module, inputs: Any) -> ExportedProgram:
    batch = Dim("batch")
    args, keys = ((), inputs) if isinstance(inputs, Mapping) else ((inputs,), None)
    dynamic: Any = {name: {0: batch} for name in inputs} if keys else ({0: batch},)
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(model, args, keys, dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # whatever the code of a model raises while it is traced
        raise ValueError(
            f"export: torch.export cannot trace {type(model).__name__} with a batch of any size "
            f"({type(error).__name__}: {first_line(error)}); change its forward, or leave export "
            "empty"
        ) from error


def _compare(name: str, model: nn.Module, inputs: Any, run: Run) -> None:
    for size in (1, 2, 3):
        batch = _resized(inputs, size)
        expected = outputs_of(model, batch)
        try:
            found = run(batch)
        except Exception as error:  # a runtime may raise anything
            raise ValueError(
                f"export={name}: its file fails with a batch of {size} "
                f"({type(error).__name__}: {first_line(error)})"
            ) from error
        worst = max(differences(found, expected), default=0)
        if not worst <= TOLERANCE:
            raise ValueError(
                f"export={name}: its outputs differ from the model's by {worst:.0e} x their "
                f"maximum with a batch of {size}; at most {TOLERANCE:.0e} is rounding"
            )


def _resized(inputs: Any, size: int) -> Any:
    """Returns inputs of this batch size, which repeat the given ones."""
    if isinstance(inputs, Mapping):
        return {name: _resized(value, size) for name, value in inputs.items()}
    return inputs.cpu()[torch.arange(size) % len(inputs)]


def _names(inputs: Any) -> list[str]:
    return list(inputs) if isinstance(inputs, Mapping) else ["input"]
