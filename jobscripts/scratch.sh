#!/bin/bash
# One workflow on node-local disks: inputs are copied to every node, ranks read and write there, results are copied back.
#     sbatch jobscripts/scratch.sh workflow.yaml data=traj.h5md [NAME=FILE ...] [-- options of "mpiflow run"]
# NAME is a parameter of the workflow that says where a file is, as in "params: {data: traj.h5md}".
# What is saved while it runs goes to .mpiflow where the job was submitted, not to local disks. So after a stop at the time limit, or a lost
# node, the same command with "-- --resume" goes on from there, on any nodes.
#SBATCH --job-name=mpiflow
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --time=1:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%j.out
set -uo pipefail

# The site: partition and account above; here modules, the environment, how ranks are started, and the node-local disk.
# module load python mpich
# source "$HOME/mpiflow/bin/activate"
launch=${LAUNCH:-srun --mpi=pmi2}           # or: srun --mpi=pmix, mpirun -n $SLURM_NTASKS
scratch=${SCRATCH:-/tmp}

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
on_every_node() { srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 "$@"; }

workflow=$1 inputs=()
shift
while (($#)) && [[ $1 != -- ]]; do inputs+=("$1"); shift; done
shift || true                               # what follows is for mpiflow

# The same place in each job with the same arguments (so one at a time): mpiflow knows a file by its path too, and --resume
# takes up what was made of it only if it is the same.
local=$scratch/mpiflow-$(id -un)-$(printf '%s\n' "$PWD" "$workflow" "${inputs[@]}" | cksum | tr ' ' -)
trap 'on_every_node rm -rf "$local"' EXIT
on_every_node mkdir -p "$local/results" || exit 2

# cp -p keeps the time of change: with path and size it tells mpiflow that the copies are one and the same file, which every
# node holds.
options=()
for input in "${inputs[@]}"; do
    name=${input%%=*} file=${input#*=}
    options+=(--set "$name=$local/$(basename "$file")")
    on_every_node cp -p "$(realpath "$file")" "$local/" || exit 2
done

# shellcheck disable=SC2086      # several words
TMPDIR=$local $launch python -m mpiflow run "$workflow" "${options[@]}" --results "$local/results" "$@" &
launcher=$! warned=yes
trap 'warned=yes; kill -USR1 "$launcher"' USR1      # the warning before the time limit, passed on to all ranks
while [[ $warned ]]; do warned=; wait "$launcher"; status=$?; done      # a signal ends "wait" early

# Each result lies on one node only, but results of several nodes may share a directory: where two "cp -r" make it at once, one fails,
# "mkdir -p" does not. Without -p, as that would give the directories of the job the permissions of those in scratch.
# shellcheck disable=SC2016      # for the shell on the node
on_every_node sh -c 'cd "$1" && find . -type d -print0 | (cd "$2" && xargs -0 mkdir -p) && cp -r . "$2"' - "$local/results" \
    "$SLURM_SUBMIT_DIR" || exit 1
exit "$status"
