"""From a grid of overrides to points, in a fraction of the time that Hydra takes."""

from collections import defaultdict
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from harness.launch.point import Point, point_of

Overrides = Sequence[str]


def points(
    batch: Sequence[Overrides], master: DictConfig, loader: ConfigLoader, command: str = "run"
) -> list[Point]:
    """One point for each list of overrides, in the same order.

    Whether a config composes, and from which files, depends on the choices of groups and on the
    names of keys. Hydra composes one point of each such shape; values are then set in its place.

    Raises:
        HydraException: a choice or a key of the grid does not exist.
        ValueError: two of a point's choices contradict each other.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed = [parser.parse_overrides(list(overrides)) for overrides in batch]
    alike = defaultdict[tuple[str, ...], list[int]](list)
    for number, overrides in enumerate(parsed):
        alike[shape(overrides, loader)].append(number)
    found: dict[int, Point] = {}
    for numbers in alike.values():
        composed = loader.load_sweep_config(master, list(batch[numbers[0]]))
        for number in numbers:
            found[number] = _set(composed, batch[number], parsed[number], loader, command)
    return [found[number] for number in range(len(batch))]


def shape(overrides: Sequence[Override], loader: ConfigLoader) -> tuple[str, ...]:
    """The overrides, without the values of plain keys."""
    return tuple(
        str(each.key_or_group) if _is_plain(each, loader) else str(each.input_line)
        for each in overrides
    )


def _set(
    composed: DictConfig,
    text: Overrides,
    overrides: Sequence[Override],
    loader: ConfigLoader,
    command: str,
) -> Point:
    for each in overrides:
        if _is_plain(each, loader):
            OmegaConf.update(composed, each.key_or_group, each.value(), merge=True)
    composed.hydra.overrides.task = list(text)
    return point_of(composed, composed.hydra, command)


def _is_plain(override: Override, loader: ConfigLoader) -> bool:
    """A value that takes the place of another, and decides nothing else."""
    if override.is_add() or override.is_force_add() or override.is_delete() or override.package:
        return False
    merged = isinstance(override.value(), dict)  # with what was there
    return not merged and not loader.get_group_options(override.key_or_group)
