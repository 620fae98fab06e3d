#!/bin/bash
# One workflow, its ranks started by srun with PMIx: Open MPI.
#     sbatch jobscripts/srun-pmix.sh workflow.yaml [options of "mpiflow run"]
#SBATCH --job-name=mpiflow
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --time=1:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%j.out
set -euo pipefail

# The site: partition and account above; here the modules of Python and of the MPI that mpi4py uses, and the environment.
# module load python openmpi
# source "$HOME/mpiflow/bin/activate"

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}        # or each rank computes with a thread for every core of the node
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}     # srun does not take it over from sbatch

# Open MPI 5 can crash at its start with SLURM's other fences (open-mpi/ompi#12495).
export SLURM_PMIX_FENCE=ring
# An Open MPI from PyPI finds its files through its mpirun only; without that it has to be told where they are.
prefix=$(python -c 'import sys; print(sys.prefix)')
[[ ! -e $prefix/bin/ompi_info ]] || export OPAL_PREFIX=$prefix

# exec: the warning before the time limit goes to the shell alone, which is srun from here on, and srun passes it to all ranks.
exec srun --mpi=pmix python -m mpiflow run "$@"
