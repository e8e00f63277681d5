from dataclasses import dataclass

from harness.saliency.shared.gradient_statistics import MeanGradientSaliency
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class WeightGradient(MeanGradientSaliency):
    """|weight x mean gradient|: first-order estimate of the loss change if the weight is pruned.

    At initialisation this is SNIP (Lee et al. 2019, arXiv:1810.02340); on a trained model it
    is the gradient baseline of Blalock et al. 2020 (arXiv:2003.03033). We skip SNIP's division
    by the sum of all scores, which cannot change a ranking, and score weights only: the
    authors' code prunes biases too.

    batch_norm: "eval" divides by the running statistics, as SNIP's code does (is_train=False);
    "train" by those of each batch, as ShrinkBench does, the code of Blalock et al., which calls
    model.train(). Scores then depend on how the samples are cut into batches. Dropout, which
    model.train() enables too, is off here.

    Raises:
        ValueError: batch_norm is neither.
    """

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        # abs() after the mean over all ranks: averaging absolute values gives another ranking.
        return {name: (weight * statistics[name]).abs() for name, weight in weights.items()}
