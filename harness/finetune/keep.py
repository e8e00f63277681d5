from collections.abc import Callable
from dataclasses import dataclass

from harness.finetune.base import Start
from harness.tensors import Tensors


@dataclass(frozen=True)
class Keep:
    """Fine-tuning: goes on with the weights that are left, by the retraining recipe.

    Source: Han et al. 2015 (arXiv:1506.02626). Renda et al. 2020 fine-tune at the last learning
    rate of dense training; here `retraining` says the rate.
    """

    dense_epochs: tuple[int, ...] = ()

    def start(self, dense: Callable[[int], Tensors], fresh: Callable[[], Tensors]) -> Start:
        return Start(None, "retraining")
