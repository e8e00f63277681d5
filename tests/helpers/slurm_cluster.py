"""Starts a real SLURM cluster of two nodes on this machine for the tests."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from command import environment

DAEMONS = ("munged", "slurmctld", "slurmd", "setpriv")
# Names that resolve everywhere: all of 127.0.0.0/8 is this machine.
NODES = ("127.0.0.1", "127.0.0.2")
SBIN = "/usr/sbin"
PATIENCE_S = 120.0

# cred_expire: a requeued job waits for so long, 120 s by default and 5 s at the least.
# config_overrides: nodes have the CPUs given here, whatever the machine has.
# low is preempted with time to save, scavenge with none.
CONFIG = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool-%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
ReturnToService=2
MinJobAge=3600
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName={nodes[0]} NodeHostname=localhost NodeAddr={nodes[0]} Port={ports[1]} CPUs=2
NodeName={nodes[1]} NodeHostname=localhost NodeAddr={nodes[1]} Port={ports[2]} CPUs=2 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES PriorityTier=5 PreemptMode=OFF
PartitionName=low Nodes=ALL PriorityTier=1 GraceTime=30
PartitionName=scavenge Nodes=ALL PriorityTier=1 GraceTime=0
PartitionName=high Nodes=ALL PriorityTier=9 PreemptMode=OFF
"""
# No GPUs: device files that every machine has.
GRES = """\
NodeName={nodes[1]} Name=gpu File=/dev/null
NodeName={nodes[1]} Name=gpu File=/dev/zero
"""


def missing() -> str:
    """Returns the reason why no cluster can be started here, or ""."""
    lacking = [name for name in DAEMONS if not shutil.which(name, path=_path())]
    if lacking:
        return f"no {', '.join(lacking)} here; Debian has them in slurm-wlm and munge"
    return "" if os.geteuid() == 0 else "SLURM's daemons need root"


class Slurm:
    """Starts and ends the cluster as a context. environment: of its clients, and so of its jobs."""

    def __init__(self, base: Path):
        self.base = base
        self.environment = {
            **environment(), "PATH": _path(), "SLURM_CONF": str(base / "slurm.conf")
        }  # fmt: skip

    def __enter__(self) -> "Slurm":
        with ExitStack() as stack:
            self._configure()
            self._start(stack, "munged", *self._munged())
            wait_until((self.base / "munge.socket").is_socket, "munged's socket")
            self._start(stack, "slurmctld", "slurmctld", "-D", "-i")
            for node in NODES:
                self._start(stack, node, "slurmd", "-D", "-N", node)
            wait_until(self._is_up, "both nodes")
            # First to be called: daemons of nodes would leave what runs there behind.
            stack.callback(self._clear)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def call(self, *command: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Runs a client of SLURM, and returns its output, whatever its status."""
        return subprocess.run(
            list(map(str, command)), env={**self.environment, **variables}, timeout=PATIENCE_S,
            capture_output=True, text=True, cwd=self.base,
        )  # fmt: skip

    def submit(self, *arguments: str | Path, **variables: str) -> str:
        """Returns the job id of sbatch ARGUMENTS."""
        done = self.call("sbatch", "--parsable", *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, job: str) -> Mapping[str, str]:
        """Returns JobState, Restarts, ExitCode ... of a job."""
        shown = self.call("scontrol", "--oneliner", "show", "job", job).stdout
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def wait(self, job: str, state: str = "", seconds: float = PATIENCE_S) -> Mapping[str, str]:
        """Waits until the job is in this state, or has ended, and returns the result of `show`."""
        going = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED")

        def there() -> bool:
            now = self.show(job)["JobState"]
            return now == state if state else now not in going

        wait_until(there, f"job {job} {state or 'to end'}", seconds, lambda: str(self.show(job)))
        return self.show(job)

    def processes(self, job: str, said: str = "") -> list[int]:
        """Returns ids of the job's processes that have these words on their command line."""
        return [
            int(folder.name)
            for folder in Path("/proc").iterdir()
            if folder.name.isdecimal()
            and _is_of(folder, f"SLURM_JOB_ID={job}", self.environment)
            and said.encode() in _content(folder / "cmdline")
        ]

    def _configure(self) -> None:
        values = {"base": self.base, "nodes": NODES, "ports": _free_ports(3)}
        (self.base / "state").mkdir()
        (self.base / "slurm.conf").write_text(CONFIG.format(**values))
        (self.base / "gres.conf").write_text(GRES.format(**values))
        key = self.base / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))

    def _munged(self) -> list[str]:
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        options = [f"--{option}={self.base / name}" for option, name in files.items()]
        # force: folders of tests are not what a daemon expects its own to be.
        return ["munged", "--foreground", "--force", *options]

    def _start(self, stack: ExitStack, name: str, *command: str) -> None:
        """Starts a daemon in the foreground of a child, which ends even if this process dies."""
        with (self.base / f"{name}.out").open("w") as output:
            daemon = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        stack.callback(_end, daemon)

    def _is_up(self) -> bool:
        idle = self.call("sinfo", "--noheader", "--partition=main", "--states=idle", "--format=%D")
        return idle.stdout.strip() == str(len(NODES))

    def _clear(self) -> None:
        self.call("scancel", "--user=root")
        wait_until(lambda: not self.call("squeue", "--noheader").stdout, "an empty queue")


def wait_until(
    there: Callable[[], bool], what: str, seconds: float = PATIENCE_S, seen: Callable[[], str] = str
) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}: {seen()}"
        time.sleep(0.1)


def _path() -> str:
    return os.pathsep.join((os.environ["PATH"], SBIN))


def _is_of(process: Path, job: str, ours: Mapping[str, str]) -> bool:
    variables = _content(process / "environ").split(b"\0")
    # Other clusters on this machine have jobs of the same number.
    return {job.encode(), f"SLURM_CONF={ours['SLURM_CONF']}".encode()} <= set(variables)


def _content(file: Path) -> bytes:
    """Reads a file of a process; empty if the process has ended."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def _end(daemon: "subprocess.Popen[bytes]") -> None:
    daemon.terminate()
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
