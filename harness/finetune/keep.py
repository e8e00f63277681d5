from dataclasses import dataclass

from harness.finetune.fine_tuning import FineTuning


@dataclass(frozen=True)
class Keep(FineTuning):
    """weights = the remaining ones: fine-tuning continues from the pruned model.

    Source: Han et al. 2015 (arXiv:1506.02626), who retrain at a learning rate of its own. For
    Renda et al. 2020's fine-tuning write recipe=training.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or the recipe is unknown.
    """
