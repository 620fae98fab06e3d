"""A plan together with what would come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpiflow.planning.bounds import Bounds, lower_bounds
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import Plan, make_plan
from mpiflow.planning.simulation import Simulation, simulate
from mpiflow.planning.tasks import TaskGraph
from mpiflow.planning.workload import Workload, workload


@dataclass(frozen=True)
class Forecast:
    """A plan, what it rests on, and what would come of it.

    Attributes:
        name: Name of the workflow.
        machine: The ranks.
        plan: What runs where.
        work: Tasks with the estimates in force.
        simulation: What happens if these are right.
        bounds: What no plan can beat.
    """

    name: str
    machine: Machine
    plan: Plan
    work: Workload
    simulation: Simulation
    bounds: Bounds

    @property
    def gap(self) -> float:
        """How much longer the plan takes than the lower bound, in percent of that."""
        bound = self.bounds.seconds
        return 100 * (self.simulation.seconds / bound - 1) if bound > 0 else 0.0


def forecast(graph: TaskGraph, machine: Machine, name: str, seconds: Sequence[float] | None = None,
             nbytes: Sequence[int] | None = None) -> Forecast:
    """Plan and simulate. Pure.

    Args:
        graph: The tasks.
        machine: The ranks.
        name: Name of the workflow.
        seconds: Run times [s] that replace those the tasks declare, such as learned ones.
        nbytes: Sizes of blocks [bytes], likewise.

    Raises:
        PlanningError: A task needs more memory than any rank has.
    """
    plan = make_plan(graph, machine, None, seconds, nbytes)
    work = workload(graph, machine, None, seconds, nbytes)
    return Forecast(name, machine, plan, work, simulate(plan, machine), lower_bounds(work))
