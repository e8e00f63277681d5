"""Which named method a config is: the name must not lie about the parts."""

from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

PARTS = ("saliency", "structure", "allocation")


def method_of(choices: dict[str, str], config: dict[str, Any], hydra: HydraConf) -> tuple[str, str]:
    """(name, label) for the records.

    A method that was asked for by name must keep its parts. If only the default method's parts
    were changed, the run is named by its parts instead.

    Raises:
        ValueError: method=... was asked for together with a part that it does not have.
    """
    parts = {part: choices[part] for part in PARTS} | {"when": config["when"]}
    name = choices["method"]
    fixed = _parts_of(name, hydra)
    changed = [part for part in fixed if fixed[part] != parts[part]]
    if not changed:
        return name, str(config["method"]["label"])
    if any(text.startswith("method=") for text in hydra.overrides.task):
        part = changed[0]
        raise ValueError(
            f"method={name} has {part}={fixed[part]}, but {part}={parts[part]} was asked for; "
            f"leave out one of the two (without method= the run is named by its parts)"
        )
    ending = ["at init"] if parts["when"] == "init" else []
    named = [*(parts[part] for part in PARTS), *ending]
    return "-".join(named).replace(" ", "_"), " / ".join(named)


def _parts_of(name: str, hydra: HydraConf) -> dict[str, str]:
    found = OmegaConf.load(_file_of(name, hydra))
    assert isinstance(found, DictConfig)
    overrides = {
        str(key).removeprefix("override /"): str(value)
        for entry in found.defaults
        for key, value in entry.items()
    }
    return overrides | {"when": found.get("when", "trained")}


def _file_of(name: str, hydra: HydraConf) -> Path:
    folders = [Path(s.path) for s in hydra.runtime.config_sources if s.schema == "file"]
    return next(
        file for folder in folders if (file := folder / "method" / f"{name}.yaml").is_file()
    )
