"""Computes content keys of a run's stages, each hashed onto the key before it; needs no torch.

Two runs with equal keys up to a stage have equal records, masks and weights up to it, under equal
numerics and code.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.run_folder.identity import Config, run_hash

LevelStage = tuple[int, str]  # level, stage; as in a record
StageKeys = dict[LevelStage, str]  # in a run's order

# Config keys by the stage that first reads them. All other keys, also future ones, decide every
# stage. Records hold digests of masks, so a stage with masks reads structure.
DECIDES = (
    "saliency",
    "structure",
    "exclude",
    "allocation",
    "calibration",
    "control",
    "mask_updates",
    "compact",
)
READS = {
    "penalised": ("penalty", "retraining", "structure", "exclude"),
    "pruned": DECIDES,
    "recalibrated": ("recalibration",),
    "finetuned": ("finetune", "retraining", "distillation", "mask_updates"),
}
# Keys that change no number: which states of dense training stay on disk (a missing one is trained
# again, bit for bit), and the permission to score trained weights.
UNREAD = ("dense_checkpoints", "rescore_trained")
# Keys of a schedule that passes its values on; its requested values say the same.
PATH = ("_target_", "final", "values", "levels")
# Penalties that need no pending masks (Penalty.needs_pending_masks), and mask updates that unmask
# nothing between levels (MaskUpdates.unmasks_between_levels). Other parts are unknown here.
NEED_NO_MASKS = (
    "harness.penalty.l1.L1",
    "harness.penalty.bn_l1.BnL1",
    "harness.penalty.group_lasso.GroupLasso",
)
KEEP_MASKS = (
    "harness.mask_updates.rigl.Rigl",
    "harness.mask_updates.set.Set",
    "harness.mask_updates.snfs.Snfs",
)
TRAININGS = ("penalised", "finetuned")


class _Unchanged(float):
    """Marks a value that a schedule passes on; arithmetic on it gives a plain float."""


def requested_of(
    kept_fractions: Callable[[Callable[[float], float]], Sequence[float]],
) -> list[float | None]:
    """Returns the requested values of a schedule at level 1, 2, ..., in its unit.

    kept_fractions: the schedule's method of that name.

    None stands for a value that the schedule computes with kept fractions, which depend on the
    model.

    >>> from harness.schedule.constant import Constant
    >>> from harness.schedule.geometric import Geometric
    >>> requested_of(Constant(final=0.5, levels=2).kept_fractions)
    [0.5, 0.5]
    >>> requested_of(Geometric(levels=2).kept_fractions)
    [None, None]
    """
    values = kept_fractions(_Unchanged)
    return [float(value) if isinstance(value, _Unchanged) else None for value in values]


def config_by_stage(
    hashed_config: Config, requested: Sequence[float | None]
) -> dict[LevelStage, Config]:
    """Returns the part of the config that each stage is the first to read, in order of stages.

    hashed_config: from identity.hashed_config_of.
    requested: from `requested_of`. It is ignored with prune_at=during_training: such a run shares
    nothing with others after dense training.

    A schedule that passes its values on counts by the requested value of the level. Any other
    schedule counts as a whole, because all levels depend on its end point. Parts from outside the
    harness may read more than their protocol says. They decide every stage, as unknown keys do.
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
                    else {"requested": target}
                )
            if stage == "finetuned" and _may_unmask(hashed_config):
                own |= {"last": level == len(requested)}
            by_stage[level, stage] = own
    return by_stage


def stage_keys(hashed_config: Config, requested: Sequence[float | None]) -> StageKeys:
    """Returns one key per stage, SHA-256 in hex; arguments as for `config_by_stage`.

    requested: `requested_of(schedule.kept_fractions)` for the schedule of the config, which is
    built without torch.
    """
    keys: StageKeys = {}
    before = ""
    for stage, own in config_by_stage(hashed_config, requested).items():
        before = keys[stage] = run_hash({"before": before, "place": stage, "reads": own})
    return keys


def stages_to_cache(chains: Iterable[StageKeys]) -> set[str]:
    """Returns the keys of the stages that a sweep stores on disk.

    At least two runs share such a stage, and it is a training or their next stages differ. If all
    of them share the next stage too, that one is stored. Level 0 has its own cache.

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
    """True if all targets in a config are of the harness or torch."""
    if isinstance(value, list):
        return all(map(is_ours, value))
    if not isinstance(value, dict):
        return True
    home = str(value.get("_target_", "harness.")).partition(".")[0]
    return home in ("harness", "torch") and all(map(is_ours, value.values()))


@dataclass(frozen=True)
class SharedStages:
    """Holds the stages that a run shares with other runs, and the folder of each.

    folder: of all shared stages, two levels above each.
    keys: full keys, in the run's order.
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
        """Selects the stages whose keys are marked.

        Args:
            folder: of all shared stages.
            hashed_config, requested: as for `config_by_stage`.
            marked: keys of shared stages.
            numerics: the key under which numbers repeat.
            code: returns the digest of the sources behind a config. It is called with the config
                read up to a stage, so that a change in a later part keeps earlier stages.
        """
        wanted, own = set(marked), config_by_stage(hashed_config, requested)
        parts, codes, keys = Config(), dict[int, str](), StageKeys()
        for stage, key in stage_keys(hashed_config, requested).items():
            parts |= own[stage]
            if key in wanted:
                # Later levels read no further part, so the digest is computed once per count.
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
    return {"requested": target, "schedule": rest}


def _may_unmask(hashed_config: Config) -> bool:
    return (
        "mask_updates" in hashed_config
        and hashed_config["mask_updates"].get("_target_") not in KEEP_MASKS
    )
