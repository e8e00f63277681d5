"""From a grid of overrides to points, in a fraction of the time that Hydra takes."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from omegaconf import DictConfig, OmegaConf

from harness.launch.run_spec import RunSpec, build_run_spec

Overrides = Sequence[str]


def points(
    batch: Sequence[Overrides], master: DictConfig, loader: ConfigLoader, command: str = "run"
) -> Iterator[tuple[int, RunSpec]]:
    """(number in the batch, point) for each list of overrides, those of one shape together.

    Whether a config composes, and from which files, depends on the choices of groups and on the
    names of keys. Hydra composes one point of each such shape; values are then set in its place.

    Raises:
        HydraException: a choice or a key of the grid does not exist.
        ValueError: two of a point's choices contradict each other.
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
            for each in _free(parsed[number], is_group):
                OmegaConf.update(composed, each.key_or_group, each.value(), merge=True)
            composed.hydra.overrides.task = list(batch[number])
            yield number, build_run_spec(composed, composed.hydra, command)


def shape(overrides: Sequence[Override], is_group: Callable[[str], bool]) -> tuple[str, ...]:
    """The overrides, without the values of keys that `points` sets by itself."""
    free = _free(overrides, is_group)
    return tuple(
        str(each.key_or_group) if each in free else str(each.input_line) for each in overrides
    )


def effective(overrides: Sequence[Override]) -> list[Override]:
    """Without those that a later one replaces, so that a grid's values can be narrowed."""
    return [
        each
        for number, each in enumerate(overrides)
        if not any(_replaces(later, each) for later in overrides[number + 1 :])
    ]


def _replaces(later: Override, each: Override) -> bool:
    where = [(one.key_or_group, one.package) for one in (later, each)]
    plain = not any(_is_odd(one) for one in (later, each))
    return plain and where[0] == where[1] and not _merges(later)


def _free(overrides: Sequence[Override], is_group: Callable[[str], bool]) -> list[Override]:
    """Whose value takes the place of another and decides nothing else.

    Not those of a node that another one adds, deletes or merges into: there the order counts.
    """
    nodes = [each for each in overrides if not is_group(each.key_or_group) and not each.package]
    moving = [each for each in nodes if _is_odd(each) or _merges(each)]
    return [
        each
        for each in nodes
        if each not in moving and not any(_overlap(each, other) for other in moving)
    ]


def _is_odd(override: Override) -> bool:
    return override.is_add() or override.is_force_add() or override.is_delete()


def _merges(override: Override) -> bool:
    """Whether its value goes into what was there."""
    value = override.value()
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    return any(isinstance(one, dict) for one in values)


def _overlap(one: Override, other: Override) -> bool:
    first, second = (f"{each.key_or_group}." for each in (one, other))
    return first.startswith(second) or second.startswith(first)
