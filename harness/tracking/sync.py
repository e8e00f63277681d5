"""Uploads what W&B has kept offline, with W&B's own `wandb sync`."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from harness.system.locks import is_held
from harness.system.redaction import refers, restored
from harness.tracking.wandb_settings import check_environment

CONNECT_S = 10.0
# As `wandb sync` says it, and leaves with status 0.
NOT_LOGGED_IN = ("not authenticated", "no api key", "not logged in", "wandb login")


class NoServer(RuntimeError):
    """Nothing can be uploaded at all."""


@dataclass(frozen=True)
class OfflineRun:
    """The folders of one W&B run that are not uploaded yet, oldest first."""

    id: str
    folders: tuple[Path, ...]

    @property
    def is_running(self) -> bool:
        """Whether one of its folders is still written to; then all of it is left for later, or
        the rows would come in another order."""
        return any(map(is_running, self.folders))


def offline_runs(runs: Path) -> list[OfflineRun]:
    """Every W&B run below the folder with something to upload, by the time it was begun.

    Raises:
        ValueError: there is no such folder.
    """
    if not runs.is_dir():
        raise ValueError(f"RUNS={runs} is no folder; name that of a run, a sweep or all runs")
    found: dict[str, list[Path]] = {}
    for file in sorted(runs.glob("**/offline-run-*/run-*.wandb"), key=_begun):
        if not file.with_name(f"{file.name}.synced").exists():
            found.setdefault(file.stem.removeprefix("run-"), []).append(file.parent)
    return [OfflineRun(name, tuple(folders)) for name, folders in found.items()]


def is_running(folder: Path) -> bool:
    """Whether the run that this folder belongs to (RUN/wandb/offline-run-...) is going on."""
    return is_held(folder.parent.parent)


def _begun(file: Path) -> tuple[str, int]:
    # "offline-run-20261123_105112-ID": to a second, so the file's own time decides between equals.
    return file.parent.name.split("-")[2], file.stat().st_mtime_ns


def check_server(url: str) -> None:
    """
    Raises:
        NoServer: nothing answers there in CONNECT_S seconds; any answer will do.
    """
    try:
        urllib.request.urlopen(url, timeout=CONNECT_S).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        raise NoServer(
            f"{url} does not answer ({error}); look at the network and WANDB_BASE_URL"
        ) from error


def server() -> str:
    """Where W&B is: of WANDB_BASE_URL, its settings file or its default.

    Raises:
        ValueError: W&B refuses a variable of the environment.
    """
    check_environment()
    if said := os.environ.get("WANDB_BASE_URL"):
        return said
    import wandb

    return str(wandb.setup().settings.base_url)


def upload(one: OfflineRun, project: str | None, entity: str | None, limit_s: float) -> str:
    """Why it failed, or "". A folder that is uploaded carries W&B's marker.

    Raises:
        NoServer: nobody is logged in.
    """
    folders = [str(folder.absolute()) for folder in one.folders]
    try:
        # Its log goes into wandb/ where it is started.
        with TemporaryDirectory() as here:
            done = subprocess.run(
                [*_command(*_address(one, project, entity)), *folders],
                cwd=here,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=limit_s,
            )
    except subprocess.TimeoutExpired:
        return f"not uploaded in {limit_s:g} s; try again, or give it more with --limit"
    said = done.stdout.strip().splitlines()
    if all(any(folder.glob("*.wandb.synced")) for folder in one.folders):
        return ""
    if any(text in done.stdout.lower() for text in NOT_LOGGED_IN):
        raise NoServer("nobody is logged in to W&B; run `wandb login` or set WANDB_API_KEY")
    return said[-1].removeprefix("wandb: ") if said else f"wandb sync left with {done.returncode}"


def _address(
    one: OfflineRun, project: str | None, entity: str | None
) -> tuple[str | None, str | None]:
    """Where to, if it is not asked for: what the run's config reads from the environment."""
    try:
        said = yaml.safe_load((one.folders[0].parents[1] / "config.yaml").read_text())["tracking"]
        found = {key: str(said[key]) for key in ("project", "entity") if refers(said.get(key))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return project, entity
    where = {key: restored(text) for key, text in found.items()}
    return project or where.get("project"), entity or where.get("entity")


def _command(project: str | None, entity: str | None) -> Iterator[str]:
    yield from (sys.executable, "-m", "wandb", "sync")
    if project:
        yield from ("--project", project)
    if entity:
        yield from ("--entity", entity)


def _environment() -> dict[str, str]:
    # A mode or a run id that was meant for training would turn the upload off or elsewhere.
    unwanted = {"WANDB_MODE", "WANDB_RUN_ID", "WANDB_DIR", "WANDB_SILENT"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def sync(
    found: Sequence[OfflineRun], project: str | None, entity: str | None, limit_s: float
) -> list[str]:
    """Uploads one after the other, goes on after failures and says each; the ids that failed.

    Raises:
        NoServer: nobody is logged in, or nothing answers.
        ValueError: W&B refuses a variable of the environment.
    """
    check_server(server())
    failed = []
    for number, one in enumerate(found, start=1):
        why = upload(one, project, entity, limit_s)
        print(f"[{number}/{len(found)}] {one.id}: {why or 'uploaded'}", flush=True)
        if why:
            failed.append(one.id)
    return failed
