#!/bin/bash
# Many runs, one for each line of a file, as an array: a line holds the arguments of "mpiflow run".
#     workflow.yaml --set T=250 --set seed=1
#     workflow.yaml --set T=300 --set seed=1
#     other.yaml
#     sbatch --array=1-$(wc -l <runs.txt)%10 jobscripts/array.sh runs.txt [options for all of them]      # 10 at a time
# Results of line 2 go to results-2/.
#SBATCH --job-name=mpiflow
#SBATCH --array=1-1
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --time=1:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%A-%a.out
set -euo pipefail

# The site: partition and account above; here modules, the environment, and how ranks are started.
# module load python mpich
# source "$HOME/mpiflow/bin/activate"
launch=${LAUNCH:-srun --mpi=pmi2}           # or: srun --mpi=pmix, mpirun -n $SLURM_NTASKS

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

line=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$1")
[[ $line ]] || { echo "$1 has no line $SLURM_ARRAY_TASK_ID" >&2; exit 2; }
mapfile -t run < <(xargs -n 1 printf '%s\n' <<<"$line")      # words as in a shell, with quotes, but nothing is run
here=results-$SLURM_ARRAY_TASK_ID

# exec: the warning before the time limit goes to the shell alone, which is the launcher from here on.
# shellcheck disable=SC2086      # several words
exec $launch python -m mpiflow run "${run[@]}" --results "$here" --store "$here/.mpiflow" "${@:2}"
