"""Compares tensors of a masked network with those of the network without the removed units."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, product

import torch
from torch import Tensor

from harness.groups.group import KeptIndices

# Below this magnitude a tensor counts as rounding noise, as a constant channel after BatchNorm.
NOISE = 1e-3
MOST_LAYOUTS = 64

Sizes = tuple[int, int]  # of a dimension in the masked network, and in the smaller one


class Difference(Exception):
    """Says where two networks differ first.

    Args:
        position: how many calls of modules were equal before.
        module: whose output differs, or that failed.
        error: relative, or infinite.
        problem: the error that was raised in the module, or "".
        where: what of it differs.
    """

    def __init__(
        self, position: int, module: str, error: float, problem: str = "", where: str = "output"
    ):
        super().__init__(module, error, problem)
        self.position, self.module, self.error = position, module, error
        self.problem, self.where = problem, where


class Layouts:
    """Knows which indices may be left of a dimension, by its size before and after."""

    def __init__(self, cut: KeptIndices, kept_units: Iterable[Tensor]):
        self._known: dict[Sizes, list[Tensor]] = {}
        self._own: Mapping[str, tuple[Tensor | None, ...]] = cut
        for flags in kept_units:
            self._add(len(flags), flags.nonzero().flatten().cpu())

    def add_tensor(self, name: str, shape: torch.Size) -> None:
        """Adds the indices that are left of a dense tensor of this shape."""
        for dim, kept in enumerate(self._own.get(name, ())):
            if kept is not None:
                self._add(shape[dim], kept.cpu())

    def error(self, small: Tensor, masked: Tensor) -> float | None:
        """Returns the relative error on kept indices, at the layout that fits best.

        None if no known indices are left of a dimension of another size.
        """
        if small.dim() != masked.dim():
            return None
        errors = (relative_error(small, part) for part in self._parts(small, masked))
        best = None
        for error in errors:
            best = error if best is None else min(best, error)
            if best < 1e-12:
                break
        return best

    def _parts(self, small: Tensor, masked: Tensor) -> Iterator[Tensor]:
        choices = [
            [None] if old == new else self._known.get((old, new), [])
            for old, new in zip(masked.shape, small.shape, strict=True)
        ]
        for chosen in islice(product(*choices), MOST_LAYOUTS):
            part = masked
            for dim, indices in enumerate(chosen):
                if indices is not None:
                    part = part.index_select(dim, indices.to(part.device))
            yield part

    def _add(self, size: int, kept: Tensor) -> None:
        known = self._known.setdefault((size, len(kept)), [])
        if len(kept) < size and not any(torch.equal(kept, other) for other in known):
            known.append(kept)


def relative_error(small: Tensor, masked: Tensor) -> float:
    """Returns max|small - masked| / max|masked|; infinity if shapes or non-finite entries differ.

    Magnitudes below 0.001 count as 0.001, because a tensor of rounding noise has no relative error.

    >>> relative_error(torch.tensor([1.0, 4.5]), torch.tensor([1.0, 4.0]))
    0.125
    """
    if small.shape != masked.shape:
        return float("inf")
    if not small.numel():
        return 0.0
    if not masked.is_floating_point() and not masked.is_complex():
        return 0.0 if torch.equal(small, masked) else float("inf")
    finite = masked.isfinite()
    if not torch.equal(finite, small.isfinite()):
        return float("inf")
    if not finite.all():
        odd = [t[~finite].nan_to_num(nan=0.0, posinf=1.0, neginf=-1.0) for t in (small, masked)]
        if not torch.equal(*odd):
            return float("inf")
        small, masked = small[finite], masked[finite]
    if not small.numel():
        return 0.0
    scale = max(float(masked.abs().max()), NOISE)
    return float((small - masked).abs().max()) / scale
