"""Makes the files of a finished run's model: in dense shapes, and without its pruned units."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from harness.delivery.compact_folder import CompactModel, describe, write_compact
from harness.delivery.formats import write_formats
from harness.experiment.context import RunContext
from harness.experiment.state import RunState, in_dense_shapes, own_masks, without_pruned_units
from harness.model_state.whole_state import whole_state
from harness.pruning.removal.compaction import Cut
from harness.pruning.removal.living import indices_left
from harness.run_folder.export import ExportedModel, export_model
from harness.run_folder.outcome import COMPACT, EXPORTS
from harness.vocabulary.given.inputs import Inputs


@dataclass(frozen=True)
class ModelFiles:
    """Holds a finished model and its masks.

    Args:
        exported: the model and its masks in dense shapes.
        compact: the model without its pruned units, where the run compacts.
        model: the smaller model, or else the one in dense shapes.
        sample: inputs of it.
        formats: of further files of `model`.
    """

    exported: ExportedModel
    compact: CompactModel | None
    model: nn.Module
    sample: Inputs
    formats: Collection[str] = field(default=())

    def write(self, folder: Path) -> None:
        """Writes the files into a run's folder.

        Raises:
            CannotWrite: the disk is full, read-only or gone.
            ValueError: a format has no such operator, or its file computes another function.
        """
        if self.compact:
            write_compact((folder / COMPACT[0]).parent, self.compact)
        if self.formats:
            home = (folder / next(iter(EXPORTS.values()))).parent
            write_formats(self.model, self.sample, home, self.formats)
        export_model(folder, self.exported)


def model_files(
    context: RunContext, state: RunState, config: Mapping[str, Any], formats: Collection[str] = ()
) -> ModelFiles:
    """Returns the model and its masks as a finished run writes them; all ranks call it.

    config: the run's, of which compact.json repeats `model`. formats: names of those to write.

    Raises:
        ValueError: the model without its pruned units computes another function.
        RanksDisagree: another rank removes other entries.
    """
    splits, dense = context.workload.splits, in_dense_shapes(context, state)
    model, own = dense.model, own_masks(context, dense)
    living = indices_left(model, context.units, own)
    exported = ExportedModel(whole_state(model), own, splits.shape, splits.classes, living)
    compact, sample = None, context.workload.sample()
    if context.experiment.compact != "never":
        model, cut = _smaller(context, state)
        build = {"model": config.get("model"), "shape": exported.shape}
        build["classes"] = splits.classes
        compact = describe(context.workload.initial_model(), model, cut, build)
    return ModelFiles(exported, compact, model, sample, formats)


def _smaller(context: RunContext, state: RunState) -> tuple[nn.Module, Cut]:
    if not state.cut.is_whole:
        return state.cut.without_scales(state.model)
    made = without_pruned_units(context, state)
    return made.model, Cut.of(made)
