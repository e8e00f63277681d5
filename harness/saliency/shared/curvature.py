"""Computes with second-order matrices of weights: memory, live blocks, factors."""

import logging
from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated

import torch
from torch import Tensor, nn

from harness.saliency.base import Saliency
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors

GB = 10**9
DOUBLE = 8  # bytes of a float64
# Numbers of matrix entries that are worked on at once: 32 MiB in float64.
CHUNK = 2**22
# Copies of a matrix while it is restricted, factored and solved with, as measured.
COPIES = 10
# The sums, what the ranks add up, and the means.
STAGES = 3


def check_memory(
    owner: str, matrices: Mapping[str, tuple[int, ...]], work: int, limit_gb: float, remedy: str
) -> None:
    """Logs the peak memory of float64 matrices of these shapes, beside model and activations.

    The larger counts: sums, their copies for the ranks, and means at the end of statistics; or
    once the matrices and `work` numbers more.

    Raises:
        ValueError: it is more than limit_gb (1 GB = 10^9 bytes).
    """
    sizes = {name: prod(shape) for name, shape in matrices.items()}
    whole, largest = sum(sizes.values()), max(sizes, key=lambda name: sizes[name], default="")
    peak_gb = DOUBLE * max(STAGES * whole, whole + work) / GB
    if peak_gb > limit_gb:
        raise ValueError(
            f"{owner} needs {peak_gb:.3g} GB beside the model, most of it for {largest}, and "
            f"memory_limit_gb is {limit_gb:g}; {remedy}, or raise memory_limit_gb"
        )
    logging.getLogger(__name__).info("%s needs up to %.3g GB beside the model", owner, peak_gb)


LIMIT = "a number above 0 or inf"


@dataclass(frozen=True)
class SecondOrder(Saliency, ABC):
    """Has the fields of saliencies with a matrix per layer.

    block: numbers of a diagonal block.
    damping: what is added to the diagonal.
    update_weights: whether the kept weights move.
    memory_limit_gb: what this may take beside the model, in GB (10^9 bytes).

    Raises:
        ValueError: a field is out of range.
    """

    block: Annotated[int, "a whole number >= 1"] = 128
    damping: Annotated[float, "a number >= 0"] = 0.01
    update_weights: bool = True
    memory_limit_gb: Annotated[float, LIMIT] = 8.0

    def __post_init__(self) -> None:
        check_declared(self)


def matrix_shape(layer: nn.Module, block: int | None = None) -> tuple[int, int, int, int]:
    """Returns (groups, blocks, b, b) of `input_products`, for the rows of this layer's weight."""
    columns = layer.get_parameter("weight").shape[1:].numel()
    size = min(block or columns, columns)
    return getattr(layer, "groups", 1), -(-columns // size), size, size


def input_products(inputs: Tensor, block: int | None = None) -> Tensor:
    """Returns 2 X X^T in diagonal blocks, for inputs (groups, positions, columns).

    The result is (groups, blocks, b, b).

    A block has `block` columns, or all (None). If they do not divide, the last block ends in
    columns of zeros.
    """
    size = min(block or inputs.shape[-1], inputs.shape[-1])
    cut = blocked(inputs, size)
    return 2 * cut.transpose(-1, -2) @ cut


def blocked(rows: Tensor, size: int) -> Tensor:
    """Cuts (groups, rows, columns) into (groups, blocks, rows, size).

    The last block is filled with 0.
    """
    missing = -rows.shape[-1] % size
    padded = torch.nn.functional.pad(rows, (0, missing))
    cut: Tensor = padded.unflatten(-1, (-1, size))
    return cut.transpose(1, 2)


def unblocked(blocks: Tensor, columns: int) -> Tensor:
    """Returns the inverse of `blocked`."""
    return blocks.transpose(1, 2).flatten(2)[..., :columns]


def by_group(weight: Tensor, matrices: Tensor) -> Tensor:
    """Reshapes a weight to (groups, rows of a group, columns), for matrices (groups, ...)."""
    return weight.reshape(matrices.shape[0], -1, weight.shape[1:].numel())


def damped(matrices: Tensor, columns: int, damping: float) -> Tensor:
    """Adds damping x (mean of the diagonal) to the diagonal.

    Inputs that are always 0 get 1 on the diagonal first.

    matrices: (groups, blocks, b, b); the mean is over the `columns` of each group that there are.
    """
    diagonal = matrices.diagonal(dim1=-2, dim2=-1)
    filled = torch.where(diagonal == 0, 1.0, diagonal)
    real = filled.flatten(1)[:, :columns]
    added = filled - diagonal + damping * real.mean(dim=1)[:, None, None]
    return matrices + added.diag_embed()


def restrict_to_live(matrix: Tensor, live: Tensor) -> Tensor:
    """Returns the live block of a matrix, the identity elsewhere: (..., b, b), bool (..., b)."""
    both = live.unsqueeze(-1) & live.unsqueeze(-2)
    return torch.where(both, matrix, (~live).to(matrix).diag_embed())


def factor(matrix: Tensor, name: str) -> Tensor:
    """Returns the lower Cholesky factor of (..., b, b).

    Raises:
        ValueError: the matrix is not positive definite, or so nearly that rounding decides.
    """
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(matrix)
    noise = torch.finfo(matrix.dtype).eps * matrix.shape[-1]
    pivots, diagonal = (part.diagonal(dim1=-2, dim2=-1) for part in (lower, matrix))
    if bool(failed.any()) or bool((pivots.square() <= noise * diagonal).any()):
        raise ValueError(
            f"{name}: its curvature is not positive definite; raise damping, or calibrate with "
            "more samples"
        )
    return lower


def inverse(matrix: Tensor, name: str) -> Tensor:
    """Returns the inverse of a positive definite matrix.

    Raises:
        ValueError: the matrix is not positive definite.
    """
    return torch.cholesky_inverse(factor(matrix, name))


def in_chunks(work: Callable[..., Tensor], dim: int, entries: int, *parts: Tensor) -> Tensor:
    """Returns work(*parts), computed for a few slices of dimension `dim` at once.

    entries: of a slice's matrices.
    """
    cut = [part.split(chunk_length(entries), dim) for part in parts]
    return torch.cat([work(*chunk) for chunk in zip(*cut, strict=True)], dim)


def chunk_length(entries: int) -> int:
    """Returns how many slices of `entries` matrix entries are computed at once."""
    return max(1, CHUNK // max(1, entries))


def to_score_dtype(score: Tensor, weight: Tensor) -> Tensor:
    """Returns the score in the weight's dtype, in float32 at least."""
    return score.to(torch.promote_types(weight.dtype, torch.float32))


def newly_pruned(weights: Tensors, masks: Tensors) -> dict[str, Tensor]:
    """Returns True where a weight that is not 0 is pruned.

    Tensors that lose none are left out.
    """
    newly = {name: (weight != 0) & ~masks[name] for name, weight in weights.items()}
    return {name: removed for name, removed in newly.items() if removed.any()}
