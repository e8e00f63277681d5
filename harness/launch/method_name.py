"""Which named method a config is: the name must not lie about the parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from harness.launch.compose import config_folders
from harness.launch.paths import CONF

# Groups that every method chooses from; they name a run that is no method's.
PARTS = ("saliency", "structure", "allocation")
# Groups that it may choose from, with the plain choice of those that do not.
EXTRAS = {
    "finetune": "keep",
    "mask_updates": None,
    "distillation": None,
    "penalty": None,
    "recalibration": None,
}
# What a run without a method says of the time at which it prunes.
_WHEN = {"after_training": None, "init": "at init", "during_training": "while training"}


@dataclass(frozen=True)
class Method:
    """A file of conf/method/, or the parts of a run that no file has.

    fixed: {"saliency": "magnitude", ..., "prune_at": "after_training", "structure.pool_by": "sum"}
    """

    name: str
    label: str
    fixed: dict[str, Any]

    def differing_parts(self, actual: dict[str, Any]) -> dict[str, Any]:
        """What the method fixes and the config has otherwise."""
        return {key: value for key, value in self.fixed.items() if actual.get(key) != value}

    def extras(self, actual: dict[str, Any]) -> list[str]:
        """Choices that the method leaves open, all of them if one is not the plain one.

        >>> snip = Method("snip", "SNIP", fixed={"saliency": "weight_gradient"})
        >>> snip.extras({"finetune": "keep"}), snip.extras({"finetune": "lr_rewind"})
        ([], ['lr_rewind'])
        >>> snip.extras({"finetune": "keep", "distillation": "hinton"})
        ['keep', 'hinton']
        """
        free = {group: actual.get(group) for group in EXTRAS if group not in self.fixed}
        if all(choice == EXTRAS[group] for group, choice in free.items()):
            return []
        # "none" alone would not say of what.
        said = ("no finetune" if choice == "none" else choice for choice in free.values())
        return [choice for choice in said if choice]


def method_name(
    choices: dict[str, str], config: dict[str, Any], hydra: HydraConf
) -> tuple[str, str]:
    """(name, label) for the records: "snip-lr_rewind-random", "SNIP (lr_rewind) (random)".

    A method that was asked for by name must keep its parts. Otherwise the run has the name of
    the method in conf/method/ that has its parts (of several, the one that leaves least to say),
    or that of the parts themselves. What it chooses of EXTRAS beyond the method follows in
    brackets, then own parts of pruning_order and compaction, then whether a method at
    initialisation scores trained or given weights, then its matched control.

    choices: group -> chosen file; "None" where nothing is chosen, as Hydra's None reads as text.

    Raises:
        ValueError: method=... was asked for together with a part that it does not have.
    """
    chosen = {group: None if name == "None" else name for group, name in choices.items()}
    actual = {**_flatten(config), **chosen}
    method = _method(actual, {file.stem: file for file in _method_files(hydra)}, hydra)
    name, label = method.name, method.label
    scored = (
        [_scored_weights(config)]
        if config["rescore_trained"] and config["prune_at"] == "init"
        else []
    )
    control = [] if config["control"] == "none" else [config["control"]]
    for said in filter(None, (method.extras(actual), _own_part_names(config), scored, control)):
        name, label = "-".join([name, *said]).replace(" ", "_"), f"{label} ({', '.join(said)})"
    return name, label


def _own_part_names(config: dict[str, Any]) -> list[str]:
    """Own parts of seams that have no component in conf/, by the names of their classes."""
    parts = (config.get(key) for key in ("pruning_order", "compaction"))
    return [part["_target_"].rpartition(".")[2] for part in parts if part]


def _scored_weights(config: dict[str, Any]) -> str:
    """Which trained weights a method at initialisation scores."""
    return "re-scored while training" if config.get("weights") is None else "scores given weights"


def shipped_method(name: str) -> Method:
    """Reads conf/method/<name>.yaml.

    Raises:
        ValueError: there is no such file.
    """
    files = {file.stem: file for file in (CONF / "method").glob("*.yaml")}
    if name not in files:
        raise ValueError(f"there is no method {name!r}; there are: {', '.join(sorted(files))}")
    return _read_method(files[name])


def _method(actual: dict[str, Any], files: dict[str, Path], hydra: HydraConf) -> Method:
    known = [_read_method(files[name]) for name in sorted(files)]
    if actual["method"] is not None:
        chosen = _read_method(files[actual["method"]])
        asked = any(text.startswith("method=") for text in hydra.overrides.task)
        if asked:
            check_method_kept(chosen, actual)
        if asked or not (chosen.differing_parts(actual) or chosen.extras(actual)):
            return chosen
        known = [chosen, *known]
    same = [method for method in known if not method.differing_parts(actual)]
    return min(same, key=lambda method: len(method.extras(actual)), default=_unnamed_method(actual))


def check_method_kept(method: Method, actual: dict[str, Any]) -> None:
    """
    Raises:
        ValueError: something else was asked for than what the method fixes.
    """
    for key, fixed in method.differing_parts(actual).items():
        raise ValueError(
            f"method={method.name} has {key}={fixed}, but {key}={actual.get(key)} was asked for; "
            "leave out one of the two (without method= the run is named by its parts)"
        )


def _unnamed_method(actual: dict[str, Any]) -> Method:
    when = _WHEN.get(actual["prune_at"], actual["prune_at"])
    named = [actual[part] for part in PARTS] + ([when] if when else [])
    return Method("-".join(named).replace(" ", "_"), " / ".join(named), fixed={})


@cache
def _read_method(file: Path) -> Method:
    loaded = OmegaConf.load(file)
    assert isinstance(loaded, DictConfig)
    content = OmegaConf.to_container(loaded)
    assert isinstance(content, dict)
    own = {str(key): value for key, value in content.items()}
    parts = {
        str(key).removeprefix("override /"): choice
        for entry in own.pop("defaults")
        for key, choice in entry.items()
    }
    label = str(own.pop("method")["label"])
    return Method(file.stem, label, {"prune_at": "after_training", **parts, **_flatten(own)})


def _method_files(hydra: HydraConf) -> Iterator[Path]:
    for folder in config_folders(hydra):
        yield from (folder / "method").glob("*.yaml")


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}.{key}".strip(".")
        flat |= _flatten(inner, name) if isinstance(inner, dict) else {name: inner}
    return flat
