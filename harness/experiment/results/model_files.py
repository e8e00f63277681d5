"""Makes the files of a finished run's model: in dense shapes, and without its pruned units."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.delivery.compact_folder import CompactModel, describe, write_compact
from harness.experiment.context import RunContext
from harness.experiment.state import RunState, in_dense_shapes, without_pruned_units
from harness.model_state.whole_state import whole_state
from harness.pruning.removal.compaction import Cut
from harness.pruning.removal.living import indices_left
from harness.run_folder.export import ExportedModel, export_model
from harness.run_folder.outcome import COMPACT


@dataclass(frozen=True)
class ModelFiles:
    """Holds a finished model and its masks.

    compact: the model without its pruned units, where the run compacts.
    """

    exported: ExportedModel
    compact: CompactModel | None

    def write(self, folder: Path) -> None:
        """Writes the files into a run's folder.

        Raises:
            CannotWrite: the disk is full, read-only or gone.
        """
        if self.compact:
            write_compact((folder / COMPACT[0]).parent, self.compact)
        export_model(folder, self.exported)


def model_files(context: RunContext, state: RunState, config: Mapping[str, Any]) -> ModelFiles:
    """Returns the model and its masks as a finished run writes them; all ranks call it.

    config: the run's, of which compact.json repeats `model`.

    Raises:
        ValueError: the model without its pruned units computes another function.
        RanksDisagree: another rank removes other entries.
    """
    splits, (model, masks) = context.workload.splits, in_dense_shapes(context, state)
    own = {name: masks[name] for name in state.masks.masks}
    living = indices_left(model, context.units, own)
    exported = ExportedModel(whole_state(model), own, splits.shape, splits.classes, living)
    return ModelFiles(exported, _compact(context, state, config))


def _compact(
    context: RunContext, state: RunState, config: Mapping[str, Any]
) -> CompactModel | None:
    if context.experiment.compact == "never":
        return None
    splits, dense = context.workload.splits, context.workload.initial_model()
    shape, classes = list(splits.shape), splits.classes
    build = {"model": config.get("model"), "shape": shape, "classes": classes}
    if state.cut.kept_indices:
        return describe(dense, *state.cut.without_scales(state.model), build)
    made = without_pruned_units(context, state)
    return describe(dense, made.model, Cut.of(made), build)
