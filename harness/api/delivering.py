"""Writes models for other runtimes, and stores weights in sparse form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from harness.delivery.formats import FormatName, write_formats
from harness.delivery.sparse_linear import Layout, sparse_model
from harness.model_state.usable import check_usable
from harness.pruning.prunable import first_names
from harness.vocabulary.checks import problem_of
from harness.vocabulary.given.masks import as_bool


def export(
    model: nn.Module,
    example_input: Any,
    folder: str | Path,
    formats: Sequence[FormatName] = ("onnx", "torch_export"),
) -> dict[str, Path]:
    """Writes model.onnx and model.pt2, with a batch of any size, and returns their paths.

    Each file is run before it stays: max|file - model| <= 1e-4 x max|model| for one, two and three
    inputs. They are of a copy of the model on the CPU, in eval mode.

    Args:
        example_input: a batch of inputs, or a dictionary of keyword arguments
        folder: is made if it is missing
        formats: "onnx" (onnxruntime runs it; needs the extra `export`), "torch_export"
            (torch.export.load reads it)

    >>> import harness, tempfile, torch
    >>> model = torch.nn.Linear(4, 2).eval()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = harness.export(model, torch.randn(2, 4), folder, ["torch_export"])
    ...     program = torch.export.load(files["torch_export"]).module()
    >>> program(torch.zeros(7, 4)).shape
    torch.Size([7, 2])

    Raises:
        ValueError: a format is unknown or its packages are missing, torch cannot trace the model,
            ONNX has no such operator, or a file computes another function.
    """
    check_usable(model)
    return write_formats(model, example_input, Path(folder), formats)


def sparse(
    model: nn.Module,
    masks: dict[str, Tensor],
    example_input: Any,
    layout: Layout = "csr",
    max_density: float | None = None,
) -> nn.Module:
    """Returns a copy of the masked model whose linear layers skip the zeros of their weights.

    It is for inference: in eval mode, and its sparse weights do not train. Its outputs are compared
    with those of the masked model before it is returned: 1e-4 relative in float32, 1e-9 in float64.

    Args:
        masks: parameter name -> tensor of its shape, True or 1 where a weight stays
        example_input: a batch of inputs, or a dictionary of keyword arguments
        layout: "csr": compressed sparse rows, on any device; "semi_structured": weights of
            structure n_m with n=2 and m=4, on a GPU of compute capability 8.0 or more
        max_density: layers of which more is left stay dense; None is 0.2 of "csr", which is slower
            above that, and 0.5 of "semi_structured"

    >>> import harness, torch
    >>> from torch import nn
    >>> model, inputs = nn.Sequential(nn.Linear(64, 64), nn.ReLU()), torch.randn(2, 64)
    >>> masks = harness.prune(model, 0.1)
    >>> harness.sparse(model, masks, inputs)[0]
    CsrLinear(in_features=64, out_features=64, density=0.100)

    Raises:
        ValueError: no linear layer is so sparse, the device cannot multiply such weights, the masks
            are of another model, or the outputs differ.
    """
    check_usable(model)
    if problem := problem_of(layout, Layout):
        raise ValueError(f"layout {problem}")
    most = {"csr": 0.2, "semi_structured": 0.5}[layout] if max_density is None else max_density
    return sparse_model(model, first_names(model, as_bool(masks)), example_input, layout, most)
