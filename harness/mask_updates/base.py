"""What mask_updates are: how masks change between two prunings, while the network trains."""

from typing import ClassVar, Protocol

from harness.vocabulary.tensors import Tensors


class MaskUpdates(Protocol):
    """Without mask_updates masks hold between prunings: static sparse training.

    may_grow: masks may revive what was pruned.
    releases: between two prunings all masks are let go, which the run does; the others are an
        Exchange.
    """

    may_grow: ClassVar[bool] = True
    unmasks_between_levels: ClassVar[bool] = False

    def check(self, steps: int) -> None:
        """Asked before training.

        Raises:
            ValueError: a training of so many steps never updates its masks.
        """


class MaskUpdater(MaskUpdates, Protocol):
    """MaskUpdates that update masks at steps of their own.

    Steps are counted from 0 within one training of `steps` optimizer steps. Weights are detached;
    gradients are dense and those of the whole batch, averaged over ranks, so that every rank comes
    to the same masks.
    """

    def updates(self, step: int, steps: int) -> bool:
        """Whether masks are updated in place of this optimizer step."""

    def needs_dense_gradients(self, step: int, steps: int) -> bool:
        """Whether the gradients of ALL weights are needed at this step, before any are masked."""
        return False

    def accumulate(self, statistics: Tensors, gradients: Tensors) -> Tensors:
        """Statistics after the gradients of a step that it looks at.

        `statistics` is {} at first and after every update; its memory may be reused. It is part of
        a training's state. The result may hold the gradients themselves only at a step that
        updates, whose end it does not outlive.
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
        """All masks after the update; inputs are left unchanged.

        Layers are the names in `weights`; masks of other names stay as they are. `seed` is that
        of this training: each level has its own.
        """
