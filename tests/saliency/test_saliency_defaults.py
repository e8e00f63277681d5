"""Tests what a saliency does by default: in a run, in a call, and in the reference."""

import pytest
from conftest import CONF, ROOT, component
from omegaconf import OmegaConf

from harness.launch.components import build_components
from harness.launch.compose import compose_config
from harness.saliency.base import default_allocation

PAGE = ROOT / "docs" / "reference" / "saliencies.md"
SALIENCIES = sorted(file.stem for file in (CONF / "saliency").glob("*.yaml"))
UNTOLD = {"_target_", "defaults", "seed", "memory_limit_gb"}


def rows() -> dict[str, list[str]]:
    """Returns the page's cells by saliency, without the first."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {first.strip("` "): rest for first, *rest in cells}


def settings(name: str) -> str:
    content = OmegaConf.to_container(OmegaConf.load(CONF / "saliency" / f"{name}.yaml"))
    assert isinstance(content, dict)
    own = (f"{key}={_text(value)}" for key, value in content.items() if key not in UNTOLD)
    return ", ".join(own) or "-"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_reference_has_a_row_for_published_saliencies_alone() -> None:
    assert len(rows()) >= 20
    assert set(rows()) <= set(SALIENCIES)


@pytest.mark.parametrize("name", sorted(rows()))
def test_the_reference_says_what_is_done(name) -> None:
    _, theirs, allocation, their_rounds, rounds, their_settings, own_settings, why = rows()[name]
    saliency = component("saliency", name)
    assert allocation == default_allocation(saliency)
    assert rounds == str(getattr(saliency, "rounds", 1))
    assert own_settings == settings(name)
    differs = (theirs, their_rounds) != (allocation, rounds)
    assert why != "-" or not differs


@pytest.mark.parametrize("name", SALIENCIES)
def test_a_file_holds_the_defaults_of_its_class_and_the_seed_of_the_run(name) -> None:
    saliency = component("saliency", name, seed=11)
    seed = {"seed": 11} if hasattr(saliency, "seed") else {}
    assert saliency == type(saliency)(**seed)


@pytest.mark.parametrize("name", SALIENCIES)
def test_a_run_and_a_call_share_the_budget_alike(name) -> None:
    structure = "row" if component("saliency", name).granularity == "unit" else "element"
    call = build_components(None, name, structure, None, seed=0)
    run = compose_config([f"saliency={name}", f"structure={structure}"])
    assert run.allocation._target_.endswith(type(call.allocation).__qualname__)


def test_what_is_asked_for_wins_over_the_default() -> None:
    asked = compose_config(["saliency=obs", "allocation=lamp"])
    assert asked.allocation._target_ == "harness.allocation.lamp.Lamp"
    call = build_components(None, "obs", None, "lamp", seed=0)
    assert type(call.allocation).__name__ == "Lamp"
    # A method, too, is asked for.
    assert compose_config(["method=wanda"]).allocation._target_.endswith("Uniform")
