from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.finetune.fine_tuning import FineTuning
from harness.vocabulary.step_index import Moment

if TYPE_CHECKING:
    from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Keep(FineTuning):
    """Fine-tuning: goes on with the weights that are left.

    Source: Han et al. 2015 (arXiv:1506.02626), who retrain at a learning rate of its own. For
    Renda et al. 2020's fine-tuning write recipe=training.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or the recipe is unknown.
    """

    def weights(
        self, epochs: int, dense: "Callable[[Moment], Tensors]", fresh: "Callable[[], Tensors]"
    ) -> None:
        return None
