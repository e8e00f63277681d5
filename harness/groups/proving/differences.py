"""Compares tensors of a masked network with those of the network without the removed units."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product

import torch
from torch import Tensor

from harness.groups.group import KeptIndices
from harness.groups.removal import slice_tensor

# Below this magnitude a tensor counts as rounding noise, as a constant channel after BatchNorm.
NOISE = 1e-3
MOST_LAYOUTS = 64

Sizes = tuple[int, int]  # of a dimension in the masked network, and in the smaller one


class Difference(Exception):
    """Says where two networks differ first.

    Args:
        reached: how many calls of modules were equal before; and, if the network failed, how many
            modules it had called, which tells failures after the same equal calls apart.
        module: whose output differs, or that failed.
        error: relative, or infinite.
        problem: the error that was raised in the module, or "".
        where: what of it differs.
    """

    def __init__(
        self,
        reached: tuple[int, int],
        module: str,
        error: float,
        problem: str = "",
        where: str = "output",
    ):
        super().__init__(module, error, problem)
        self.reached, self.module, self.error = reached, module, error
        self.problem, self.where = problem, where


class Layouts:
    """Knows which indices may be left of a dimension, by its size before and after."""

    def __init__(self, cut: KeptIndices, kept_units: Iterable[Tensor], tolerance: float):
        self._known: dict[Sizes, list[Tensor]] = {}
        self._own: dict[tuple[str, Sizes], list[Tensor]] = {}
        self._cut = cut
        self._with_tensors = {name.rpartition(".")[0] for name in cut}
        self._tolerance = tolerance
        for flags in kept_units:
            self._add(len(flags), flags.nonzero().flatten().cpu())

    def add_tensor(self, name: str, shape: torch.Size) -> None:
        """Adds the indices that are left of a dense tensor of this shape."""
        for dim, kept in enumerate(self._cut.get(name, ())):
            if kept is not None:
                sizes = self._add(shape[dim], kept.cpu())
                module = name.rpartition(".")[0]
                self._own.setdefault((module, sizes), []).append(kept.cpu())

    def error(self, small: Tensor, masked: Tensor, module: str) -> float | None:
        """Returns the relative error on kept indices, at the layout that fits, or fits best.

        None if it is unknown which indices of a dimension are left: none are known, or none of
        those known fit what a module without tensors returns, which may be in any layout. Tries the
        indices of the module's own tensors first, then those that fitted last.
        """
        if small.dim() != masked.dim():
            return None
        best = None
        for chosen in self._layouts(small, masked, module):
            error = relative_error(small, slice_tensor(masked, chosen))
            best = error if best is None else min(best, error)
            if best <= self._tolerance:
                self._prefer(masked.shape, chosen)
                return best
        return best if small.shape == masked.shape or module in self._with_tensors else None

    def _layouts(
        self, small: Tensor, masked: Tensor, module: str
    ) -> Iterator[tuple[Tensor | None, ...]]:
        choices: list[Sequence[Tensor | None]] = [
            [None]
            if old == new
            else [*self._own.get((module, (old, new)), ()), *self._known.get((old, new), ())]
            for old, new in zip(masked.shape, small.shape, strict=True)
        ]
        yield from islice(product(*choices), MOST_LAYOUTS)

    def _prefer(self, shape: torch.Size, chosen: tuple[Tensor | None, ...]) -> None:
        """Lets the next tensor try these indices first: activations follow their layer."""
        for size, indices in zip(shape, chosen, strict=True):
            if indices is not None:
                known = self._known[size, len(indices)]
                known[:] = [indices, *(other for other in known if not torch.equal(other, indices))]

    def _add(self, size: int, kept: Tensor) -> Sizes:
        known = self._known.setdefault((size, len(kept)), [])
        if len(kept) < size and not any(torch.equal(kept, other) for other in known):
            known.append(kept)
        return size, len(kept)


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
