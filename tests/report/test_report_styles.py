"""Gives methods colours and markers that every report repeats and that differ within one."""

import re

import pytest
from conftest import cases
from omegaconf import OmegaConf

from harness.launch.paths import CONF
from harness.report.figures.styles import COLOURS, SHIPPED, line_styles, method_styles

METHODS = {
    file.stem: OmegaConf.load(file)["method"]["label"] for file in (CONF / "method").glob("*.yaml")
}
SWEEPS = [
    re.findall(r"\w+", names)
    for file in (CONF / "sweep").glob("*.yaml")
    for names in re.findall(r"^ +method: (?:>-\n)?((?:[\s\w]+,)+\s*\w+)", file.read_text(), re.M)
]


def test_a_shipped_method_looks_alike_in_every_report() -> None:
    alone = {label: method_styles([label])[label] for label in METHODS.values()}
    assert method_styles([*METHODS.values(), "Ours"]).items() >= alone.items()
    assert len(set(alone.values())) == len(METHODS)


def test_the_list_of_fixed_styles_names_methods_that_are_shipped() -> None:
    assert set(SHIPPED) <= set(METHODS.values()) and len(set(SHIPPED)) == len(SHIPPED)


def test_the_shipped_sweeps_of_up_to_eight_methods_have_a_colour_each() -> None:
    few = [names for names in SWEEPS if len(names) <= len(COLOURS)]
    assert len(few) >= 3
    for names in few:
        styles = method_styles([METHODS[name] for name in names])
        assert len({look.colour for look in styles.values()}) == len(names), names


@cases("others", ["SNIP"], ["SNIP", "Random", "Ours too"], ["A", "B", "C", "D", "E", "F"])
def test_another_method_has_a_colour_of_its_own_that_does_not_change(others) -> None:
    styles = method_styles([*others, "Ours"])
    assert len({look.colour for look in styles.values()}) == len(styles)
    assert method_styles(["Ours", *others]) == styles


def test_the_style_of_another_method_follows_from_its_name() -> None:
    alone = method_styles(["Ours"])["Ours"]
    assert method_styles(["Ours", "Random"])["Ours"] == alone
    assert len({method_styles([f"Ours {n}"])[f"Ours {n}"].colour for n in range(20)}) > 4


@cases("styles", method_styles, line_styles)
def test_more_than_eight_methods_differ_by_marker_too(styles) -> None:
    found = styles([str(number) for number in range(90)])
    assert len(set(found.values())) == 90
    few = styles([str(number) for number in range(70)]).values()
    assert len({(look.colour, look.marker) for look in few}) == 70


@pytest.mark.parametrize("colour", COLOURS)
@cases("ground", "#ffffff", "#16181b")
def test_colours_stand_out_on_paper_and_on_a_dark_page(colour, ground) -> None:
    light, dark = sorted((_luminance(colour), _luminance(ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def _luminance(colour: str) -> float:
    """Returns the relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
