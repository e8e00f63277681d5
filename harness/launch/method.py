"""Which named method a config is: the name must not lie about the parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

PARTS = ("saliency", "structure", "allocation")


def method_of(choices: dict[str, str], config: dict[str, Any], hydra: HydraConf) -> tuple[str, str]:
    """(name, label) for the records; a matched control is named after its method too.

    A method that was asked for by name must keep its parts. Otherwise the run has the name of
    the method in conf/method/ that has its parts, or that of the parts themselves.

    Raises:
        ValueError: method=... was asked for together with a part that it does not have.
    """
    name, label = _named(choices, config, hydra)
    control = config["control"]
    return (name, label) if control == "none" else (f"{name}-{control}", f"{label} ({control})")


def _named(choices: dict[str, str], config: dict[str, Any], hydra: HydraConf) -> tuple[str, str]:
    actual = {**_flat(config), **{part: choices[part] for part in PARTS}}
    methods = {file.stem: file for file in _files(hydra)}
    chosen = choices["method"]
    changed = _changed(methods[chosen], actual)
    if not changed:
        return chosen, _label(methods[chosen])
    if any(text.startswith("method=") for text in hydra.overrides.task):
        key, fixed = next(iter(changed.items()))
        raise ValueError(
            f"method={chosen} has {key}={fixed}, but {key}={actual.get(key)} was asked for; leave "
            "out one of the two (without method= the run is named by its parts)"
        )
    for name, file in sorted(methods.items()):
        if not _changed(file, actual):
            return name, _label(file)
    named = [choices[part] for part in PARTS] + (["at init"] if config["when"] == "init" else [])
    return "-".join(named).replace(" ", "_"), " / ".join(named)


def _changed(file: Path, actual: dict[str, Any]) -> dict[str, Any]:
    """What the method fixes and the config has otherwise."""
    return {key: value for key, value in _fixed(file).items() if actual.get(key) != value}


def _fixed(file: Path) -> dict[str, Any]:
    """{"saliency": "magnitude", ..., "when": "trained", "structure.pool_by": "sum"}"""
    content = _read(file)
    defaults = content.pop("defaults")
    content.pop("method")
    parts = {
        str(key).removeprefix("override /"): str(choice)
        for entry in defaults
        for key, choice in entry.items()
    }
    return {"when": "trained", **parts, **_flat(content)}


def _label(file: Path) -> str:
    return str(_read(file)["method"]["label"])


def _read(file: Path) -> dict[str, Any]:
    loaded = OmegaConf.load(file)
    assert isinstance(loaded, DictConfig)
    content = OmegaConf.to_container(loaded)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _files(hydra: HydraConf) -> Iterator[Path]:
    for source in hydra.runtime.config_sources:
        if source.schema == "file":
            yield from (Path(source.path) / "method").glob("*.yaml")


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}.{key}".strip(".")
        flat |= _flat(inner, name) if isinstance(inner, dict) else {name: inner}
    return flat
