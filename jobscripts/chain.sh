#!/bin/bash
# One workflow that needs longer than a job may run: warned before the time limit it stops, and the job goes on in a next round.
#     sbatch jobscripts/chain.sh workflow.yaml [options of "mpiflow run"]
#SBATCH --job-name=mpiflow
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --time=1:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
set -uo pipefail

# The site: partition and account above; here modules, the environment, and how ranks are started.
# module load python mpich
# source "$HOME/mpiflow/bin/activate"
launch=${LAUNCH:-srun --mpi=pmi2}           # or: srun --mpi=pmix, mpirun -n $SLURM_NTASKS
rounds=${ROUNDS:-50}                        # so many at most, should it not get on

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

round=$((${SLURM_RESTART_COUNT:-0} + 1))
record=mpiflow-$SLURM_JOB_ID.json
rm -f "$record"
echo "chain: round $round on $SLURM_JOB_NODELIST"

# The warning is passed on to the launcher, which passes it to all ranks. USR1 is the one signal with which every launcher does
# just that; with TERM most of them kill the ranks.
launcher='' warned=yes
trap 'warned=yes; [[ ! $launcher ]] || kill -USR1 "$launcher"' USR1
# shellcheck disable=SC2086      # several words
$launch python -m mpiflow run "$@" --resume --record "$record" &
launcher=$!
while [[ $warned ]]; do warned=; wait "$launcher"; status=$?; done      # a signal ends "wait" early

# Open MPI 5's mpirun ends with 0 when it has lost a node: only a run that came to its end leaves a record.
((status != 0)) || [[ -s $record ]] || status=75
# 75: stopped before the end, the same command with --resume goes on.
if ((status == 75 && round < rounds)); then
    echo "chain: round $round stopped before the end; requeued"
    scontrol requeue "$SLURM_JOB_ID"        # if it is refused, the job ends with 75
else
    echo "chain: ends in round $round with status $status"
fi
exit "$status"
