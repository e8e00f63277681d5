"""Reads the rank of a process in a SLURM step or a local submitit job; needs no torch."""

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping

# Below the ports of outgoing connections on Linux (net.ipv4.ip_local_port_range starts at 32768),
# which could occupy the port.
FIRST_PORT, PORTS = 20000, 12768
# Primes that do not divide PORTS.
BETWEEN_STEPS, BETWEEN_RESTARTS = 1009, 7919

LAUNCHERS = {
    "TORCHELASTIC_RUN_ID": "torchrun",
    "SLURM_STEP_ID": "srun",
    "SUBMITIT_LOCAL_NTASKS": "submitit",
}


def export_torchrun_env(environ: MutableMapping[str, str] = os.environ) -> None:
    """Sets the variables of torchrun in one of several tasks of srun or submitit.

    These are RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Where
    RANK is set, nothing changes. A MASTER_ADDR or MASTER_PORT that is set stays.

    Raises:
        ValueError: a variable of the launcher is missing or wrong.
    """
    if "RANK" in environ:
        return
    # A batch script has SLURM_PROCID too, but is no step.
    if "SLURM_STEP_ID" in environ and _number(environ, "SLURM_STEP_NUM_TASKS") > 1:
        variables = _of_slurm(environ)
    elif _number(environ, "SUBMITIT_LOCAL_NTASKS", 1) > 1:
        variables = _of_submitit(environ)
    else:
        return
    for key in ("MASTER_ADDR", "MASTER_PORT"):
        variables[key] = environ.get(key) or variables[key]
    environ.update(variables)


def launcher_name(environ: Mapping[str, str] = os.environ) -> str:
    """Returns the launcher of this process, one of several ranks; "" if it is no rank."""
    if "RANK" not in environ:
        return ""
    known = (name for key, name in LAUNCHERS.items() if key in environ)
    return next(known, "a launcher that sets RANK")


def first_host(nodes: str) -> str:
    """Returns the first name of a list of hosts in SLURM's notation.

    >>> first_host("rack[2-3]n[007-009,12],login")
    'rack2n007'
    """
    first = re.match(r"(?:\[\w[^]]*\]|[^],[])+(?=,|$)", nodes)
    if not first:
        raise ValueError(
            f"SLURM_STEP_NODELIST must be a list of hosts, got {nodes!r}; set MASTER_ADDR to the "
            "host of rank 0"
        )
    return re.sub(r"\[(\w+)[^]]*\]", r"\1", first.group())


def tasks_by_node(text: str) -> Iterator[int]:
    """Yields the number of tasks of each node, from SLURM's notation.

    >>> list(tasks_by_node("2(x3),1"))
    [2, 2, 2, 1]
    """
    for part in text.split(","):
        counted = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not counted:
            raise ValueError(
                f"SLURM_STEP_TASKS_PER_NODE must be counts as in 2(x3),1, got {text!r}; start "
                "with srun, which sets it"
            )
        yield from [int(counted[1])] * int(counted[2] or 1)


def port(job: int, step: int = 0, restarts: int = 0) -> int:
    """Returns 20000 + (job + 1009 step + 7919 restarts) mod 12768.

    All ranks of a step have the same port. Each of the next 12767 jobs has another one, as have a
    job's next step and next start, while the previous one may still hold its port.

    >>> port(7), port(8), port(7, step=1), port(7, restarts=1)
    (20007, 20008, 21016, 27926)
    """
    return FIRST_PORT + (job + BETWEEN_STEPS * step + BETWEEN_RESTARTS * restarts) % PORTS


def _of_slurm(environ: Mapping[str, str]) -> dict[str, str]:
    node, by_node = _number(environ, "SLURM_NODEID"), _text(environ, "SLURM_STEP_TASKS_PER_NODE")
    counts = list(tasks_by_node(by_node))
    if node >= len(counts):
        raise ValueError(
            f"SLURM_NODEID={node}, but SLURM_STEP_TASKS_PER_NODE={by_node} is of {len(counts)} "
            "nodes; start with srun, which sets both"
        )
    job, step = _number(environ, "SLURM_JOB_ID"), _number(environ, "SLURM_STEP_ID")
    return {
        "RANK": str(_number(environ, "SLURM_PROCID")),
        "WORLD_SIZE": str(_number(environ, "SLURM_STEP_NUM_TASKS")),
        "LOCAL_RANK": str(0 if _has_own_gpu(environ) else _number(environ, "SLURM_LOCALID")),
        "LOCAL_WORLD_SIZE": str(counts[node]),
        "MASTER_ADDR": first_host(_text(environ, "SLURM_STEP_NODELIST")),
        "MASTER_PORT": str(port(job, step, _number(environ, "SLURM_RESTART_COUNT", 0))),
    }


def _has_own_gpu(environ: Mapping[str, str]) -> bool:
    """True under --gpus-per-task: fewer GPUs are visible than the step has on the node.

    The visible ones are counted from 0.
    """
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    on_node = _number(environ, "SLURM_GPUS_ON_NODE", 0)
    return visible != "" and len(visible.split(",")) < on_node


def _of_submitit(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables for submitit's local executor, which uses one host.

    On SLURM the tasks of submitit are those of a step.
    """
    count = str(_number(environ, "SUBMITIT_LOCAL_NTASKS"))
    return {
        "RANK": str(_number(environ, "SUBMITIT_LOCAL_GLOBALID")),
        "WORLD_SIZE": count,
        "LOCAL_RANK": str(_number(environ, "SUBMITIT_LOCAL_LOCALID")),
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port(_number(environ, "SUBMITIT_LOCAL_JOB_ID"))),
    }


def _number(environ: Mapping[str, str], key: str, missing: int | None = None) -> int:
    if missing is not None and key not in environ:
        return missing
    text = _text(environ, key)
    if not text.isdecimal():
        raise ValueError(f"{key} must be a whole number >= 0, got {text!r}; {_remedy(key)}")
    return int(text)


def _text(environ: Mapping[str, str], key: str) -> str:
    if not environ.get(key):
        raise ValueError(f"{key} is missing or empty; {_remedy(key)}")
    return environ[key]


def _remedy(key: str) -> str:
    name = "srun" if key.startswith("SLURM") else "submitit"
    return f"start with {name}, which sets it, or set RANK and WORLD_SIZE yourself"
