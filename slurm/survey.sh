#!/usr/bin/env bash
# A sweep from plan to report, submitted from a login node, in the folder that has slurm/:
#
#   slurm/survey.sh [--array=0-9%4] [OPTIONS] [KEY=VALUE ...]
#
# --array: tasks over which the runs are distributed, and how many of them at once; 0-9 by default.
# OPTIONS: of sbatch, for all jobs, as --partition=gpu. KEY=VALUE: as for pruning-harness -m;
# sweep=survey by default. From the environment: HARNESS_PYTHON, HARNESS_SETUP, HARNESS_RESTARTS;
# see slurm/README.md.
set -euo pipefail

array=0-9
options=() overrides=()
for argument in "$@"; do
  case $argument in
    --array=*) array=${argument#*=} ;;
    -*) options+=("$argument") ;;
    *) overrides+=("$argument") ;;
  esac
done
if [ ${#overrides[@]} = 0 ]; then overrides=(sweep=survey); fi
if ! command -v sbatch > /dev/null; then
  echo "survey.sh: there is no sbatch here; start from a login node of the cluster" >&2
  exit 2
fi

output=$(${HARNESS_PYTHON:-python} -m harness sweep plan "${overrides[@]}")
printf '%s\n' "$output"
plan=$(sed -n 's/^plan: //p' <<< "$output" | tail -n 1)
case $plan in -*) plan=./$plan ;; esac # a folder, not an option
folder=${plan%/.sweep/*}

submitted=()
submit() { # NAME OPTIONS FILE ARGUMENTS
  local name=$1
  if ! id=$(sbatch --parsable ${options[@]+"${options[@]}"} "${@:2}"); then
    if [ ${#submitted[@]} -gt 0 ]; then scancel "${submitted[@]}"; fi
    echo "survey.sh: $name was refused; nothing is left in the queue" >&2
    exit 2
  fi
  id=${id%%;*} # of a federation: ID;CLUSTER
  submitted+=("$id")
  echo "$name: job $id"
}
# kill-on-invalid-dep: a job that waits for what has failed would stay in the queue for ever.
submit "dense training" --job-name=harness-dense slurm/sweep.sbatch "$plan" --dense
submit "sweep ($array)" --array="$array" --dependency="afterok:$id" --kill-on-invalid-dep=yes \
  slurm/sweep.sbatch "$plan"
submit "report" --dependency="afterany:$id" slurm/report.sbatch "$folder"
