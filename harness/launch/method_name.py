"""Finds the method of conf/method/ that a config describes, so that names agree with components."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import OmegaConf

from harness.launch.compose import config_folders
from harness.launch.paths import CONF
from harness.run_folder.identity import value_at

# Groups in which every method has a choice; the choices name a run without a method.
PARTS = ("saliency", "structure", "allocation")
# Groups in which a method may have a choice, with the choice of methods that have none.
EXTRAS = {
    "finetune": "keep",
    "mask_updates": None,
    "distillation": None,
    "penalty": None,
    "recalibration": None,
}
# How the label of a run without a method names the time of pruning.
_WHEN = {"after_training": None, "init": "at init", "during_training": "while training"}


@dataclass(frozen=True)
class Method:
    """Holds a file of conf/method/, or the components of a run that no file describes.

    `fixed` is what the file sets: {"saliency": "magnitude", ..., "structure.pool_by": "sum"}.
    """

    name: str
    label: str
    fixed: dict[str, Any]

    def differing_parts(self, actual: dict[str, Any]) -> dict[str, Any]:
        """Returns what the method sets and the config has otherwise, with the method's values."""
        return {key: value for key, value in self.fixed.items() if actual.get(key) != value}

    def extras(self, actual: dict[str, Any]) -> list[str]:
        """Returns the choices that the method leaves open, or [] if all are those of EXTRAS.

        >>> snip = Method("snip", "SNIP", fixed={"saliency": "weight_gradient"})
        >>> snip.extras({"finetune": "keep"}), snip.extras({"finetune": "lr_rewind"})
        ([], ['lr_rewind'])
        >>> snip.extras({"finetune": "keep", "distillation": "hinton"})
        ['keep', 'hinton']
        """
        free = {group: actual.get(group) for group in EXTRAS if group not in self.fixed}
        if all(choice == EXTRAS[group] for group, choice in free.items()):
            return []
        # "none" alone would not name the group.
        names = ("no finetune" if choice == "none" else choice for choice in free.values())
        return [name for name in names if name]


def method_name(
    choices: dict[str, str], config: dict[str, Any], hydra: HydraConf
) -> tuple[str, str]:
    """Returns (name, label) for records: "snip-lr_rewind-random", "SNIP (lr_rewind) (random)".

    A method that the command line names must have the components of the config. Otherwise the
    method in conf/method/ with these components is taken (of several, the one with the fewest
    extras), or the names of the components. In brackets follow the extras, an own class of
    pruning_order, which weights a method at initialisation scores, norms over the units left, what
    widths are rounded to, and the matched control. A `method.label` that the user sets is the label
    as it stands.

    Args:
        choices: group -> chosen file; "None", Hydra's None as text, without a choice
        config: the values of the config
        hydra: Hydra's node, with its overrides and folders of configs

    Raises:
        ValueError: method=... is given together with a component that the method does not have, or
            method.label is no text of one line.
    """
    chosen = {group: None if name == "None" else name for group, name in choices.items()}
    actual = {**_flatten(config), **chosen}
    files = {file.stem: file for file in _method_files(hydra)}
    method = _method(actual, files, hydra)
    name, label = method.name, method.label
    scored = (
        [_scored_weights(config)]
        if config["rescore_trained"] and config["prune_at"] == "init"
        else []
    )
    living = ["living norms"] if value_at(config, "structure.norms") == "living" else []
    round_to = value_at(config, "structure.round_to")
    rounded = [f"round to {round_to}"] if round_to else []
    control = [] if config["control"] == "none" else [config["control"]]
    extras = method.extras(actual), _own_part_names(config), scored, living, rounded, control
    for words in filter(None, extras):
        name, label = "-".join([name, *words]).replace(" ", "_"), f"{label} ({', '.join(words)})"
    return name, _own_label(actual, files) or label


def _own_label(actual: dict[str, Any], files: dict[str, Path]) -> str | None:
    """Returns method.label where it is not that of the chosen method's file.

    Raises:
        ValueError: it is no text of one line.
    """
    label = actual.get("method.label")
    chosen = files.get(str(actual.get("method")))
    if label is None or (chosen and label == _read_method(chosen).label):
        return None
    if not isinstance(label, str) or not label.strip() or not label.isprintable():
        raise ValueError(
            f"method.label must be a text of one line, or null, got {label!r}; write it as in "
            "method.label=Ours"
        )
    return label


def _own_part_names(config: dict[str, Any]) -> list[str]:
    """Returns the class name of an own pruning order, a group that conf/ does not have."""
    order = config.get("pruning_order")
    return [order["_target_"].rpartition(".")[2]] if order else []


def _scored_weights(config: dict[str, Any]) -> str:
    """Returns which trained weights a method at initialisation scores."""
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
    if actual.get("method") is not None:
        chosen = _read_method(files[actual["method"]])
        requested = any(text.startswith("method=") for text in hydra.overrides.task)
        if requested:
            check_method_kept(chosen, actual)
        if requested or not (chosen.differing_parts(actual) or chosen.extras(actual)):
            return chosen
        known = [chosen, *known]
    same = [method for method in known if not method.differing_parts(actual)]
    return min(same, key=lambda method: len(method.extras(actual)), default=_unnamed_method(actual))


def check_method_kept(method: Method, actual: dict[str, Any]) -> None:
    """Checks that the config has what the method sets.

    Raises:
        ValueError: another component or value is requested.
    """
    for key, fixed in method.differing_parts(actual).items():
        raise ValueError(
            f"method={method.name} has {key}={fixed}, but {key}={actual.get(key)} is requested; "
            "remove one of them (without method= the components name the run)"
        )


def _unnamed_method(actual: dict[str, Any]) -> Method:
    when = _WHEN.get(actual["prune_at"], actual["prune_at"])
    named = [actual[part] for part in PARTS] + ([when] if when else [])
    return Method("-".join(named).replace(" ", "_"), " / ".join(named), fixed={})


@cache
def _read_method(file: Path) -> Method:
    loaded = OmegaConf.load(file)
    content = OmegaConf.to_container(loaded)
    own = {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    label, defaults = OmegaConf.select(loaded, "method.label"), own.pop("defaults", None)
    if label is None or not isinstance(defaults, list):
        raise ValueError(
            f"{file}: a method chooses parts and has a label; write defaults: [override /saliency: "
            "NAME], and method: {label: NAME}"
        )
    del own["method"]
    entries = [entry for entry in defaults if isinstance(entry, dict)]
    parts = {
        str(key).removeprefix("override /"): choice
        for entry in entries
        for key, choice in entry.items()
    }
    return Method(file.stem, str(label), {"prune_at": "after_training", **parts, **_flatten(own)})


def _method_files(hydra: HydraConf) -> Iterator[Path]:
    for folder in config_folders(hydra):
        yield from (folder / "method").glob("*.yaml")


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}.{key}".strip(".")
        flat |= _flatten(inner, name) if isinstance(inner, dict) else {name: inner}
    return flat
