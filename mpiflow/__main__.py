"""``python -m mpiflow``."""

import os

# One rank for each core is the rule, so libraries must not start threads of their own for each rank; and their number
# would change the last bits of results. Set the variables to have it otherwise. Read by the libraries when loaded.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from mpiflow.cli.main import command  # noqa: E402

if __name__ == "__main__":
    command()
