"""Composes configs outside a run: for checks, error messages and notebooks."""

from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from omegaconf import DictConfig

from harness.launch.paths import CONF

# Groups without a choice by default.
OPTIONAL = (
    "mask_updates", "penalty", "recalibration", "distillation", "method", "experiment", "sweep",
)  # fmt: skip
ENDINGS = (".yaml", ".yml")


def compose_config(overrides: Sequence[str] = ()) -> DictConfig:
    """Returns the whole config with these overrides, without the `hydra` node."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def compose_choices(arguments: Sequence[str]) -> DictConfig | None:
    """Returns the config with the group choices among the arguments, or None if one is wrong."""
    own = config_dirs(arguments)
    groups = {group.name for folder in (CONF, *own) for group in folder.glob("*/")}
    choices = [text for text in arguments if text.split("=")[0].split("@")[0] in groups]
    paths = ",".join(f"file://{folder.absolute()}" for folder in own)
    with suppress(Exception):  # only a hint is lost
        return compose_config([*choices, *([f"hydra.searchpath=[{paths}]"] if own else [])])
    return None


def check_config_names(folders: Iterable[Path]) -> None:
    """Checks that Hydra reads every config of these folders.

    Raises:
        ValueError: a config has the name of a shipped one, which Hydra would read instead, and
            differs from it. A .yml file counts as .yaml, although Hydra does not read .yml.
    """
    for folder in {folder.resolve() for folder in folders} - {CONF.resolve()}:
        for file in sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS):
            shipped = CONF / file.relative_to(folder).with_suffix(".yaml")
            if shipped.is_file() and shipped.read_bytes() != file.read_bytes():
                is_read = file.suffix == ".yaml"
                ending = "" if is_read else f" and {file.suffix}, which Hydra does not read"
                remedy = "rename it" if is_read else "rename it to .yaml under another name"
                raise ValueError(
                    f"{file} would not be read: it has the name of the harness's own {shipped}"
                    f"{ending}; {remedy} and choose the new name"
                )


def config_folders(hydra: HydraConf) -> list[Path]:
    """Returns the folders of configs that Hydra reads (file://, pkg://), without Hydra's own."""
    sources = (source for source in hydra.runtime.config_sources if source.provider != "hydra")
    folders = (_folder(source.schema, source.path) for source in sources)
    return [folder for folder in folders if folder is not None]


def _folder(schema: str, path: str) -> Path | None:
    if schema == "file":
        return Path(path)
    if schema != "pkg":  # structured configs have no folder
        return None
    with suppress(ImportError, ValueError, TypeError):  # Hydra reports the error
        folder = Path(str(resources.files(path.replace("/", "."))))
        return folder if folder.is_dir() else None
    return None


def check_overrides(arguments: Sequence[str]) -> None:
    """Checks that Hydra knows all flags and can read all other words.

    Raises:
        ValueError: a flag is unknown, or a word is no override, such as a command after `run`.
    """
    flags = get_args_parser()
    flags.error = _refuse  # type: ignore[method-assign]
    known, unknown = flags.parse_known_intermixed_args(arguments)
    if odd := [word for word in unknown if word.startswith("-")]:
        names = sorted(name for name in flags._option_string_actions if name.startswith("--"))
        near = get_close_matches(odd[0], names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{odd[0]}: there is no such option; {hint}there are: {', '.join(names)}")
    for word in known.overrides:
        if "=" not in word and not word.startswith("~"):
            raise ValueError(
                f"{word}: no override of a run; write KEY=VALUE, or, if it is a command, "
                f"`pruning-harness {word}`"
            )
        try:
            OverridesParser.create().parse_overrides([word])
        except OverrideParseException:
            raise ValueError(
                f"{word}: Hydra cannot read this; close all brackets, and put quotes inside "
                "quotes around a value with other signs: 'KEY=\"VALUE\"'"
            ) from None


def options_first(arguments: Sequence[str]) -> list[str]:
    """Returns the options, then the overrides; Hydra reads no override behind an option.

    >>> options_first(["data=blobs", "-m", "seed=0,1", "--config-dir", "conf"])
    ['-m', '--config-dir', 'conf', 'data=blobs', 'seed=0,1']
    """
    overrides = get_args_parser().parse_known_intermixed_args(arguments)[0].overrides
    return [*(word for word in arguments if word not in overrides), *overrides]


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"{message}; `pruning-harness run --help` lists all parts and keys")


def nulls_as_deletions(arguments: Sequence[str]) -> list[str]:
    """Rewrites `GROUP=null` as `~GROUP`, which Hydra expects for an optional group.

    >>> nulls_as_deletions(["mask_updates=null", "weights=null", "seed=1"])
    ['~mask_updates', 'weights=null', 'seed=1']

    Raises:
        ValueError: a group without which there is no run is given as null.
    """
    off = {f"{group}=null": f"~{group}" for group in OPTIONAL}
    for text in arguments:
        group = text.partition("=")[0].partition("@")[0]
        if text.endswith("=null") and text not in off and any((CONF / group).glob("*.yaml")):
            names = ", ".join(sorted(file.stem for file in (CONF / group).glob("*.yaml")))
            raise ValueError(f"{text}: a run needs a {group}; there are: {names}")
    return [off.get(text, text) for text in arguments]


def config_dirs(arguments: Sequence[str]) -> list[Path]:
    """Returns the folder that --config-dir names, if any."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path, nargs="?")
    folder = parser.parse_known_args(arguments)[0].config_dir
    return [folder] if folder else []


def missing_keys(config: DictConfig) -> set[str]:
    """Returns the keys that a config leaves to the user."""
    from omegaconf import OmegaConf

    return set(OmegaConf.missing_keys(config))
