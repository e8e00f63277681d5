"""Checks the SLURM options for each run of a sweep, from conf/hydra/launcher/slurm.yaml."""

import re
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from harness.system.names import check_line
from harness.system.redaction import REFERENCE, has_reference
from harness.vocabulary.checks import check_declared

# Names shared with submitit; it has all other options under "slurm_" and their own name.
SHARED = ("nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb", "timeout_min")
PLAIN = (*SHARED, "partition", "account", "qos", "setup")
COUNT = "a whole number >= 1"
COUNT_OR_ZERO = "a whole number >= 0"
TEXTS = ("partition", "account", "qos")
WHERE = "hydra.launcher"

# The batch script's last lines. 75: saved and stopped. 138, 143: a signal came before Python could
# handle it. A job that was cancelled or is out of time is no longer RUNNING. The last task of an
# array has the array's id as its own, by which SLURM would requeue all tasks.
REQUEUE = """\
status=$?
job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
job=${{job:-$SLURM_JOB_ID}}
case $status in 75 | 138 | 143)
  if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ] &&
    [ "$(squeue --noheader --jobs="$job" --format=%T)" = RUNNING ]; then
    scontrol requeue "$job"
  fi ;;
esac
exit $status"""


@dataclass(frozen=True)
class SlurmOptions:
    """Holds the fields of conf/hydra/launcher/slurm.yaml, which explains them.

    Raises:
        ValueError: a value is out of range.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    nodes: Annotated[int, COUNT] = 1
    tasks_per_node: Annotated[int, COUNT] = 1
    gpus_per_node: Annotated[int, COUNT_OR_ZERO] | None = None
    cpus_per_task: Annotated[int, COUNT] = 1
    mem_gb: Annotated[float, "a number above 0"] | None = None
    timeout_min: Annotated[int, COUNT] = 60
    signal_delay_s: Annotated[int, COUNT_OR_ZERO] = 120
    requeue: bool = True
    restarts: Annotated[int, COUNT_OR_ZERO] = 20
    parallel: Annotated[int, COUNT] = 256
    array: Annotated[int, COUNT] = 1000
    setup: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._need("extra", _are_options(self.extra), "options of sbatch, {constraint: a100}")
        check_declared(self, f"{WHERE}.")
        for key in TEXTS:
            check_line(f"{WHERE}.{key}", getattr(self, key))
        for key, value in self.extra.items():
            check_line(f"{WHERE}.extra.{key}", value)
        # Otherwise every start of the job would receive the signal at once.
        in_time = self.signal_delay_s < 60 * self.timeout_min
        self._need("signal_delay_s", in_time, f"below the time limit, {60 * self.timeout_min} s")

    @classmethod
    def of(cls, values: dict[str, Any]) -> "SlurmOptions":
        known = [option.name for option in fields(cls)]
        for key in set(values) - set(known):
            raise ValueError(
                f"{WHERE}.{key}: there is no such key; there are: {', '.join(known)}; other "
                f"options of sbatch go into {WHERE}.extra"
            )
        return cls(**values)

    def _need(self, key: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{WHERE}.{key} must be {rule}, got {getattr(self, key)!r}")

    @property
    def ranks(self) -> int:
        return self.nodes * self.tasks_per_node

    def submitit_parameters(self, name: str) -> dict[str, Any]:
        """Returns the parameters for submitit's executor, without null ones."""
        parameters: dict[str, Any] = {"name": name, "slurm_array_parallelism": self.parallel}
        for key in PLAIN:
            value = getattr(self, key)
            if value not in (None, []):
                parameters[key if key in SHARED else f"slurm_{key}"] = value
        if self.requeue:
            parameters["slurm_teardown"] = REQUEUE.format(restarts=self.restarts).splitlines()
        # Ranks agree on when they stop, so srun must not kill the others when one has ended. srun
        # does not inherit the CPUs of a task (since SLURM 22.05).
        parameters["slurm_srun_args"] = [
            "--kill-on-bad-exit=0", "--wait=100", f"--cpus-per-task={self.cpus_per_task}"
        ]  # fmt: skip
        parameters["slurm_additional_parameters"] = {
            "signal": f"USR1@{self.signal_delay_s}",
            "requeue" if self.requeue else "no-requeue": True,
            **self.extra,
        }
        return parameters


def shell_lines(setup: Any) -> Any:
    """Returns shell lines in which ${oc.env:NAME} is ${NAME:?}, so that no script holds values.

    >>> shell_lines(["export TOKEN=${oc.env:TOKEN}"])
    ['export TOKEN=${TOKEN:?}']

    Raises:
        ValueError: a variable is in single quotes, where the shell does not expand it.
    """
    return [_shell_line(line) for line in setup] if isinstance(setup, list) else setup


def _shell_line(line: Any) -> Any:
    if not isinstance(line, str) or not has_reference(line):
        return line
    if "'" in line:
        raise ValueError(
            f"{WHERE}.setup: {line}: the shell expands no variable in single quotes; use "
            "double quotes"
        )
    return REFERENCE.sub(r"${\1:?}", line)


def _are_options(extra: object) -> bool:
    """True for options that are safe in a batch script, which quotes values but no keys."""
    return isinstance(extra, dict) and all(
        isinstance(key, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key) for key in extra
    )
