"""Every number that a file of conf/ sets has a range, which its class declares in one place."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from conftest import CONF, cases
from omegaconf import OmegaConf

from harness.launch.config.check import EXPERIMENT, OPTIONS, PLUGINS, RUN_OPTIONS
from harness.launch.config.declarations import declared_fields
from harness.launch.trust.targets import components
from harness.vocabulary.checks import AFTER, BEFORE, Part

# Keys whose range is no matter of the key alone.
WITHOUT = {
    "seed": "every whole number of 64 bits is a seed",
    "final": "its range depends on `unit`",
    "values": "their range depends on `unit`",
    "devices": "names of GPUs, of which some are numbers",
}
OURS = sorted(each for each in components() if each.startswith("harness."))
OTHERS = {f"{OPTIONS}.{name}" for name in ("LaunchOptions", "SensitivityOptions")}


def without_bounds(hint: Any) -> bool:
    """True if a hint has a number without a rule, or with one that names no bound."""
    inner = get_args(hint)
    if get_origin(hint) is Annotated and inner[0] in (int, float):
        words = str(inner[1]).partition(";")[0]
        return not (BEFORE.search(words) or AFTER.search(words))
    if get_origin(hint) is Literal:
        return False
    return hint in (int, float) or any(map(without_bounds, inner))


@cases(
    "hint, open_ended",
    (int, True), (float | None, True), (list[int], True), (dict[str, float], True),
    (Annotated[float, "a finite number"], True), (Annotated[list[int], "not empty"], True),
    (Annotated[int, "a whole number >= 1"] | None, False), (Literal[1, 2], False), (str, False),
    (list[Annotated[float, "a number in (0, 1]; 2"]], False), (bool, False), (Part, False),
)  # fmt: skip
def test_a_number_without_a_bound_is_seen(hint, open_ended) -> None:
    assert without_bounds(hint) is open_ended


@pytest.mark.parametrize("target", [*OURS, RUN_OPTIONS, *sorted(OTHERS), *PLUGINS.values()])
def test_every_number_of_a_part_declares_its_range(target) -> None:
    fields = declared_fields(target)
    assert {name for name, each in fields.items() if without_bounds(each.hint)} <= WITHOUT.keys()


def numbers(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields (target, key) of the numbers below a node; numbers in lists are those of the list."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{path}{key}.")
        elif any(
            type(each) in (int, float) for each in (value if isinstance(value, list) else [value])
        ):
            yield str(node.get("_target_", "")), f"{path}{key}"


@pytest.mark.parametrize(
    "file", sorted(CONF.glob("*/*.yaml")), ids=lambda f: f"{f.parent.name}/{f.stem}"
)
def test_every_number_of_a_file_is_of_a_class_that_declares_it(file) -> None:
    node = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    for target, key in numbers(node):
        if target in OURS and target != EXPERIMENT:
            declared = declared_fields(target)[key.rpartition(".")[2]]
            assert declared.hint is not Part and declared.hint is not Any, (target, key)
