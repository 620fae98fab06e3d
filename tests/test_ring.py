"""Pairs of blocks on a ring: as few bytes as a ring can move, with as much to do for every rank."""

import dataclasses

import pytest
import yaml

from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.planning.lowering import lower
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.ring import rotate
from mpiflow.planning.tasks import Kind
from mpiflow.workflow.reading import read_workflow

ROWS = 9600


@pytest.mark.parametrize("num", [2, 3, 4, 5, 6, 8, 16])
@pytest.mark.parametrize("each", [1, 2, 3, 4])
def test_a_block_travels_half_of_the_way_round_and_all_ranks_have_as_much_to_do(num, each):
    groups = [list(range(rank, num * each, num)) for rank in range(num)]
    pairs = {(i, j): 1 for i in range(num * each) for j in range(i, num * each)}
    ranks = rotate(groups, pairs)
    read = [{block for pair, rank in ranks.items() if rank == mine for block in pair} for mine in range(num)]
    moved = sum(len(blocks - set(own)) for blocks, own in zip(read, groups, strict=True))
    assert set(ranks) == set(pairs)
    assert moved <= each * num * (num - 1) / 2
    loads = [list(ranks.values()).count(rank) for rank in range(num)]
    if num > 2:
        assert max(loads) == -(-len(pairs) // num)


def test_ranks_without_blocks_and_blocks_that_lie_together_are_possible():
    ranks = rotate([[0, 1, 2], [], [3]], {(i, j): 1 for i in range(4) for j in range(i, 4)})
    assert len(ranks) == 10
    assert ranks[0, 1] == 0


def plan_of(step, size, blocks, **declared):
    def compared(x, y):
        raise NotImplementedError

    one = dataclasses.replace(operation(pairs=True, nbytes=8, **declared)(compared), code="own")
    registry = builtin_operations() | {"compared": one}
    datasets = {"x": {"random": {"shape": [ROWS, 10]}, "blocks": blocks},
                "y": {"random": {"shape": [ROWS // 4, 10]}, "blocks": 4}}
    text = yaml.safe_dump({"mpiflow": 1, "name": "test", "datasets": datasets, "steps": {"s": step}})
    graph = lower(read_workflow(text, "w.yaml"), registry, (), size)
    return make_plan(graph, Machine((0,) * size))


def of_blocks(plan):
    """Bytes that go from rank to rank of the blocks that are compared."""
    sizes = plan.estimates.nbytes
    return sum(len(ranks) * sizes[block] for block, ranks in enumerate(plan.destinations)
               if plan.graph.tasks[block].kind is Kind.LOAD)


def loads(plan):
    ranks = [plan.ranks[task] for task in plan.graph.pairs[0]]
    return [ranks.count(rank) for rank in sorted(set(ranks))]


@pytest.mark.parametrize(("size", "blocks", "load"), [(3, 6, 7), (4, 8, 9), (4, 16, 34), (8, 16, 17)])
@pytest.mark.parametrize("linear", [False, True])
def test_a_plan_moves_no_more_than_a_ring(size, blocks, load, linear):
    plan = plan_of("compared(x)", size, blocks, symmetric=True, linear=linear, seconds=0.01)
    share = 80 * ROWS / size
    assert of_blocks(plan) <= 1.1 * share * size * (size - 1) / 2
    assert max(loads(plan)) == load


def test_both_orders_of_a_pair_run_in_one_place():
    plan = plan_of("compared(x)", 4, 8, linear=True, seconds=0.01)
    assert of_blocks(plan) <= 1.1 * 80 * ROWS / 4 * 6
    assert loads(plan) == [16] * 4


def test_of_two_datasets_the_smaller_one_rotates():
    for step in ("compared(x, y)", "compared(y, x)"):
        plan = plan_of(step, 4, 8, linear=True, seconds=0.01)
        assert of_blocks(plan) == 3 * 80 * ROWS / 4
        assert loads(plan) == [8] * 4
