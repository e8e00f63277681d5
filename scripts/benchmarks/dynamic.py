"""Measures steps under mask updates, of students and of penalised models, over plain steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figure import Figure, Seconds, Side, in_turns, ratio
from benchmarks.watched import LOOK, MEASURING, PLAIN, PRUNING, UPDATE, Watched
from harness.launch.compose import compose_config
from harness.launch.execute import build

DENSITY = 0.1
REPEATS = 11
MODELS = {"LeNet-300-100": "lenet_300_100", "LeNet-5": "lenet_5"}
OPTIMIZERS = {
    # LeNet-5 would diverge at 0.1.
    "SGD": ("training@retraining=sgd", "retraining.optimizer.lr=0.01"),
    "Adam": ("training@retraining=adam",),
}
# Runs of 28 steps; one update, at step 100, comes before the last quarter.
EPOCHS, QUICK_EPOCHS = 8, 5
SHORT_EPOCHS, QUICK_SHORT_EPOCHS = 3, 1

ALL = ("data=mnist5k", "schedule=one_shot")
PRUNED = (*ALL, f"schedule.final={DENSITY}")
DYNAMICS = ("rigl", "set", "snfs")
MASKS = {
    "static": (*PRUNED, "method=static_sparse"),
    "static again": (*PRUNED, "method=static_sparse"),
    **{name: (*PRUNED, f"method={name}") for name in DYNAMICS},
    "pruning": (
        *PRUNED, "schedule=linear", "schedule.levels=1", "method=global_magnitude",
        "prune_at=during_training",
    ),
}  # fmt: skip
TEACHING = {
    "alone": (*PRUNED, "training.epochs=1"),
    "teacher": (*PRUNED, "training.epochs=1", "distillation=hinton"),
}
# Penalties come before a pruning, when the model is dense. Their reference is dense too.
DENSE = {"dense": (*ALL, "schedule.final=1.0", "prune_at=init")}


# No dense training: the steps of the penalty are measured.
PENALISED = (*PRUNED, "prune_at=init", "rescore_trained=true", "finetune=none")


def with_penalties(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return DENSE | {name: (*PENALISED, f"penalty={name}") for name in names}


PENALTIES = with_penalties(["l1", "growing_l2"])
NORMS = with_penalties(["bn_l1"])


@dataclass(frozen=True)
class Group:
    """Runs that take turns, each a name and what it overrides."""

    runs: Mapping[str, Sequence[str]]
    epochs: int
    repeats: int

    def seconds(self, *common: str) -> Seconds:
        """Returns the median step of each round, per run and kind of step ("rigl update")."""
        times_by_side: Seconds = {}
        with TemporaryDirectory(prefix="dynamic-") as top:
            sides = {
                name: self._side(name, [*common, *own], Path(top), times_by_side)
                for name, own in self.runs.items()
            }
            in_turns(sides, self.repeats)
        return {side: times[1:] for side, times in times_by_side.items()}  # the first one warmed up

    def _side(self, name: str, overrides: list[str], top: Path, times_by_side: Seconds) -> Side:
        penalised = any(override.startswith("penalty=") for override in overrides)
        length = "penalty.epochs" if penalised else "retraining.epochs"
        experiment = build(compose_config([*overrides, f"{length}={self.epochs}", "tracking=none"]))

        def work(watched: Watched) -> None:
            watched.run()
            for kind, seconds in watched.seconds().items():
                times_by_side.setdefault(f"{name} {kind}", []).append(seconds)

        return Side(partial(Watched, experiment, top), work)


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    """Yields ratios of median steps; what an epoch begins and ends with is in none of them.

    Static steps over static steps again should be 1: their distance from 1 is the noise.
    """
    rounds = repeats or REPEATS
    long = partial(Group, epochs=QUICK_EPOCHS if quick else EPOCHS, repeats=rounds)
    short = partial(Group, epochs=QUICK_SHORT_EPOCHS if quick else SHORT_EPOCHS, repeats=rounds)
    optimizers = list(OPTIMIZERS.items())[: 1 if quick else None]
    for title, model in list(MODELS.items())[: 1 if quick else None]:
        for optimizer, recipe in optimizers:
            case, common = f"{title}, {optimizer}", (f"model={model}", *recipe)
            yield from of_masks(case, long(MASKS).seconds(*common))
            yield from of_teaching(case, short(TEACHING).seconds(*common))
            yield from of_penalties(case, short(PENALTIES).seconds(*common))
    for optimizer, recipe in optimizers:
        seconds = short(NORMS).seconds("model=lenet_5_bn", *recipe)
        yield from of_penalties(f"LeNet-5-BN, {optimizer}", seconds)


def of_masks(case: str, seconds: Seconds) -> Iterator[Figure]:
    def over_static(name: str, side: str, **more: float) -> Figure:
        return ratio(f"{case}: {name}", seconds, side, f"static {PLAIN}", **more)

    yield over_static("static / static (noise)", f"static again {PLAIN}")
    for name in DYNAMICS:
        yield over_static(f"{name} / static", f"{name} {PLAIN}", at_most=1.05)
    yield over_static("snfs, history / static", f"snfs {LOOK}")
    for name in DYNAMICS:
        yield over_static(f"{name} update / static", f"{name} {UPDATE}", at_most=3.0)
    yield over_static("pruning / static", f"pruning {PRUNING}")
    yield over_static("its record / static", f"pruning {MEASURING}")


def of_teaching(case: str, seconds: Seconds) -> Iterator[Figure]:
    yield ratio(f"{case}: with teacher / alone", seconds, f"teacher {PLAIN}", f"alone {PLAIN}")


def of_penalties(case: str, seconds: Seconds) -> Iterator[Figure]:
    for side in seconds:
        if not side.startswith("dense"):
            name = side.removesuffix(f" {PLAIN}")
            yield ratio(f"{case}: {name} / dense", seconds, side, f"dense {PLAIN}")
