"""Makes a run's model physically smaller, with a proof that it computes what the masked one does.

Prunings, schedules and records use the names and shapes of the dense model. An entry that was
removed counts there as pruned, and is 0.
"""

import logging
from dataclasses import dataclass

from torch import nn

from harness.experiment.context import RunContext
from harness.groups.attributes import Attributes, adapt
from harness.groups.compact import Compacted, compact_model
from harness.groups.find import groups_of
from harness.groups.group import KeptIndices
from harness.groups.removal import slice_model
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Cut:
    """Says how a smaller model differs from the dense one.

    Args:
        kept_indices: name of a tensor -> for each dimension the indices that are left.
        attributes: "module.attribute" -> (value in the dense model, value in the smaller one).
    """

    kept_indices: KeptIndices
    attributes: Attributes

    def apply(self, dense: nn.Module) -> nn.Module:
        """Returns the dense model without what was removed; its values are the kept ones."""
        smaller = slice_model(dense, self.kept_indices)
        adapt(smaller, self.attributes)
        return smaller


WHOLE = Cut({}, {})


def compacted(context: RunContext, model: nn.Module, masks: Tensors) -> Compacted:
    """Returns the model, in dense shapes, without its pruned units, proven equal to the masked one.

    Every rank removes and proves for itself, and all removed the same entries.

    Raises:
        ValueError: the smaller model computes another function; names the module.
        RanksDisagree: another rank removes other entries.
    """
    sample = context.workload.sample()
    made = compact_model(model, masks, groups_of(model, sample), sample)
    context.ranks.check_equal(
        {
            f"{name}, {dim}": indices
            for name, dims in made.kept_indices.items()
            for dim, indices in enumerate(dims)
            if indices is not None
        },
        "the kept indices of the model",
    )
    _log(model, made)
    return made


def _log(model: nn.Module, made: Compacted) -> None:
    dense, left = (sum(p.numel() for p in each.parameters()) for each in (model, made.model))
    if made.proof is None:
        logging.getLogger(__name__).info("compacted: no unit is pruned in all its members")
        return
    logging.getLogger(__name__).info(
        "compacted: %d of %d parameters are left; masked and compacted model differ by %.0e",
        left, dense, made.proof.worst,
    )  # fmt: skip
