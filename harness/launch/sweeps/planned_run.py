"""Describes a run of a sweep for its plan, and finds the stages that several runs share."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.launch.digests.code import own_files
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.run_cost import epochs_of, kind
from harness.run_folder.identity import dense_hash
from harness.run_folder.outcome import Outcome, finished
from harness.run_folder.stage_keys import StageKeys, stage_keys, stages_to_cache


@dataclass(frozen=True)
class PlannedRun:
    """Holds the facts about a run that its sweep needs without composing the run.

    label: the overrides that distinguish the run from the others of its sweep.
    dense: equal for runs that share their dense training, empty without one.
    dense_epochs, epochs: length of the dense training, and of all later trainings.
    kind: see harness.launch.sweeps.run_cost.
    shared: stages that other runs have too, and their epochs.
    files: other inputs of the plan: modules of own parts, and initial weights as written.
    """

    folder: str
    code: str
    label: str
    dense: str
    dense_epochs: int
    epochs: int
    kind: str
    shared: dict[str, int]
    files: list[str]
    line: str

    @classmethod
    def of(cls, spec: RunSpec, label: str) -> "PlannedRun":
        config, trained = spec.values, _trains_dense(spec)
        return cls(
            folder=str(spec.folder),
            code=spec.code,
            label=label,
            dense=dense_hash(spec.hashed_config, {}) if trained else "",
            dense_epochs=config["training"]["epochs"] if trained else 0,
            epochs=_epochs(spec),
            kind=kind(spec.config),
            shared={},
            files=_files(spec),
            line=spec.for_plan().to_json(),
        )

    @property
    def spec(self) -> RunSpec:
        return RunSpec.from_json(self.line)

    def finished(self) -> Outcome | None:
        """Returns the outcome of a finished run, None if the run is to be done."""
        with suppress(ValueError):  # a damaged status.json; the run itself reports it
            return self.finished_before(self.spec.values["rerun"])
        return None

    def finished_before(self, rerun: str) -> Outcome | None:
        """Returns the result of harness.run_folder.outcome.finished.

        None for dense training alone: its cache can be read with torch only.

        Raises:
            ValueError: status.json is damaged.
        """
        results = self.spec.result_files
        return finished(Path(self.folder), self.code, rerun, results) if results else None

    def with_shared_stages(self, own: StageKeys, marked: set[str]) -> "PlannedRun":
        """Returns the run with those of its own stages that are marked."""
        shared = {stage: key for stage, key in own.items() if key in marked}
        if not shared:
            return self
        line = replace(self.spec, shared_stages=list(shared.values())).to_json()
        epochs = epochs_of(self.spec.values)
        return replace(self, line=line, shared={k: epochs.get(p[1], 0) for p, k in shared.items()})

    def only_dense(self) -> "PlannedRun":
        """Returns the run's dense training alone, which fills the cache."""
        line = replace(self.spec, command="dense").to_json()
        return replace(self, line=line, label=f"dense training of {self.label}")


def plan_runs(
    numbered: Iterable[tuple[int, RunSpec]],
    batch: Sequence[Sequence[str]],
    share_stages: bool = True,
) -> list[PlannedRun]:
    """Returns each run once, in the order of the batch; overrides that not all have label it.

    Args:
        numbered: (index in the batch, run), an iterator because a thousand configs are large.
        batch: the overrides of every run.
        share_stages: stages that several runs have in common are marked, to be computed once.
    """
    counts = Counter(text for overrides in batch for text in set(overrides))

    def labelled() -> Iterator[tuple[int, str, RunSpec]]:
        for number, spec in numbered:
            apart = [text for text in spec.overrides if counts[text] < len(batch)]
            yield number, " ".join(apart or spec.overrides), spec

    return mark_shared_stages(labelled(), share_stages)


def mark_shared_stages(
    labelled: Iterable[tuple[int, str, RunSpec]], share_stages: bool
) -> list[PlannedRun]:
    """Returns the runs of (index, label, run), with their shared stages if `share_stages`."""
    ordered: dict[int, PlannedRun] = {}
    chains: dict[str, StageKeys] = {}
    for number, label, spec in labelled:
        run = ordered[number] = PlannedRun.of(spec, label)
        if share_stages and spec.command == "run":
            chains[run.folder] = stage_keys(spec.hashed_config, spec.requested)
    marked = stages_to_cache(chains.values())
    runs = {run.folder: run for _, run in sorted(ordered.items())}
    return [run.with_shared_stages(chains.get(run.folder, {}), marked) for run in runs.values()]


def _trains_dense(spec: RunSpec) -> bool:
    config = spec.values
    inside = (
        config["prune_at"] == "during_training" and config["gradual"]["start_from"] == "trained"
    )
    return bool(config["prune_at"] == "after_training" or inside)


def _epochs(spec: RunSpec) -> int:
    """Returns the epochs after dense training, of all levels; an analysis has none."""
    per_level = sum(epochs_of(spec.values).values())
    return per_level * max(1, len(spec.requested)) if spec.command == "run" else 0


def _files(spec: RunSpec) -> list[str]:
    given = [spec.config[key] for key in ("weights", "latency_table")]
    return [*map(str, own_files(spec.hashed_config)), *filter(None, given)]
