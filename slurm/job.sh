# What the .sbatch files beside this one have in common; they source it. script: the file's name.

say() { echo "$script: $*" >&2; }

: "${SLURM_JOB_ID:?is set by SLURM only; start with sbatch slurm/$script}"
# An array's last task has the array's id as its own, by which SLURM would requeue all tasks.
job=${SLURM_ARRAY_TASK_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}

if [ -n "${HARNESS_SETUP:-}" ]; then
  if ! [ -r "$HARNESS_SETUP" ]; then
    say "HARNESS_SETUP=$HARNESS_SETUP: there is no such file; give a path that the nodes see"
    exit 2
  fi
  # Before set -u, which such files do not expect.
  . "$HARNESS_SETUP"
fi
set -euo pipefail

restarts=${SLURM_RESTART_COUNT:-0}
HARNESS_STOPPED=$(mktemp)
export HARNESS_STOPPED
export HARNESS_PYTHON=${HARNESS_PYTHON:-python}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# A step has all that the job has on a node; these would bind it to a task's part.
unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_GPUS_PER_TASK SLURM_TRES_PER_TASK

# Ends the job with the status of what it ran; if that has saved itself and stopped, with 75 and
# back in the queue.
leave() {
  local status=$1 limit=${HARNESS_RESTARTS:-20}
  local again="submit the same command again to resume"
  # torchrun returns 1 for whatever its workers return.
  if [ -s "$HARNESS_STOPPED" ]; then status=$(< "$HARNESS_STOPPED"); fi
  rm -f "$HARNESS_STOPPED"
  # Died of SIGUSR1 or SIGTERM before it could handle them.
  if [ "$status" = 138 ] || [ "$status" = 143 ]; then status=75; fi
  if [ "$status" != 75 ]; then exit "$status"; fi

  if [ "$(squeue --noheader --jobs="$job" --format=%T)" != RUNNING ]; then
    say "cancelled or out of time; $again"
  elif [ "$restarts" -ge "$limit" ]; then
    say "stopped, and restarted $restarts times already (HARNESS_RESTARTS=$limit); $again"
  elif scontrol requeue "$job"; then
    say "stopped; requeued for restart $((restarts + 1)) of at most $limit"
  else
    say "stopped, and SLURM does not requeue it; $again"
  fi
  exit 75
}
