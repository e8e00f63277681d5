"""Copies of a commit in folders of their own, and tests that run in one of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Tests with a cluster or a browser, and benchmarks, do not belong to one folder. -k also matches
# markers; -m would refuse markers that an older commit lacks.
LEFT_OUT = "not (slurm or browser or benchmark)"
PYTEST = (
    "-m", "pytest", "-q", "-rfE", "--no-header", "--tb=no",
    "-p", "no:cacheprovider", "-k", LEFT_OUT,
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """Holds how tests ended; rc is None after a timeout."""

    rc: int | None
    output: str
    seconds: float


@dataclass(frozen=True)
class Copy:
    """Holds a checkout of a commit for one worker."""

    top: Path

    @classmethod
    def made(cls, checkout: Path, commit: str, top: Path) -> "Copy":
        """Makes a new clone that borrows the objects of the checkout."""
        shutil.rmtree(top, ignore_errors=True)
        _git("clone", "-q", "--shared", "--no-checkout", str(checkout), str(top))
        _git("-C", str(top), "checkout", "-q", "--detach", commit)
        # A mutant often has the size and the time of its original: only a hash tells them apart.
        compiled = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "harness"]
        subprocess.run([sys.executable, *compiled], cwd=top, check=True)
        return cls(top)

    @property
    def scratch(self) -> Path:
        """Returns the TMPDIR of its tests, by which their processes are found."""
        return self.top.with_name(f"{self.top.name}-scratch")

    def tests(self, *arguments: str, timeout: float, **variables: str) -> Ended:
        """Runs pytest with the harness of this copy, and ends all that it started."""
        self.scratch.mkdir(exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HARNESS"))}
        own = {"PYTHONPATH": str(self.top), "OMP_NUM_THREADS": "1", "TMPDIR": str(self.scratch)}
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, *PYTEST, *arguments],
            cwd=self.top,
            env=kept | own | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, rc = process.communicate(timeout=timeout)[0], process.returncode
            except subprocess.TimeoutExpired:
                output, rc = "", None
            finally:
                self.end()
        shutil.rmtree(self.scratch, ignore_errors=True)
        return Ended(rc, output, time.monotonic() - began)

    def end(self) -> None:
        """Kills all that its tests started: a mutant may leave what nobody else waits for."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"TMPDIR={self.scratch}\0".encode() in (folder / "environ").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)
