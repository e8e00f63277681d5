"""Writes and runs a program of torch.export: torch.export.load(FILE).module()(inputs)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.nested import iter_tensors


def write(program: ExportedProgram, names: list[str], path: Path) -> None:
    torch.export.save(program, path)


def read(path: Path) -> Callable[[Any], list[Tensor]]:
    module = torch.export.load(path).module()

    def run(inputs: Any) -> list[Tensor]:
        with torch.no_grad():
            return list(iter_tensors(call_model(module, inputs)))

    return run
