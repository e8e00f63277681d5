"""Stores weights of linear layers in a sparse form in which torch skips their zeros."""

import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.delivery.compared import differences, outputs_of
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.tensors import Tensors
from harness.vocabulary.undisturbed import deepcopy_model

Layout = Literal["csr", "semi_structured"]
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
HALF = 2e-2  # of float16 and bfloat16
AMPERE = (8, 0)  # compute capability from which a GPU multiplies 2:4 weights


class CsrLinear(nn.Module):
    """y = x W^T + b, with W (outputs, inputs) in compressed sparse rows; for inference.

    Its buffers are dense, so that it is copied, moved and saved as any other module: the values
    that are not 0, row by row; their columns; the position of each row's first value; the bias.
    """

    values: Tensor
    columns: Tensor
    starts: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        with warnings.catch_warnings(action="ignore"):  # that CSR is in beta
            rows = weight.detach().to_sparse_csr()
        self.register_buffer("values", rows.values())
        self.register_buffer("columns", rows.col_indices().int())
        self.register_buffer("starts", rows.crow_indices().int())
        self.register_buffer("bias", None if bias is None else bias.detach())

    @property
    def weight(self) -> Tensor:
        """Returns W in the layout torch.sparse_csr."""
        size = (self.out_features, self.in_features)
        return torch.sparse_csr_tensor(
            self.starts, self.columns, self.values, size, check_invariants=False
        )

    def forward(self, inputs: Tensor) -> Tensor:
        # (W x^T)^T, because functional.linear is ten times slower with a weight in CSR.
        columns = inputs.reshape(-1, self.in_features).t()
        rows = self.weight @ columns
        outputs = rows.t() if self.bias is None else rows.t() + self.bias
        return outputs.reshape(*inputs.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        density = self.values.numel() / (self.in_features * self.out_features)
        return f"in_features={self.in_features}, out_features={self.out_features}, {density=:.3f}"


def sparse_model(
    model: nn.Module, masks: Tensors, example_input: Any, layout: Layout, max_density: float
) -> nn.Module:
    """Returns a copy of the masked model, in eval mode, with sparse weights in linear layers.

    Args:
        masks: parameter name -> bool of its shape, True stays.
        example_input: a batch of inputs, or a dictionary of keyword arguments.
        layout: "csr", or "semi_structured" for 2:4 weights on a GPU.
        max_density: layers of which more is left stay dense.

    Raises:
        ValueError: no layer is so sparse, the device cannot multiply such weights, or the outputs
            are not those of the masked model.
    """
    masked = deepcopy_model(model).eval()
    with torch.no_grad():
        for name, mask in masks.items():
            parameter = masked.get_parameter(name)
            parameter.mul_(mask.to(parameter.device))
    names = _sparse_layers(masked, masks, max_density)
    sparse = deepcopy_model(masked)
    for name in names:
        path, _, leaf = name.rpartition(".")
        parent, layer = sparse.get_submodule(path), sparse.get_submodule(name)
        setattr(parent, leaf, _converted(name, layer, layout))
    _compare(sparse, masked, example_input, layout)
    return sparse


def _sparse_layers(model: nn.Module, masks: Tensors, max_density: float) -> list[str]:
    found = {
        name: float(masks[f"{name}.weight"].float().mean())
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and name and f"{name}.weight" in masks
    }
    names = [name for name, density in found.items() if density <= max_density]
    if not names:
        sparsest = min(found, key=lambda name: found[name], default="")
        least = f"{sparsest} keeps {found[sparsest]:.3g}" if found else "it has no masked ones"
        raise ValueError(
            f"no linear layer of {type(model).__name__} keeps at most max_density={max_density:g} "
            f"of its weights ({least}); prune more, or remove whole units with harness.compact"
        )
    return names


def _converted(name: str, layer: Any, layout: Layout) -> nn.Module:
    if layout == "csr":
        return CsrLinear(layer.weight, layer.bias)
    device = layer.weight.device
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < AMPERE:
        raise ValueError(
            f"layout=semi_structured needs a GPU of compute capability 8.0 or more, and {name} is "
            f"on {device}; move the model there, or use layout=csr"
        )
    with warnings.catch_warnings(action="ignore"):  # that it is in beta
        weight = torch.sparse.to_sparse_semi_structured(layer.weight.detach())
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer  # type: ignore[no-any-return]


def _compare(sparse: nn.Module, masked: nn.Module, example_input: Any, layout: Layout) -> None:
    expected = outputs_of(masked, example_input)
    try:
        found = outputs_of(sparse, example_input)
    except (RuntimeError, AttributeError, TypeError) as error:  # of a layout or a weight
        raise ValueError(
            f"layout={layout}: {type(masked).__name__} fails with sparse weights "
            f"({first_line(error)}); use another dtype or layout"
        ) from error
    for worst, output in zip(differences(found, expected), expected, strict=True):
        if not worst <= TOLERANCE.get(output.dtype, HALF):
            raise ValueError(
                f"layout={layout}: outputs differ from those of the masked model by {worst:.0e} x "
                "their maximum; the model reads weights in another way than its linear layers do"
            )
