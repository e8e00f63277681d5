"""Composes the runs of a grid of overrides, in a fraction of the time that Hydra takes."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from omegaconf import DictConfig, OmegaConf

from harness.launch.run_spec import RunSpec, build_run_spec

Overrides = Sequence[str]


def compose_runs(
    batch: Sequence[Overrides], master: DictConfig, loader: ConfigLoader, command: str = "run"
) -> Iterator[tuple[int, RunSpec]]:
    """Yields (index in the batch, run) for each list of overrides, those of one shape together.

    Choices of groups and names of keys form the shape: they decide from which files a config
    composes. Hydra composes one run of each shape, in which the values of the others are set.

    Raises:
        HydraException: a choice or a key of the grid does not exist.
        ValueError: two choices of a run contradict each other.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed = [parser.parse_overrides(list(overrides)) for overrides in batch]
    is_group = cache(lambda key: bool(loader.get_group_options(key)))
    alike = defaultdict[tuple[str, ...], list[int]](list)
    for number, overrides in enumerate(parsed):
        alike[shape(overrides, is_group)].append(number)
    for numbers in alike.values():
        composed = loader.load_sweep_config(master, list(batch[numbers[0]]))
        for number in numbers:
            for override in _free(parsed[number], is_group):
                OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
            composed.hydra.overrides.task = list(batch[number])
            yield number, build_run_spec(composed, composed.hydra, command)


def shape(overrides: Sequence[Override], is_group: Callable[[str], bool]) -> tuple[str, ...]:
    """Returns the overrides, without the values of keys that `compose_runs` sets itself."""
    free = _free(overrides, is_group)
    return tuple(
        str(override.key_or_group) if override in free else str(override.input_line)
        for override in overrides
    )


def effective(overrides: Sequence[Override]) -> list[Override]:
    """Drops overrides that a later one replaces, so that a grid can be narrowed."""
    return [
        override
        for number, override in enumerate(overrides)
        if not any(_replaces(later, override) for later in overrides[number + 1 :])
    ]


def _replaces(later: Override, earlier: Override) -> bool:
    targets = [(override.key_or_group, override.package) for override in (later, earlier)]
    plain = not any(_adds_or_deletes(override) for override in (later, earlier))
    return plain and targets[0] == targets[1] and not _merges(later)


def _free(overrides: Sequence[Override], is_group: Callable[[str], bool]) -> list[Override]:
    """Returns the overrides that only replace a value: no group choice, no `+` or `~`.

    Overrides below a node that another one adds, deletes or merges into are left out, because
    there the order counts.
    """
    nodes = [
        override
        for override in overrides
        if not is_group(override.key_or_group) and not override.package
    ]
    moving = [override for override in nodes if _adds_or_deletes(override) or _merges(override)]
    return [
        override
        for override in nodes
        if override not in moving and not any(_overlap(override, other) for other in moving)
    ]


def _adds_or_deletes(override: Override) -> bool:
    return override.is_add() or override.is_force_add() or override.is_delete()


def _merges(override: Override) -> bool:
    """True if the override merges a dict into the present value."""
    value = override.value()
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    return any(isinstance(item, dict) for item in values)


def _overlap(override_a: Override, override_b: Override) -> bool:
    first, second = (f"{override.key_or_group}." for override in (override_a, override_b))
    return first.startswith(second) or second.startswith(first)
