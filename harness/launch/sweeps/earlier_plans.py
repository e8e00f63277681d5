"""Loads the plan of an earlier start of a sweep, found by a key over its inputs."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import harness
from harness.launch.sweeps.plan import DAMAGED, Plan, sha256_of
from harness.launch.trust.stored_parts import is_own_plan
from harness.system.json_schema import parse_json

VARIABLE = re.compile(rb"oc\.env:\s*(\w+)")


def load_or_create(path: Path, make: Callable[[], Plan]) -> Plan:
    """Loads the plan of this file, or calls `make` if it is missing, outdated or not the user's."""
    with suppress(OSError, *DAMAGED):
        if not is_own_plan(path, path.read_bytes()):
            return make()
        files = parse_json(_first_line(path))["files"]
        if all(sha256_of(file) == sha for file, sha in files.items()):
            return Plan.read(path)
    return make()


def plan_key(arguments: Sequence[str], command: str, sources: Iterable[Path]) -> str:
    """Returns 12 hex digits over all inputs of a plan.

    These are the arguments, the configs in the folders `sources`, the environment variables that
    both name, and the harness's code.
    """
    digest = hashlib.sha256(json.dumps([command, *arguments]).encode())
    code = Path(str(harness.__file__)).parent.rglob("*.py")
    configs = (file for folder in sources for file in folder.rglob("*.yaml"))
    texts = [text.encode() for text in arguments]
    for file in sorted({*code, *configs}):
        content = file.read_bytes()
        digest.update(f"{file}\n".encode() + content)
        texts += [content] if file.suffix == ".yaml" else []
    for name in sorted({name.decode() for text in texts for name in VARIABLE.findall(text)}):
        digest.update(f"{name}={os.environ.get(name)}\n".encode())
    return digest.hexdigest()[:12]


def _first_line(path: Path) -> str:
    with path.open() as file:
        return file.readline()
