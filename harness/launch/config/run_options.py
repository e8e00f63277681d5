"""Declares the keys that say where and how a run happens, beside those of its parts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

if TYPE_CHECKING:
    from harness.distributed.options import Options
    from harness.metrics.latency import Latency
    from harness.metrics.layer_latency import LatencyGrid
    from harness.run_folder.checkpoints import Policy
    from harness.tracking.base import Tracking

# Where a thread more costs memory, and from some number on the process.
THREADS = "a whole number in [1, 1024]"
# Each is a process.
PROCESSES = "a whole number in [1, 1024]"
WORKERS = "a whole number in [0, 1024]; it counts processes of each rank"
PATH = "text of 1 to 4096 characters; write a folder, e.g. runs"


@dataclass(frozen=True)
class LaunchOptions:
    """Declares how a run becomes processes, and how a sweep runs."""

    ranks_per_run: Annotated[int, PROCESSES]
    action: Literal["run", "plan", "retry_failed"]
    share_stages: bool
    retries: Annotated[int, "a whole number in [0, 1000]"]
    devices: list[str | int] | None
    runs_per_gpu: Annotated[int, PROCESSES]


@dataclass(frozen=True)
class SensitivityOptions:
    """Declares the keys of `pruning-harness sensitivity`."""

    grid: list[Annotated[float, "a number in (0, 1]"]]


@dataclass(frozen=True)
class MethodOptions:
    """Declares the keys of a file of conf/method/ that are its own."""

    label: str | None = None


@dataclass(frozen=True)
class RunOptions:
    """Declares the keys of conf/config.yaml that are no fields of an experiment."""

    run_name: Any  # a name, as sweep_name: harness.system.names
    output_dir: Annotated[str, PATH]
    sweep_name: Any
    rerun: Literal["never", "changed", "always"]
    device: str
    threads: Annotated[int, THREADS]
    workers: Annotated[int, WORKERS] | Literal["auto"]
    hold_data: bool | Literal["auto"]
    rehearse: bool
    progress: Literal["auto", "bar", "plain", "none"]
    checkpoint: "Policy"
    latency: "Latency"
    latency_grid: "LatencyGrid"
    latency_table_elsewhere: bool
    export: list[Literal["onnx", "torch_export"]]
    sensitivity: SensitivityOptions
    launch: LaunchOptions
    ranks: "Options"
    tracking: "Tracking"
    method: MethodOptions | None = None
