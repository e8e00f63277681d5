"""Composes configs outside a run: to check them, to explain errors, to build parts in notebooks."""

from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig

from harness.launch.paths import CONF

# Groups of which nothing is chosen by default.
OPTIONAL = (
    "dynamics", "penalty", "recalibration", "distillation", "method", "experiment", "sweep",
)  # fmt: skip
ENDINGS = (".yaml", ".yml")


def composed(overrides: Sequence[str] = ()) -> DictConfig:
    """The whole config with these overrides, without the `hydra` node."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def defaults(arguments: Sequence[str]) -> DictConfig | None:
    """The config with those arguments that choose existing group options, or None."""
    own = own_folders(arguments)
    groups = {part.name for folder in (CONF, *own) for part in folder.glob("*/")}
    choices = [text for text in arguments if text.split("=")[0].split("@")[0] in groups]
    paths = ",".join(f"file://{folder.absolute()}" for folder in own)
    try:
        return composed([*choices, *([f"hydra.searchpath=[{paths}]"] if own else [])])
    except HydraException:
        return None


def check_names(folders: Iterable[Path]) -> None:
    """
    Raises:
        ValueError: a config in one of these folders has the name of one that comes with the
            harness, which Hydra would take instead, and is not equal to it; .yml counts as .yaml,
            though Hydra does not read it.
    """
    for folder in {folder.resolve() for folder in folders} - {CONF.resolve()}:
        for file in sorted(each for each in folder.rglob("*") if each.suffix.lower() in ENDINGS):
            shipped = CONF / file.relative_to(folder).with_suffix(".yaml")
            if shipped.is_file() and shipped.read_bytes() != file.read_bytes():
                is_read = file.suffix == ".yaml"
                ending = "" if is_read else f" and {file.suffix}, which is not looked for"
                rename = "give it" if is_read else "rename it to .yaml, with"
                raise ValueError(
                    f"{file} would not be read: it has the name of {shipped}, which comes with the "
                    f"harness{ending}; {rename} a name of its own, and choose that"
                )


def without_nulls(arguments: Sequence[str]) -> list[str]:
    """`GROUP=null` as Hydra wants it for a group that may be left out: `~GROUP`.

    >>> without_nulls(["dynamics=null", "weights=null", "seed=1"])
    ['~dynamics', 'weights=null', 'seed=1']
    """
    off = {f"{group}=null": f"~{group}" for group in OPTIONAL}
    return [off.get(text, text) for text in arguments]


def own_folders(arguments: Sequence[str]) -> list[Path]:
    """What --config-dir names."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    found = parser.parse_known_args(arguments)[0].config_dir
    return [found] if found else []
