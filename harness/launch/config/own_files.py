"""Finds what is wrong with a config file of the user that Hydra cannot read."""

import re
from collections.abc import Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from harness.launch.compose import config_dirs

# Groups whose files set keys of the whole config.
GLOBAL = ("method", "experiment", "sweep")
HEADER = re.compile(r"#\s*@package\s+_global_\s*$")
SEARCHED = re.compile(r"file://([^\s,\]'\"]+)")
UNREADABLE = (OSError, RecursionError, UnicodeDecodeError, yaml.YAMLError)  # raised by Hydra


def given_folders(arguments: Sequence[str]) -> list[Path]:
    """Returns the folders of configs that a command line adds."""
    searched = [Path(found) for text in arguments for found in SEARCHED.findall(text)]
    return [*config_dirs(arguments), *searched]


def check_headers(folders: Iterable[Path]) -> None:
    """Checks that files of methods, experiments and sweeps say that they set the whole config.

    Raises:
        ValueError: a file does not begin with `# @package _global_`.
    """
    for folder in folders:
        for file in sorted(each for group in GLOBAL for each in folder.glob(f"{group}/*.yaml")):
            lines = file.read_text(errors="replace").splitlines()
            comments = takewhile(lambda line: not line.strip() or line.startswith("#"), lines)
            if not any(map(HEADER.match, comments)):
                raise ValueError(
                    f"{file}: without its first line it would set keys inside of "
                    f"{file.parent.name}; write as the first line: # @package _global_"
                )


def fault_of_configs(arguments: Sequence[str]) -> str | None:
    """Returns the first fault of the config files that a command line adds, with file and line."""
    for folder in given_folders(arguments):
        files = sorted(folder.rglob("*.yaml"))
        for found in (filter(None, map(_fault, files)), _circles(folder, files)):
            for fault in found:
                return fault
    return None


def _fault(file: Path) -> str | None:
    try:
        OmegaConf.load(file)
    except UnicodeDecodeError as error:
        return f"{file}: byte {error.start} is no UTF-8; save the file as UTF-8"
    except RecursionError:
        return f"{file}: it is nested too deeply; write fewer brackets or levels"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}" if mark else f"{file}"
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        return f"{where}: {problem}; mend the YAML there"
    except OSError as error:
        return f"{file}: {error}; a config holds keys and values"
    return None


def _circles(folder: Path, files: Iterable[Path]) -> Iterator[str]:
    """Yields a defaults list that leads back to its own file."""
    named = {str(file.relative_to(folder).with_suffix("")): file for file in files}
    graph = {
        name: [each for each in _defaults(name, file) if each in named]
        for name, file in named.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]
        yield (
            f"{named[circle[0]]}: its defaults lead back to itself: {' <- '.join(circle)}; leave "
            "one of them out"
        )


def _defaults(name: str, file: Path) -> Iterator[str]:
    """Yields the configs that a file's defaults list names, as paths without .yaml."""
    content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    listed = content.get("defaults") if isinstance(content, dict) else None
    group = name.rpartition("/")[0]
    for entry in listed if isinstance(listed, list) else []:
        pairs = entry.items() if isinstance(entry, dict) else [("", entry)]
        for key, chosen in pairs:
            words = str(key).split(" ")[-1].partition("@")[0]
            inside = words.removeprefix("/") if words.startswith("/") else f"{group}/{words}"
            for each in chosen if isinstance(chosen, list) else [chosen]:
                path = each.removeprefix("/") if str(each).startswith("/") else f"{inside}/{each}"
                yield "/".join(part for part in path.split("/") if part)
