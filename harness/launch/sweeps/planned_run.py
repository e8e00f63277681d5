"""A point of a sweep as its plan keeps it, and which stages several of them have in common."""

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
class Planned:
    """What a sweep must know of a point that it does not carry out itself.

    says: what tells it from the others. dense: equal for points that share their dense training,
    empty without one; dense_epochs: its length. epochs: of all that follows it. kind: see
    harness.launch.sweeps.run_cost. shared: stages that other runs have too, and their epochs.
    files: that decide it too, beside the harness's own: modules of its parts, and initial weights
    as they are written.
    """

    folder: str
    code: str
    says: str
    dense: str
    dense_epochs: int
    epochs: int
    kind: str
    shared: dict[str, int]
    files: list[str]
    line: str

    @classmethod
    def of(cls, point: RunSpec, says: str) -> "Planned":
        config, trained = point.values, _starts_trained(point)
        return cls(
            folder=str(point.folder),
            code=point.code,
            says=says,
            dense=dense_hash(point.hashed_config, {}) if trained else "",
            dense_epochs=config["training"]["epochs"] if trained else 0,
            epochs=_epochs(point),
            kind=kind(point.config),
            shared={},
            files=_files(point),
            line=point.for_plan().to_json(),
        )

    @property
    def point(self) -> RunSpec:
        return RunSpec.from_json(self.line)

    def finished(self) -> Outcome | None:
        """The outcome, if there is nothing left to do."""
        with suppress(ValueError):  # of a damaged status.json; the run itself will name it
            return self.found(self.point.values["rerun"])
        return None

    def found(self, rerun: str) -> Outcome | None:
        """As harness.run_folder.outcome.finished; None for dense training alone, of which only
        torch knows.

        Raises:
            ValueError: status.json is damaged.
        """
        results = self.point.result_files
        return finished(Path(self.folder), self.code, rerun, results) if results else None

    def marking(self, own: StageKeys, marked: set[str]) -> "Planned":
        """With those stages of its own that are marked, if there are any."""
        shared = {place: key for place, key in own.items() if key in marked}
        if not shared:
            return self
        line = replace(self.point, shared_stages=list(shared.values())).to_json()
        each = epochs_of(self.point.values)
        return replace(self, line=line, shared={k: each.get(p[1], 0) for p, k in shared.items()})

    def dense_alone(self) -> "Planned":
        """Of its run only the dense training, for the cache of those that share it."""
        line = replace(self.point, command="dense").to_json()
        return replace(self, line=line, says=f"dense training of {self.says}")


def planned(
    found: Iterable[tuple[int, RunSpec]], batch: Sequence[Sequence[str]], share: bool = True
) -> list[Planned]:
    """Each run once, in the order of the batch; told apart by those overrides that not all have.

    found: (number in the batch, point); one at a time, because a thousand configs are large.
    share: stages that several runs have in common are marked, to be computed once.
    """
    counts = Counter(text for overrides in batch for text in set(overrides))

    def said() -> Iterator[tuple[int, str, RunSpec]]:
        for number, point in found:
            apart = [text for text in point.overrides if counts[text] < len(batch)]
            yield number, " ".join(apart or point.overrides), point

    return marked_of(said(), share)


def marked_of(found: Iterable[tuple[int, str, RunSpec]], share: bool) -> list[Planned]:
    """found: (number, what tells it from the others, point)."""
    ordered: dict[int, Planned] = {}
    chains: dict[str, StageKeys] = {}
    for number, says, point in found:
        each = ordered[number] = Planned.of(point, says)
        if share and point.command == "run":
            chains[each.folder] = stage_keys(point.hashed_config, point.requested)
    marked = stages_to_cache(chains.values())
    runs = {each.folder: each for _, each in sorted(ordered.items())}
    return [each.marking(chains.get(each.folder, {}), marked) for each in runs.values()]


def _starts_trained(point: RunSpec) -> bool:
    config = point.values
    inside = (
        config["prune_at"] == "during_training" and config["gradual"]["start_from"] == "trained"
    )
    return bool(config["prune_at"] == "after_training" or inside)


def _epochs(point: RunSpec) -> int:
    """After dense training: of its levels; an analysis has none."""
    each = sum(epochs_of(point.values).values())
    return each * max(1, len(point.requested)) if point.command == "run" else 0


def _files(point: RunSpec) -> list[str]:
    weights = point.config["weights"]
    return [*map(str, own_files(point.hashed_config)), *([weights] if weights else [])]
