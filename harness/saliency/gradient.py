from dataclasses import dataclass

from harness.saliency.shared.gradient_statistics import MeanGradientSaliency
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Gradient(MeanGradientSaliency):
    """|mean gradient of the loss|: weights that hardly change the loss are pruned first.

    The mean over all calibration samples of all ranks comes before the absolute value.
    Blalock et al. 2020 multiply by the weight in what they call gradient pruning; that is
    `weight_gradient`.

    batch_norm: "eval" divides by the running statistics; "train" by those of each batch, so that
    scores depend on how the samples are cut into batches. ShrinkBench, the code of Blalock et
    al., calls model.train() and so takes "train", on one batch; dropout, which that enables
    too, is off here.

    Raises:
        ValueError: batch_norm is neither.
    """

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: statistics[name].abs() for name in weights}
