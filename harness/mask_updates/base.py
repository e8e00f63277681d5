"""Defines mask updates: how masks change between two prunings, while the model trains."""

from typing import ClassVar, Protocol

from harness.vocabulary.tensors import Tensors


class MaskUpdates(Protocol):
    """Changes masks between prunings. Without it masks stay fixed: static sparse training.

    Args:
        may_grow: masks may revive pruned weights.
        unmasks_between_levels: the run unmasks all weights between two prunings. If False, the
            object is a MaskUpdater.
    """

    may_grow: ClassVar[bool] = True
    unmasks_between_levels: ClassVar[bool] = False

    def check(self, steps: int) -> None:
        """Checks a training before any training runs.

        Raises:
            ValueError: a training of so many steps never updates its masks.
        """


class MaskUpdater(MaskUpdates, Protocol):
    """Updates masks at steps of its own.

    Steps are counted from 0 within one training of `steps` optimizer steps. Weights are detached.
    Gradients are dense, of the whole batch, and averaged over ranks, so that every rank computes
    the same masks.
    """

    def updates(self, step: int, steps: int) -> bool:
        """True if masks are updated in place of this optimizer step."""

    def needs_dense_gradients(self, step: int, steps: int) -> bool:
        """True if this step needs the gradients of ALL weights, before any are masked."""
        return False

    def accumulate(self, statistics: Tensors, gradients: Tensors) -> Tensors:
        """Returns the statistics after the gradients of a step that needs dense gradients.

        `statistics` is {} at first and after every update. The method may reuse its memory.
        Statistics are saved with a training's state. The result may hold the gradients themselves
        only at a step that updates masks, and is dropped at the end of that step.
        """
        return {}

    def update_masks(
        self,
        weights: Tensors,
        masks: Tensors,
        statistics: Tensors,
        step: int,
        steps: int,
        seed: int,
    ) -> Tensors:
        """Returns all masks after the update; inputs are left unchanged.

        Args:
            weights: by name; these are the layers whose masks may change.
            masks: all masks in force; masks of other names stay as they are.
            statistics: the result of the last `accumulate`.
            step: the step in whose place the update happens.
            steps: the number of steps of this training.
            seed: the seed of this training; each level has its own.
        """
