"""What runs have in common: content keys of a run's stages, each hashed onto the one before it.

Two runs whose keys are equal up to a stage have equal records, masks and weights up to it, on equal
numerics and code. Plain data, no torch.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.run_folder.identity import Config, run_hash

LevelStage = tuple[int, str]  # level, stage; as in a record
StageKeys = dict[LevelStage, str]  # in a run's order

# Keys of a config by the stage that first reads them; all others, also those that a later version
# brings, decide every stage. Masks have digests in records, so whoever has masks reads structure.
DECIDES = (
    "saliency",
    "structure",
    "exclude",
    "allocation",
    "calibration",
    "control",
    "mask_updates",
)
READS = {
    "penalised": ("penalty", "retraining", "structure", "exclude"),
    "pruned": DECIDES,
    "recalibrated": ("recalibration",),
    "finetuned": ("finetune", "retraining", "distillation", "mask_updates"),
}
# Which states of dense training stay on disk: a missing one is trained again, bit for bit. And a
# leave to score trained weights, that changes no number.
UNREAD = ("dense_checkpoints", "rescore_trained")
# Of a schedule that passes its values on: they say no more than the targets that it asks for.
PATH = ("_target_", "final", "values", "levels")
# Parts whose classes say that they foresee no pruning (Penalty.needs_pending_masks) or let no mask
# go at the levels before the last (MaskUpdates.unmasks_between_levels); of others it is not known
# here.
NEED_NO_MASKS = ("harness.penalty.l1.L1", "harness.penalty.bn_l1.BnL1")
KEEP_MASKS = (
    "harness.mask_updates.rigl.Rigl",
    "harness.mask_updates.set.Set",
    "harness.mask_updates.snfs.Snfs",
)
TRAININGS = ("penalised", "finetuned")


class _Unchanged(float):
    """A value that a schedule passes on as it is, and not a number that it made of it."""


def requested_of(
    shares: Callable[[Callable[[float], float]], Sequence[float]],
) -> list[float | None]:
    """What a schedule asks for at level 1, 2, ..., in its unit, without a network.

    shares: the method of that name. None: the schedule computes with kept shares, which are another
    function of its values for every network.

    >>> from harness.schedule.constant import Constant
    >>> from harness.schedule.geometric import Geometric
    >>> requested_of(Constant(final=0.5, levels=2).kept_fractions)
    [0.5, 0.5]
    >>> requested_of(Geometric(levels=2).kept_fractions)
    [None, None]
    """
    values = shares(_Unchanged)
    return [float(value) if isinstance(value, _Unchanged) else None for value in values]


def config_by_stage(
    hashed_config: Config, requested: Sequence[float | None]
) -> dict[LevelStage, Config]:
    """What of its config each stage of a run reads that no stage before it has read, in order.

    hashed_config: as identity.hashed_config_of makes it. asked: as `requested_of` finds it; with
    prune_at=during_training it does not matter, for such a run has nothing in common
    with others after dense training.

    A schedule that passes its values on counts by the level's target; any other one whole, for the
    way to an end point depends on it. Parts from outside the harness may know more than their
    protocol says, so they decide every stage, as unknown keys do.
    """
    late = {name for names in READS.values() for name in names} | {"schedule"}
    late = {name for name in late if is_ours(hashed_config.get(name))}
    inside = hashed_config.get("prune_at") == "during_training"
    start = hashed_config.get("gradual", {}).get("start_from")
    trained = hashed_config.get("prune_at") == "after_training" or start == "trained"
    first = {k: v for k, v in hashed_config.items() if inside or k not in late and k not in UNREAD}
    by_stage: dict[LevelStage, Config] = {(0, "dense" if trained else "initial"): first}
    for level, target in enumerate([] if inside else requested, start=1):
        for stage in _stages(hashed_config):
            names = [
                name
                for name in _names(hashed_config, stage)
                if name in late and name in hashed_config
            ]
            own = {name: hashed_config[name] for name in names}
            if "saliency" in _names(hashed_config, stage):
                own |= (
                    _requested_config(hashed_config, target)
                    if "schedule" in late
                    else {"asked": target}
                )
            if stage == "finetuned" and _may_unmask(hashed_config):
                own |= {"last": level == len(requested)}
            by_stage[level, stage] = own
    return by_stage


def stage_keys(hashed_config: Config, requested: Sequence[float | None]) -> StageKeys:
    """Returns one key per stage, SHA-256 in hex; arguments as for `config_by_stage`.

    asked: `requested_of(schedule.kept_fractions)` of the schedule that the config's node describes.
    That schedule is built without torch.
    """
    keys: StageKeys = {}
    before = ""
    for stage, own in config_by_stage(hashed_config, requested).items():
        before = keys[stage] = run_hash({"before": before, "place": stage, "reads": own})
    return keys


def stages_to_cache(chains: Iterable[StageKeys]) -> set[str]:
    """Keys of the stages that are worth their place on disk, of all runs of a sweep.

    At least two runs have it; and it is a training, or they part ways after it: what all of them
    share that share it is found in a later stage. Level 0 has a cache of its own.

    >>> pruned, kept, rewound = (1, "pruned"), (1, "finetuned"), (1, "finetuned")
    >>> stages_to_cache([{pruned: "p", kept: "k"}, {pruned: "p", rewound: "r"}])
    {'p'}
    """
    runs: Counter[str] = Counter()
    stages: dict[str, LevelStage] = {}
    next_ones: dict[str, set[str | None]] = {}
    for chain in chains:
        keys = list(chain.values())
        runs.update(keys)
        stages |= {key: stage for stage, key in chain.items()}
        for key, follower in zip(keys, [*keys[1:], None], strict=True):
            next_ones.setdefault(key, set()).add(follower)
    parting = {
        key for key, followers in next_ones.items() if len(followers) > 1 or None in followers
    }
    return {
        key
        for key, (level, stage) in stages.items()
        if level and runs[key] > 1 and (stage in TRAININGS or key in parting)
    }


def is_ours(value: Any) -> bool:
    """Whether all that is built of it comes from the harness or torch."""
    if isinstance(value, list):
        return all(map(is_ours, value))
    if not isinstance(value, dict):
        return True
    home = str(value.get("_target_", "harness.")).partition(".")[0]
    return home in ("harness", "torch") and all(map(is_ours, value.values()))


@dataclass(frozen=True)
class SharedStages:
    """The stages of a run that other runs have too, and where they lie.

    folder: of all stages, two levels above each. keys: full ones, in the run's order.
    """

    folder: Path
    keys: Mapping[LevelStage, str]

    @classmethod
    def of(
        cls,
        folder: Path,
        hashed_config: Config,
        requested: Sequence[float | None],
        marked: Iterable[str],
        numerics: Config,
        code: Callable[[Config], str],
    ) -> "SharedStages":
        """Of the stages whose keys in `chain` are marked.

        numerics: the key under which numbers repeat. code: digest of the sources behind the parts
        of a config; it is asked for what the stages up to this one read, so that a change in a
        part that comes later costs nothing.
        """
        wanted, own = set(marked), config_by_stage(hashed_config, requested)
        parts, codes, keys = Config(), dict[int, str](), StageKeys()
        for stage, key in stage_keys(hashed_config, requested).items():
            parts |= own[stage]
            if key in wanted:
                # Levels add no part, so that their sources are not read again for each.
                digest = codes[len(parts)] = codes.get(len(parts)) or code(parts)
                keys[stage] = run_hash({"key": key, "numerics": numerics, "code": digest})
        return cls(folder, keys)

    def home(self, stage: LevelStage) -> Path:
        key = self.keys[stage][:24]
        return self.folder / key[:2] / key


def _stages(hashed_config: Config) -> list[str]:
    parts = {"penalised": "penalty", "recalibrated": "recalibration"}
    none = str(hashed_config["finetune"].get("_target_")).endswith(".NoFinetune")
    stages = [stage for stage in READS if stage not in parts or parts[stage] in hashed_config]
    return [stage for stage in stages if stage != "finetuned" or not none]


def _names(hashed_config: Config, stage: str) -> tuple[str, ...]:
    foresees = (
        stage == "penalised" and hashed_config["penalty"].get("_target_") not in NEED_NO_MASKS
    )
    return READS[stage] + (DECIDES if foresees else ())


def _requested_config(hashed_config: Config, target: float | None) -> Config:
    if target is None:
        return {"schedule": hashed_config["schedule"]}
    rest = {key: value for key, value in hashed_config["schedule"].items() if key not in PATH}
    return {"asked": target, "schedule": rest}


def _may_unmask(hashed_config: Config) -> bool:
    return (
        "mask_updates" in hashed_config
        and hashed_config["mask_updates"].get("_target_") not in KEEP_MASKS
    )
