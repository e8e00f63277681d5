"""Says what torch's operators multiply, as formulas, and which operators pass entries on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.vocabulary.tensors import dense_parts


@dataclass(frozen=True)
class Products:
    """Holds `total` multiply-accumulates, each with one entry of every operand."""

    total: int
    operands: Sequence[Tensor]


def _matrices(left: Tensor, right: Tensor) -> list[Products]:
    """Counts m k n for each of the batch, of (..., m, k) x (..., k, n) or (..., k).

    Of a sparse matrix only the entries that it holds count.
    """
    columns = right.shape[-1] if right.dim() > 1 else 1
    if right.layout is not torch.strided:
        return [Products(_entries(right) * left.shape[-2], (right, left))]
    return [Products(_entries(left) * columns, (right, left))]


def _entries(tensor: Tensor) -> int:
    return tensor.numel() if tensor.layout is torch.strided else dense_parts(tensor)[-1].numel()


def _outer(left: Tensor, right: Tensor) -> list[Products]:
    return [Products(left.numel() * right.numel(), (left, right))]


def _convolution(args: Sequence[Any], out: Any) -> list[Products]:
    """Counts weights x pixels of the output, those over padding too.

    For a transposed convolution, pixels of the input count.
    """
    inputs, weight, transposed = args[0], args[1], args[6]
    channels_first = inputs if transposed else out
    batch = channels_first.dim() == weight.dim()
    channels = weight.shape[0] if not transposed else inputs.shape[1 if batch else 0]
    return [Products(weight.numel() * (channels_first.numel() // channels), (weight, inputs))]


def _attention(args: Sequence[Any], out: Any) -> list[Products]:
    """Counts Q K^T and attention x V over all positions, masked ones too.

    Shapes are (batch, heads, positions, e).
    """
    query, key, value = args[:3]
    pairs = math.prod(query.shape[:-1]) * key.shape[-2]
    return [
        Products(pairs * query.shape[-1], (query, key)),
        Products(pairs * value.shape[-1], (value,)),
    ]


def _recurrent(inputs: Tensor, weights: Sequence[Tensor]) -> list[Products]:
    """Counts every matrix of a recurrent layer, once at each step of each sequence."""
    steps = inputs.numel() // inputs.shape[-1]
    return [Products(tensor.numel() * steps, (tensor,)) for tensor in weights if tensor.dim() > 1]


def _trilinear(args: Sequence[Any], out: Any) -> list[Products]:
    """Counts weights x samples of nn.Bilinear; multiplying by the second input comes free."""
    factors = [_with_ones(tensor, where) for tensor, where in zip(args[:3], args[3:6], strict=True)]
    total = math.prod(torch.broadcast_shapes(*(tuple(tensor.shape) for tensor in factors)))
    return [Products(total, (args[1], args[0], args[2]))]


def _with_ones(tensor: Tensor, where: Sequence[int]) -> Tensor:
    for dim in sorted(where):
        tensor = tensor.unsqueeze(dim)
    return tensor


Formula = Callable[[Sequence[Any], Any], list[Products]]

FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(
        ("mm", "bmm", "mv", "_int_mm", "_scaled_mm", "_sparse_mm"),
        lambda a, out: _matrices(*a[:2]),
    ),
    **dict.fromkeys(
        ("addmm", "baddbmm", "addbmm", "addmv", "_addmm_activation", "_sparse_addmm"),
        lambda a, out: _matrices(*a[1:3]),
    ),
    **dict.fromkeys(("dot", "vdot"), lambda a, out: [Products(a[0].numel(), a[:2])]),
    "addr": lambda a, out: _outer(*a[1:3]),
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        _attention,
    ),
    "mkldnn_rnn_layer": lambda a, out: _recurrent(a[0], a[1:5]),
    "_cudnn_rnn": lambda a, out: _recurrent(a[0], a[1]),
    "miopen_rnn": lambda a, out: _recurrent(a[0], a[1]),
    "_trilinear": _trilinear,
}

# Entry by entry, and 0 stays 0.
SAME = {"clone", "_to_copy", "lift_fresh", "neg", "abs", "sign", "sgn", "contiguous"}
# Entries go elsewhere, are repeated or left out; applied to their numbers they say where.
MOVES = {
    "cat", "stack", "index", "index_select", "gather", "take", "repeat", "roll", "flip",
    "constant_pad_nd", "tril", "triu", "where", "masked_fill", "masked_select",
}  # fmt: skip
# Where a number among the arguments fills positions that hold no entry.
FILLS = {"constant_pad_nd": (2,), "masked_fill": (2,), "where": (1, 2)}
COMMUTE = {"mul"}
SCALES = {"mul", "div"}
SUMS = {"sum", "mean"}
# Values are written into another tensor's memory.
WRITES = {"copy", "index_put", "index_copy", "scatter", "masked_scatter", "set", "put", "index_add"}
# Elementwise, but with a product of their own.
FUSED = {"addcmul", "addcdiv", "lerp"}
# Of inputs and parameters, without a sum of products in the sense of the literature: look-ups,
# norms, activations with a slope. All elementwise operators are such ones too.
NOTHING = {
    "embedding", "_embedding_bag", "_embedding_bag_forward_only", "embedding_renorm",
    "native_layer_norm", "native_group_norm", "native_batch_norm", "batch_norm",
    "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "miopen_batch_norm", "_batch_norm_no_update", "_batch_norm_with_update", "_fused_rms_norm",
    "_prelu_kernel", "rrelu_with_noise", "_local_scalar_dense", "equal", "is_same_size",
}  # fmt: skip
# Take a tensor's shape, not its values.
SHAPED = {
    "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty",
    "new_zeros", "new_ones", "new_full", "new_empty_strided",
}  # fmt: skip


def base_name(func: Any) -> str:
    """Returns the name of an operator, in place or not: "add" of aten.add_.Tensor.

    >>> base_name(torch.ops.aten.add_.Tensor)
    'add'
    """
    name: str = func.overloadpacket.__name__
    if func.namespace != "aten":
        return f"{func.namespace}::{name}"
    return name if name.startswith("__") else name.rstrip("_")


def is_elementwise(func: Any) -> bool:
    return func.namespace == "aten" and torch.Tag.pointwise in func.tags


def is_composite(func: Any) -> bool:
    """True if it is made of other operators, which inference mode does not show by itself."""
    result: bool = torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), "CompositeImplicitAutograd"
    )
    return result
