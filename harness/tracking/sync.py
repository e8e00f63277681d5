"""Uploads the offline folders of W&B with `wandb sync`."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.extras import check_extra
from harness.system.locks import is_held
from harness.system.redaction import has_reference, restore
from harness.tracking.wandb_settings import check_environment

CONNECT_S = 10.0
# Parts of the message of `wandb sync`, whose exit status is 0 all the same.
NOT_LOGGED_IN = ("not authenticated", "no api key", "not logged in", "wandb login")


class NoServer(RuntimeError):
    """Signals that no upload is possible: no server answers, or no user is logged in."""


@dataclass(frozen=True)
class OfflineRun:
    """Holds the folders of one W&B run that are not uploaded yet, oldest first."""

    id: str
    folders: tuple[Path, ...]

    @property
    def is_running(self) -> bool:
        """True if the run of one of the folders is running.

        All folders then wait for a later upload, because rows must arrive in order.
        """
        return any(map(is_running, self.folders))


def offline_runs(runs: Path) -> list[OfflineRun]:
    """Returns the W&B runs below the folder that are not uploaded, in the order of their starts.

    Raises:
        ValueError: the folder does not exist.
    """
    if not runs.is_dir():
        raise ValueError(
            f"RUNS={runs} is not a folder: pass that of a run, of a sweep or of all runs"
        )
    folders: dict[str, list[Path]] = {}
    for file in sorted(runs.glob("**/offline-run-*/run-*.wandb"), key=_begun):
        if not file.with_name(f"{file.name}.synced").exists():
            folders.setdefault(file.stem.removeprefix("run-"), []).append(file.parent)
    return [OfflineRun(name, tuple(paths)) for name, paths in folders.items()]


def is_running(folder: Path) -> bool:
    """True if the run of this folder (RUN/wandb/offline-run-...) is running."""
    return is_held(folder.parent.parent)


def _begun(file: Path) -> tuple[str, int]:
    # "offline-run-20261123_105112-ID" counts seconds; the file's own time decides between equals.
    return file.parent.name.split("-")[2], file.stat().st_mtime_ns


def check_server(url: str) -> None:
    """Checks that a server answers; any answer counts.

    Raises:
        NoServer: no answer in CONNECT_S seconds.
    """
    try:
        urllib.request.urlopen(url, timeout=CONNECT_S).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        raise NoServer(
            f"{url} does not answer ({error}): check the network and WANDB_BASE_URL"
        ) from error


def server() -> str:
    """Returns W&B's address from WANDB_BASE_URL, W&B's settings file or its default.

    Raises:
        ValueError: W&B refuses a variable of the environment.
    """
    check_environment()
    if url := os.environ.get("WANDB_BASE_URL"):
        return url
    import wandb

    return str(wandb.setup().settings.base_url)


def upload(run: OfflineRun, project: str | None, entity: str | None, limit_s: float) -> str:
    """Uploads a run's folders; returns "" or the reason of the failure.

    `wandb sync` leaves a marker in each folder that it has uploaded.

    Raises:
        NoServer: no user is logged in.
    """
    folders = [str(folder.absolute()) for folder in run.folders]
    try:
        # `wandb sync` writes its log into wandb/ of the working directory.
        with TemporaryDirectory() as folder:
            done = subprocess.run(
                [*_command(*_address(run, project, entity)), *folders],
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=limit_s,
            )
    except subprocess.TimeoutExpired:
        return f"not uploaded in {limit_s:g} s: run the command again, with a larger --limit"
    lines = done.stdout.strip().splitlines()
    if all(any(path.glob("*.wandb.synced")) for path in run.folders):
        return ""
    if any(text in done.stdout.lower() for text in NOT_LOGGED_IN):
        raise NoServer("no user is logged in to W&B: run `wandb login` or set WANDB_API_KEY")
    return (
        lines[-1].removeprefix("wandb: ") if lines else f"wandb sync: exit status {done.returncode}"
    )


def _address(
    run: OfflineRun, project: str | None, entity: str | None
) -> tuple[str | None, str | None]:
    """Returns project and entity; what is None is read from the run's config.

    Only a config that names a variable of the environment is read.
    """
    import yaml  # imported here: --help needs none

    try:
        config = yaml.safe_load((run.folders[0].parents[1] / "config.yaml").read_text())["tracking"]
        texts = {
            key: str(config[key]) for key in ("project", "entity") if has_reference(config.get(key))
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return project, entity
    values = {key: restore(text) for key, text in texts.items()}
    return project or values.get("project"), entity or values.get("entity")


def _command(project: str | None, entity: str | None) -> Iterator[str]:
    yield from (sys.executable, "-m", "wandb", "sync")
    if project:
        yield from ("--project", project)
    if entity:
        yield from ("--entity", entity)


def _environment() -> dict[str, str]:
    # A mode or a run id meant for the training would disable or redirect the upload.
    unwanted = {"WANDB_MODE", "WANDB_RUN_ID", "WANDB_DIR", "WANDB_SILENT"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def sync(
    runs: Sequence[OfflineRun], project: str | None, entity: str | None, limit_s: float
) -> list[str]:
    """Uploads runs one after the other, prints each result, and returns the ids that failed.

    Raises:
        NoServer: no user is logged in, or the server does not answer.
        ValueError: W&B refuses a variable of the environment.
    """
    check_extra("wandb", "an upload to W&B")
    check_server(server())
    failed = []
    for number, run in enumerate(runs, start=1):
        reason = upload(run, project, entity, limit_s)
        print(f"[{number}/{len(runs)}] {run.id}: {reason or 'uploaded'}", flush=True)
        if reason:
            failed.append(run.id)
    return failed
