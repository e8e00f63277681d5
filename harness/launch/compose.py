"""Composes configs outside a run: to check them, to explain errors, to build parts in notebooks."""

from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig

from harness.launch.paths import CONF

# Groups of which nothing is chosen by default.
OPTIONAL = (
    "mask_updates", "penalty", "recalibration", "distillation", "method", "experiment", "sweep",
)  # fmt: skip
ENDINGS = (".yaml", ".yml")


def compose_config(overrides: Sequence[str] = ()) -> DictConfig:
    """The whole config with these overrides, without the `hydra` node."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def compose_choices(arguments: Sequence[str]) -> DictConfig | None:
    """The config with those arguments that choose existing group options, or None."""
    own = config_dirs(arguments)
    groups = {part.name for folder in (CONF, *own) for part in folder.glob("*/")}
    choices = [text for text in arguments if text.split("=")[0].split("@")[0] in groups]
    paths = ",".join(f"file://{folder.absolute()}" for folder in own)
    try:
        return compose_config([*choices, *([f"hydra.searchpath=[{paths}]"] if own else [])])
    except HydraException:
        return None


def check_config_names(folders: Iterable[Path]) -> None:
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


def config_folders(hydra: HydraConf) -> list[Path]:
    """Folders of configs, however they were given (file://, pkg://), without Hydra's own."""
    sources = (one for one in hydra.runtime.config_sources if one.provider != "hydra")
    found = (_folder(source.schema, source.path) for source in sources)
    return [folder for folder in found if folder is not None]


def _folder(schema: str, path: str) -> Path | None:
    if schema == "file":
        return Path(path)
    if schema != "pkg":  # of classes, which are no files
        return None
    with suppress(ImportError, ValueError, TypeError):  # Hydra says that it is not there
        folder = Path(str(resources.files(path.replace("/", "."))))
        return folder if folder.is_dir() else None
    return None


def nulls_as_deletions(arguments: Sequence[str]) -> list[str]:
    """`GROUP=null` as Hydra wants it for a group that may be left out: `~GROUP`.

    >>> nulls_as_deletions(["mask_updates=null", "weights=null", "seed=1"])
    ['~mask_updates', 'weights=null', 'seed=1']
    """
    off = {f"{group}=null": f"~{group}" for group in OPTIONAL}
    return [off.get(text, text) for text in arguments]


def config_dirs(arguments: Sequence[str]) -> list[Path]:
    """What --config-dir names."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    found = parser.parse_known_args(arguments)[0].config_dir
    return [found] if found else []
