"""Replaces SLURM's commands, and runs the files of slurm/ with the replacements."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Each says what it was called with; srun then ends as the test wants.
STAND_INS = {
    "srun": """\
printf '%s\\n' srun "$@" "python: $HARNESS_PYTHON" \
  "threads: $OMP_NUM_THREADS" "signals: ${PET_SIGNALS_TO_HANDLE:-}" \
  "seconds to save: ${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-}" "setup: ${SETUP:-}"
if [ -n "${NOTE:-}" ]; then echo "$NOTE" > "$HARNESS_STOPPED"; fi
env > "$SEEN/env"
exit "${STATUS:-0}"
""",
    "scontrol": """\
if [ "$1" = show ]; then printf 'n7\\nn8\\n'; exit; fi
echo "scontrol $*"
exit "${REFUSED:-0}"
""",
    "squeue": """\
for each; do if [ "$each" = "--jobs=${JOB:-1007}" ]; then echo "${STATE:-RUNNING}"; fi; done
""",
    "scancel": 'echo "scancel $*" >> "$SEEN/calls"\n',
    "sbatch": """\
printf '%s\\n' "$*" >> "$SEEN/calls"
jobs=$(grep -c -v ^scancel "$SEEN/calls")
if [ "$jobs" = "${REFUSED:-0}" ]; then echo "sbatch: error: no such partition" >&2; exit 1; fi
echo "$((40 + jobs))${CLUSTER:-}"
""",
    "python": """\
printf '%s|' "$@" >> "$SEEN/python"
echo >> "$SEEN/python"
printf "${SAID:-}"
exit "${STATUS:-0}"
""",
}
JOB = {
    "SLURM_JOB_ID": "1007", "SLURM_JOB_NODELIST": "n[7-8]", "SLURM_NNODES": "2",
    "SLURM_TASKS_PER_NODE": "1(x2)", "SLURM_CPUS_PER_TASK": "2", "SLURM_GPUS_PER_TASK": "1",
}  # fmt: skip


class StandIns:
    """Holds the replacements.

    script: a file of slurm/. folder: has the replacements and their logs.
    """

    def __init__(self, folder: Path, script: str):
        self.folder, self.script = folder, ROOT / "slurm" / script  # or an absolute path
        (folder / "bin").mkdir()
        (folder / "tmp").mkdir()
        for name, text in STAND_INS.items():
            file = folder / "bin" / name
            file.write_text(f"#!/bin/sh\n{text}")
            file.chmod(0o755)

    def run(
        self, arguments: Sequence[str] = (), cwd: Path = ROOT, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """Runs the script as a job of two nodes, from the root of the checkout."""
        path = os.pathsep.join((str(self.folder / "bin"), os.environ["PATH"]))
        own = {"PATH": path, "TMPDIR": str(self.folder / "tmp"), "SEEN": str(self.folder)}
        return subprocess.run(
            ["bash", self.script, *arguments], env={**own, **JOB, **variables},
            cwd=cwd, capture_output=True, text=True,
        )  # fmt: skip

    def seen(self, name: str) -> str:
        file = self.folder / name
        return file.read_text() if file.exists() else ""
