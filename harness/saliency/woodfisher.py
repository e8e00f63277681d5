from dataclasses import dataclass
from itertools import islice
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from harness.saliency.base import CalibrationData
from harness.saliency.shared import curvature
from harness.saliency.shared.curvature import in_chunks, restrict_to_live
from harness.saliency.shared.gradient_statistics import check_finite, sample_gradients
from harness.vocabulary.tensors import Companions, Tensors

# Gradients of samples that are added at once: a product instead of many outer ones.
SAMPLES_AT_ONCE = 16


@dataclass(frozen=True)
class WoodFisher(curvature.SecondOrder):
    """w^2 / ([F^-1]_qq + 1e-10), F = damping I + mean over samples of g g^T, in diagonal blocks.

    g: gradient of one sample's own loss. Gradients of weights that are exactly 0 do not take
    part. The kept weights then move by -F^-1 (w / diag(F^-1)), over the removed w: the sum of
    what each removal alone would ask for, not the joint optimum.

    Source: Singh & Alistarh 2020, WoodFisher (arXiv:2004.14340), as their code: without the
    paper's 1/2, and with damping 1e-5. We differ: F is summed and inverted in float64, where
    they apply the Woodbury formula sample by sample (the same matrix); blocks are always parts
    of one tensor; and a gradient is of one sample, where their configurations may average
    several.

    block: consecutive flat weights of a tensor that share a block; the last one is shorter. The
        memory grows with block x weights.
    damping: what is added to the diagonal, above 0: F alone is singular when there are fewer
        samples than weights in a block.
    update_weights: True moves the kept weights.
    memory_limit_gb: what this may take beside the model, in GB (10^9 bytes).

    Raises:
        ValueError: a field is out of range.
    """

    block: Annotated[int, "a whole number >= 1"] = 100
    damping: Annotated[float, "a number above 0; F may be singular without it"] = 1e-5

    needs_loss: ClassVar[bool] = True

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns the mean of g g^T by weight, undamped: (blocks, b, b), float64.

        Raises:
            ValueError: it takes more than memory_limit_gb, there are no calibration samples on
                any rank (by `mean`), or an entry is not finite.
        """
        self.check(data.module, data.selected_units)
        weights = {name: data.module.get_parameter(name) for name in data.weight_names}
        sums = {
            name: torch.zeros(self._shape(weight), dtype=torch.float64, device=weight.device)
            for name, weight in weights.items()
        }
        gradients = sample_gradients(data)
        samples = 0
        while chunk := list(islice(gradients, SAMPLES_AT_ONCE)):
            for name, products in sums.items():
                stack = torch.stack(
                    [gradient[name].flatten() for gradient in chunk], dim=1
                ).double()
                cut = _to_blocks(stack, products.shape[-1])
                products.baddbmm_(cut, cut.transpose(1, 2))
            samples += len(chunk)
        return check_finite(data.mean(sums, samples), "product of gradients")

    def check(self, model: nn.Module, units: Companions) -> None:
        """Logs the memory that it takes for all layers, before any training.

        Raises:
            ValueError: it is more than memory_limit_gb.
        """
        weights = {name: model.get_parameter(name) for name in units}
        shapes = {name: self._shape(weight) for name, weight in weights.items()}
        work = max(_work_entries(shape) for shape in shapes.values())
        work = max(work, 2 * SAMPLES_AT_ONCE * sum(weight.numel() for weight in weights.values()))
        remedy = f"choose a block below {self.block}"
        curvature.check_memory("saliency woodfisher", shapes, work, self.memory_limit_gb, remedy)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {n: self._score(n, weight, statistics[n]) for n, weight in weights.items()}

    def compensate(self, weights: Tensors, masks: Tensors, statistics: Tensors) -> Tensors:
        removed = curvature.newly_pruned(weights, masks) if self.update_weights else {}
        return {
            name: self._compensated(name, weights[name], mask, statistics[name])
            for name, mask in removed.items()
        }

    def _score(self, name: str, weight: Tensor, products: Tensor) -> Tensor:
        def diagonal(products: Tensor, live: Tensor) -> Tensor:
            return self._inverse(name, products, live).diagonal(dim1=-2, dim2=-1)

        flat = _to_blocks(weight.double().flatten(), products.shape[-1])
        diagonals = in_chunks(diagonal, 0, products[0].numel(), products, flat != 0)
        return curvature.to_score_dtype(
            _from_blocks(flat.square() / (diagonals + 1e-10), weight), weight
        )

    def _compensated(self, name: str, weight: Tensor, removed: Tensor, products: Tensor) -> Tensor:
        def change(products: Tensor, flat: Tensor, removed: Tensor) -> Tensor:
            inverse = self._inverse(name, products, flat != 0)
            scaled = torch.where(removed, flat / inverse.diagonal(dim1=-2, dim2=-1), 0.0)
            return -(inverse @ scaled.unsqueeze(-1)).squeeze(-1)

        size = products.shape[-1]
        flat = _to_blocks(weight.double().flatten(), size)
        moves = in_chunks(
            change, 0, products[0].numel(), products, flat, _to_blocks(removed.flatten(), size)
        )
        return torch.where(removed, 0.0, _from_blocks(flat + moves, weight)).to(weight.dtype)

    def _inverse(self, name: str, products: Tensor, live: Tensor) -> Tensor:
        identity = torch.eye(products.shape[-1]).to(products)
        return curvature.inverse(restrict_to_live(products + self.damping * identity, live), name)

    def _shape(self, weight: Tensor) -> tuple[int, int, int]:
        size = min(self.block, weight.numel())
        return -(-weight.numel() // size), size, size


def _work_entries(shape: tuple[int, int, int]) -> int:
    """Returns how many numbers are held while blocks of a tensor are inverted."""
    blocks, size, _ = shape
    return curvature.COPIES * size * size * min(blocks, curvature.chunk_length(size * size))


def _to_blocks(flat: Tensor, size: int) -> Tensor:
    """Cuts (n, ...) into (blocks, size, ...), the last block filled with 0."""
    missing = -len(flat) % size
    filled = torch.cat([flat, flat.new_zeros(missing, *flat.shape[1:])]) if missing else flat
    return filled.reshape(-1, size, *flat.shape[1:])


def _from_blocks(blocks: Tensor, weight: Tensor) -> Tensor:
    return blocks.flatten()[: weight.numel()].view(weight.shape)
