"""mpiflow: scientific workflows on a cluster with no master. Importing it never initialises MPI."""

from mpiflow.operations.operation import Operation, operation

__version__ = "0.1.0"
__all__ = ["Operation", "__version__", "operation"]
