"""A sweep's plan of an earlier start, found by all that decides it."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import harness
from harness.launch.sweeps.plan import DAMAGED, Plan, sha256_of
from harness.launch.trust.stored_parts import is_vouched

VARIABLE = re.compile(rb"oc\.env:\s*(\w+)")


def remembered(path: Path, make: Callable[[], Plan]) -> Plan:
    """The plan of that file, or a new one if there is none of this user's that still holds."""
    with suppress(OSError, *DAMAGED):
        if not is_vouched(path, path.read_bytes()):
            return make()
        files = json.loads(_first_line(path))["files"]
        if all(sha256_of(file) == sha for file, sha in files.items()):
            return Plan.read(path)
    return make()


def key_of(arguments: Sequence[str], command: str, sources: Iterable[Path]) -> str:
    """12 hex digits over all that decides a plan: arguments, configs, variables of the environment
    that they name, and the harness's code.

    sources: folders of configs.
    """
    digest = hashlib.sha256(json.dumps([command, *arguments]).encode())
    code = Path(str(harness.__file__)).parent.rglob("*.py")
    configs = (file for folder in sources for file in folder.rglob("*.yaml"))
    said = [text.encode() for text in arguments]
    for file in sorted({*code, *configs}):
        content = file.read_bytes()
        digest.update(f"{file}\n".encode() + content)
        said += [content] if file.suffix == ".yaml" else []
    for name in sorted({name.decode() for text in said for name in VARIABLE.findall(text)}):
        digest.update(f"{name}={os.environ.get(name)}\n".encode())
    return digest.hexdigest()[:12]


def _first_line(path: Path) -> str:
    with path.open() as file:
        return file.readline()
