"""Local search: a good placement of a small graph is changed, task by task, as long as it gets better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpiflow.planning.progress import UNCLAIMED
from mpiflow.planning.routes import make_routes
from mpiflow.planning.timeline import in_order, run
from mpiflow.planning.workload import Workload

LARGEST = 300           # tasks of a graph that is searched
STEPS = 20_000          # tasks simulated at most, ...
STEP = 1e-5             # ... each of which takes about so long [s], and ...
SHARE = 0.2             # ... a search takes no more than this part of what it can save
MOVING = 0.05           # what a second of link time counts against a second of makespan


def searchable(work: Workload) -> bool:
    """Whether a search is worth thinking of: for a small graph that is free to lie anywhere."""
    return work.machine.size > 1 and work.machine.memory is None and len(work.open) <= LARGEST


def affordable(work: Workload, seconds: float, bound: float) -> int:
    """How many steps a search may take for a placement that takes ``seconds`` where ``bound`` [s] is the least possible.

    A number and no time: ranks must agree.
    """
    if not searchable(work):
        return 0
    return int(min(STEPS, SHARE * (seconds - bound) / STEP))


class Search:
    """The best placement known from one start, and how much may still be spent on a better one.

    Attributes:
        ranks: Rank of each task.
        order: Tasks by simulated start.
        steps: Tasks that may still be simulated.
    """

    def __init__(self, work: Workload, steps: int) -> None:
        self.work = work
        self.steps = steps
        self.ranks: list[int] = []
        self.order: list[int] = []
        self.cost = float("inf")

    def improve(self, ranks: Sequence[int], starts: Sequence[float]) -> None:
        """Start from a placement, and try every change of every task until none of them helps or all steps are spent."""
        self.cost = float("inf")
        self._better(list(ranks), in_order(starts, self.work.estimates.seconds))
        quiet = 0
        while quiet < len(self.work.open):
            for number in self.work.open:
                quiet = 0 if self._change(number) else quiet + 1
                if self.steps <= 0:
                    return

    def _change(self, number: int) -> bool:
        """Try the changes of one task, and say whether one was for the better."""
        changed = False
        for moved in self._groups(number):
            for rank in self._ranks(number):
                if rank != self.ranks[number] and all(self._allowed(task, rank) for task in moved):
                    ranks = list(self.ranks)
                    for task in moved:
                        ranks[task] = rank
                    changed |= self._better(ranks, self.order)
                if self.steps <= 0:
                    return changed
        sooner = self._sooner(number)
        return changed | (sooner is not None and self._better(self.ranks, sooner))

    def _groups(self, number: int) -> Iterator[tuple[int, ...]]:
        """The task alone, and with one neighbour on its rank."""
        yield (number,)
        graph, claimed = self.work.graph, self.work.claimed
        for other in (*graph.needs[number], *graph.consumers[number])[:6]:
            if claimed[other] == UNCLAIMED and self.ranks[other] == self.ranks[number]:
                yield (number, other)

    def _ranks(self, number: int) -> list[int]:
        """The ranks worth trying: where its neighbours are, and where there is least to do."""
        size, graph = self.work.machine.size, self.work.graph
        if size <= 4:
            return list(range(size))
        seconds, load = self.work.estimates.seconds, list(self.work.free)
        for task in self.work.open:
            load[self.ranks[task]] += seconds[task]
        near = dict.fromkeys([self.ranks[task] for task in (*graph.needs[number], *graph.consumers[number])[:6]])
        return list(near | dict.fromkeys([load.index(min(load))]))

    def _allowed(self, number: int, rank: int) -> bool:
        pins = self.work.pins[number]
        return pins is None or rank in pins

    def _sooner(self, number: int) -> list[int] | None:
        """The order with the task before the one that its rank runs before it."""
        place = self.order.index(number)
        before = [at for at in range(place) if self.ranks[self.order[at]] == self.ranks[number]]
        if not before:
            return None
        rest = self.order[:place] + self.order[place + 1:]
        return [*rest[:before[-1]], number, *rest[before[-1]:]]

    def _better(self, ranks: list[int], order: list[int]) -> bool:
        """Simulate a placement, and keep it if it costs less than the best so far."""
        self.steps -= len(self.work.open)
        timeline = run(self.work, ranks, order, make_routes(self.work, ranks))
        cost = timeline.seconds + MOVING * timeline.moving
        if cost >= self.cost * (1 - 1e-9):
            return False
        self.cost, self.ranks = cost, ranks
        self.order = in_order(timeline.starts, self.work.estimates.seconds)
        return True
