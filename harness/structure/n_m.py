from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn

from harness.groups.units import Units
from harness.structure.base import Pattern
from harness.structure.shared.divided import Division, check_divided
from harness.vocabulary.checks import check_declared
from harness.vocabulary.n_of_m import NOfM


@dataclass(frozen=True)
class NM(Pattern):
    """Keeps exactly n of each m consecutive inputs of an output: 2:4, 1:4, 4:8, any n:m.

    Units are single weights; biases and norms stay. Each layer has density n / m, so schedule and
    allocation have no choice. The inputs of a convolution are consecutive channels at one kernel
    position, in the order (kh, kw, in) that sparse tensor cores read. A layer whose inputs m does
    not divide is refused. Of equal scores the lower index stays.

    Saliencies are ranked within each group. SparseGPT chooses a group when it reaches its columns,
    among the weights as they are by then; OBS and WoodFisher move the kept weights afterwards.
    Several rounds of a level pass through n + 1 and more of m.

    Source: Mishra et al. 2021, Accelerating Sparse Deep Neural Networks (arXiv:2104.08378), 2:4;
    Zhou et al. 2021, Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch
    (arXiv:2102.04010).

    n: weights of a group that stay.
    m: weights of a group.

    Raises:
        ValueError: a field is out of range, or n is not below m.
    """

    n: Annotated[int, "a whole number >= 1"] = 2
    m: Annotated[int, "a whole number in [2, 1024]"] = 4

    granularity: ClassVar[str] = "weight"
    noun: ClassVar[str] = "weight"
    kinds: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

    def __post_init__(self) -> None:
        check_declared(self)
        if self.n >= self.m:
            raise ValueError(f"n must be below m={self.m}, got {self.n}; m of m prunes nothing")

    @property
    def n_of_m(self) -> NOfM:
        return NOfM(self.n, self.m)

    def check(self, model: nn.Module, units: Units) -> None:
        """Checks that m divides the inputs of each weight.

        Raises:
            ValueError: it does not; names key and layer.
        """
        check_divided(
            *(
                Division(
                    name.removesuffix(".weight"), "structure.m", self.m,
                    model.get_parameter(name).shape[1], "inputs",
                )
                for name in units
            )
        )  # fmt: skip

    def pool(self, scores: Tensor) -> Tensor:
        return scores

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units

    def select(self, scores: Tensor, keep: int) -> Tensor:
        return self.n_of_m.select(scores, keep)
