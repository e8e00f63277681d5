from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn

from harness.groups.pooling import Pooling, pooled
from harness.groups.units import Units
from harness.structure.base import Pattern
from harness.structure.shared.divided import Division, check_divided
from harness.vocabulary.checks import check_declared

SIZE = "a whole number >= 1"


@dataclass(frozen=True)
class Tile(Pattern):
    """Prunes tiles: height x width neighbours in each weight, seen as a matrix.

    The matrix is (first dimension x all others): of a linear layer (out, in), of a convolution
    (out, in / groups x kh x kw). Tiles begin at the first row and column. All tiles of a layer have
    the same size, so that densities are exact: a layer that height and width do not divide is
    refused. Tiles are masked, and nothing is removed: biases and norms stay, and output layers are
    pruned too.

    Source: Narang et al. 2017, Block-Sparse Recurrent Neural Networks (arXiv:1711.02782), where a
    tile has the largest |w| of its weights. Scores of a tile are pooled by mean here, as other
    units.

    height, width: rows and columns of a tile.

    Raises:
        ValueError: a field is out of range.
    """

    height: Annotated[int, SIZE] = 2
    width: Annotated[int, SIZE] = 4
    pool_by: Pooling = "mean"

    granularity: ClassVar[str] = "unit"
    noun: ClassVar[str] = "tile"

    def __post_init__(self) -> None:
        check_declared(self)

    def check(self, model: nn.Module, units: Units) -> None:
        """Checks that height and width divide each weight.

        Raises:
            ValueError: one does not; names key and layer.
        """
        check_divided(
            *(
                Division(name.removesuffix(".weight"), key, divisor, size, of)
                for name in units
                for key, divisor, size, of in self._sizes(model.get_parameter(name))
            )
        )

    def _sizes(self, weight: Tensor) -> list[tuple[str, int, int, str]]:
        rows, columns = weight.flatten(1).shape
        return [
            ("structure.height", self.height, rows, "rows"),
            ("structure.width", self.width, columns, "columns"),
        ]

    def pool(self, scores: Tensor) -> Tensor:
        tiles = scores.flatten(1).unflatten(1, (-1, self.width)).unflatten(0, (-1, self.height))
        return pooled(tiles, (1, 3), self.pool_by)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        rows, columns = units.shape
        tiles = units[:, None, :, None].expand(rows, self.height, columns, self.width)
        return tiles.reshape(shape)
