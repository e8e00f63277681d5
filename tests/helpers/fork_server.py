"""Runs Python programs as processes that have torch and the harness imported.

Each process has one server, started with its first program. The server has one thread, imports what
a run needs and runs nothing. Each program is a forked child of the server, with its own arguments,
variables, folder and outputs. A real process is needed where imports are tested, or settings that
Python reads at its start; variables for such settings select it automatically.
"""

import atexit
import gc
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple

from disk import write_without_waiting

Done = subprocess.CompletedProcess[str]
Variables = Mapping[str, str]

PRELOADED = (
    "torch._dynamo",  # which the first optimizer imports
    "joblib", "numpy", "submitit", "harness.launch.execute", "harness.cli.hydra_main",
    "harness.launch.sweeps.hydra_plugins", "harness.launch.sweeps.sweep",
)  # fmt: skip
AT_START = ("PYTHON", "LD_", "OMP_", "MKL_", "OPENBLAS_")  # variables that are read once


def run(
    arguments: Sequence[str], env: Variables, cwd: Path | None = None, timeout: float | None = None
) -> Done:
    """Runs `python ARGUMENTS`: -m MODULE, -c CODE or a file, and what follows; no input.

    As subprocess.run(..., capture_output=True, text=True) does it, but that outputs are files, and
    that the program leads a process group, all of which is killed after the timeout.

    Raises:
        subprocess.TimeoutExpired: the program takes more than timeout seconds.
    """
    given = [sys.executable, *map(str, arguments)]
    server = _server()
    if server.read != _read_at_start(env):
        return subprocess.run(
            given, env=env, cwd=cwd, timeout=timeout, stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )  # fmt: skip
    program = Program(given[1:], dict(env), str(Path(cwd or ".").absolute()))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            status = server.status_of(program, out, err, timeout)
        except TimeoutError:
            said = _content(out), _content(err)
            raise subprocess.TimeoutExpired(given, timeout or 0, *said) from None
        return Done(given, status, _content(out), _content(err))


def _content(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _read_at_start(env: Variables) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(AT_START)}


class Program(NamedTuple):
    arguments: list[str]
    env: dict[str, str]
    cwd: str


class Server:
    """Represents the server in the process that has started it, and ends with that process."""

    def __init__(self, env: Variables):
        self.read = _read_at_start(env)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], env=env,
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        atexit.register(self.end)

    def status_of(self, program: Program, out: Any, err: Any, timeout: float | None) -> int:
        """Returns the exit status, minus the signal's number for one that a signal has ended."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                fds = [each.fileno() for each in (theirs, out, err)]
                socket.send_fds(self.control, [json.dumps(program).encode()], fds)
            ours.settimeout(timeout)
            status = ours.recv(16)  # if this socket is closed early, the program is killed
        assert status, "the fork server is gone; its error is on stderr"
        return os.waitstatus_to_exitcode(int(status))

    def end(self) -> None:
        self.control.close()
        self.process.wait()


@cache
def _server() -> Server:
    from command import environment

    return Server(environment())


# What follows runs in the server and its children.


def _serve(control: int) -> Program | None:
    """Returns a program in the child that becomes it, None in the server at its end."""
    with socket.socket(fileno=control) as asked:
        while True:
            said, fds, _, _ = socket.recv_fds(asked, 1 << 20, 3)
            while _reaped():
                pass
            if not said:
                return None
            if not os.fork():
                asked.detach()
                return _minded(said, fds)
            for each in fds:
                os.close(each)


def _reaped() -> bool:
    with suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    return False


def _minded(said: bytes, fds: list[int]) -> Program:
    """Returns in a child; this process tells how that ends, or kills it when nobody waits."""
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        os.dup2(fds[1], 1)
        os.dup2(fds[2], 2)
        os.closerange(3, 256)
        return Program(*json.loads(said))
    with suppress(OSError):  # it has done so itself, and may be gone
        os.setpgid(pid, pid)
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, fds[0]], [], [])
    if ended not in ready:
        os.killpg(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    with suppress(OSError):
        os.write(fds[0], str(status).encode())
    os._exit(0)


def _become(program: Program) -> None:
    """Does what Python does with its command line."""
    os.environ.clear()
    os.environ.update(program.env)
    os.chdir(program.cwd)
    write_without_waiting()
    random.seed()
    sys.modules["numpy"].random.seed()
    sys.modules["torch"].seed()
    what, *rest = program.arguments
    sys.orig_argv = [sys.executable, *program.arguments]
    main = sys.modules["__main__"] = ModuleType("__main__")
    if what == "-m":
        sys.path[0], sys.argv = program.cwd, ["-m", *rest[1:]]
        runpy._run_module_as_main(rest[0])  # type: ignore[attr-defined]
    elif what == "-c":
        sys.path[0], sys.argv = "", ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    else:
        sys.path[0], sys.argv = str(Path(what).resolve().parent), program.arguments
        main.__file__ = what
        exec(compile(Path(what).read_bytes(), what, "exec"), vars(main))


def _main() -> None:
    gc.disable()
    for name in PRELOADED:
        import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "an import has started a thread"
    gc.freeze()  # its objects stay shared pages
    gc.enable()
    if program := _serve(int(sys.argv[1])):
        _become(program)


if __name__ == "__main__":
    _main()
