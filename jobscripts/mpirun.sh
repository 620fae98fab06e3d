#!/bin/bash
# One workflow, its ranks started by the MPI's own mpirun, on one node or many: works with every MPI, also where srun does not.
#     sbatch jobscripts/mpirun.sh workflow.yaml [options of "mpiflow run"]
#     sbatch --nodes=1 --ntasks-per-node=32 jobscripts/mpirun.sh workflow.yaml
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
# export PRTE_MCA_hwloc_default_binding_policy=none     # Open MPI 5, more ranks on a node than it has cores

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}        # or each rank computes with a thread for every core of the node

# exec: the warning before the time limit goes to the shell alone, which is mpirun from here on, and mpirun passes it to all ranks.
exec mpirun -n "$SLURM_NTASKS" python -m mpiflow run "$@"
