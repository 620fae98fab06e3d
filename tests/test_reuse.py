"""What earlier work spares: what is held is taken, what only that needed is left out, and the reasons are true."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.catalog.entries import Holding
from mpiflow.planning.reuse import Reason, reuse
from mpiflow.planning.tasks import Block, Input, Kind, Task, TaskGraph, recipe_id


def graph_of(**needs):
    """One task for each step; ``x`` is a dataset."""
    numbers = {name: number for number, name in enumerate(needs)}
    return TaskGraph([task_of(numbers[name], name, [numbers[need] for need in before.split()], name == "x")
                      for name, before in needs.items()])


def task_of(number, step, needs, source=False):
    inputs = tuple(Input("", (need,)) for need in needs)
    if source:
        return Task(recipe_id(number), Kind.LOAD, step, block=Block(step, 0, 10), ranks=(0,), nbytes=80, seconds=0.1)
    return Task(recipe_id(number), Kind.APPLY, step, "f", inputs, rows=10, nbytes=80, seconds=1.0)


def holding(graph, names, rank=0, nbytes=8, **more):
    numbers = {task.step: number for number, task in enumerate(graph.tasks)}
    return Holding(rank, tuple((numbers[name], nbytes) for name in names.split()), **more)


def kinds(graph):
    """Of each step, its task's kind in one letter: Load, Apply, Restore, Kept."""
    return "".join(task.kind[0] for task in graph.tasks)


CHAIN = graph_of(x="", a="x", b="a", c="b", d="b")      # c and d are the ends
ID = {task.step: task.id for task in CHAIN.tasks}


def test_without_earlier_work_everything_runs_as_it_is():
    left, spared = reuse(CHAIN, [Holding(0), Holding(1)])
    assert left.tasks == CHAIN.tasks and left.datasets is CHAIN.datasets
    assert spared.num_kept == 0 and set(spared.reasons.values()) == {Reason.NEVER_RAN}


def test_when_all_ends_are_held_nothing_runs_and_nothing_is_brought_in():
    left, spared = reuse(CHAIN, [holding(CHAIN, "c d")])
    assert kinds(left) == "kkkkk" and spared.num_kept == 5
    assert spared.reasons == dict.fromkeys("abcd", Reason.KEPT)


def test_a_block_is_brought_in_only_if_something_that_runs_reads_it():
    left, spared = reuse(CHAIN, [holding(CHAIN, "a b c")])
    assert kinds(left) == "kkrka"
    assert spared.reasons == {"a": "kept", "b": "kept", "c": "kept", "d": "never ran"}


def test_a_block_is_brought_in_by_a_rank_that_holds_it_and_has_the_size_that_it_had():
    left, _ = reuse(CHAIN, [Holding(0), holding(CHAIN, "b", 1, 5), holding(CHAIN, "b", 2, 5)])
    brought = left.tasks[2]
    assert (brought.kind, brought.ranks, brought.nbytes, brought.inputs, brought.rows) == (Kind.RESTORE, (1, 2), 5, (), None)
    assert brought.seconds < CHAIN.tasks[2].seconds


def test_a_block_that_all_ranks_hold_may_be_brought_in_anywhere():
    left, _ = reuse(CHAIN, [holding(CHAIN, "b", rank) for rank in range(3)])
    assert left.tasks[2].ranks is None


def test_a_forced_step_runs_with_all_that_depends_on_it_and_nothing_else():
    left, spared = reuse(CHAIN, [holding(CHAIN, "a b c d")], forced=["b"])
    assert kinds(left) == "kraaa"
    assert spared.reasons == {"a": "kept", "b": "forced", "c": "forced", "d": "forced"}


def test_a_forced_dataset_is_read_again_with_all_that_depends_on_it():
    left, spared = reuse(CHAIN, [holding(CHAIN, "a b c d")], forced=["x"])
    assert kinds(left) == "laaaa" and set(spared.reasons.values()) == {Reason.FORCED}


def test_of_a_step_that_is_a_document_all_steps_are_forced_but_no_file_of_that_name():
    graph = graph_of(**{"x": "", "a.b": "x", "a.c.d": "x", "ab": "x"})
    graph.tasks.append(Task(recipe_id("w"), Kind.WRITE, "a.h5", inputs=(Input("", (3,)),)))
    left, _ = reuse(graph, [holding(graph, "a.b a.c.d ab a.h5")], forced=["a"])
    assert kinds(left) == "laakk"
    assert kinds(reuse(graph, [holding(graph, "a.b a.c.d ab a.h5")], forced=["a.c"])[0]) == "lkakk"


def test_a_damaged_block_is_made_again_but_what_it_led_to_is_kept():
    left, spared = reuse(CHAIN, [holding(CHAIN, "a b c")], lost=[ID["b"]])
    assert kinds(left) == "kraka"
    assert spared.reasons == {"a": "kept", "b": "lost", "c": "kept", "d": "never ran"}


def test_a_damaged_block_that_nobody_needs_any_more_is_not_made_again():
    left, spared = reuse(CHAIN, [holding(CHAIN, "a b c d")], lost=[ID["b"]])
    assert kinds(left) == "kkkkk" and spared.reasons["b"] is Reason.KEPT


def test_a_block_counts_as_lost_when_its_file_has_gone():
    _, spared = reuse(CHAIN, [holding(CHAIN, "a b d", lost=(3,))])
    assert spared.reasons == {"a": "kept", "b": "kept", "c": "lost", "d": "kept"}


def test_a_block_that_one_rank_has_lost_is_kept_if_another_has_it():
    left, spared = reuse(CHAIN, [Holding(0, lost=(2, 3)), holding(CHAIN, "b c d", 1)])
    assert kinds(left) == "kkkkk" and set(spared.reasons.values()) == {Reason.KEPT}


def test_what_changed_is_told_of_steps_that_were_saved_and_inherited_by_those_that_were_not():
    _, spared = reuse(CHAIN, [Holding(0, changed=(("a", "code changed"), ("c", "input changed")))])
    assert spared.reasons == {"a": "code changed", "b": "input changed", "c": "input changed", "d": "input changed"}


def test_a_change_of_long_ago_is_no_reason_for_a_step_that_ran_since():
    graph = TaskGraph([task_of(0, "a", []), task_of(1, "a", [])])
    _, spared = reuse(graph, [Holding(0, ((0, 8),), changed=(("a", "code changed"),))])
    assert spared.reasons == {"a": "never ran"}


def test_a_step_that_led_to_a_saved_block_ran_but_was_not_saved():
    left, spared = reuse(CHAIN, [holding(CHAIN, "a c d")], lost=[ID["d"]])
    assert kinds(left) == "kraka"
    assert spared.reasons == {"a": "kept", "b": "not saved", "c": "kept", "d": "lost"}


def test_what_is_wrong_with_stores_is_told_once_with_the_ranks_that_see_it():
    _, spared = reuse(CHAIN, [Holding(0, damages=("one", "two")), Holding(1), Holding(2, damages=("two",))])
    assert spared.damages == ("one (rank 0)", "two (rank 0,2)")


@st.composite
def cases(draw):
    """A graph of up to 25 tasks, what each rank holds and has lost of it, steps that are forced, blocks that are damaged."""
    num = draw(st.integers(1, 25))
    steps = draw(st.lists(st.sampled_from("pqrst"), min_size=num, max_size=num))
    tasks = []
    for number, step in enumerate(steps):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        tasks.append(task_of(number, step, sorted(needs), source=not needs and draw(st.booleans())))
    some = st.sets(st.integers(0, num - 1))
    holdings = []
    for rank in range(draw(st.integers(1, 4))):
        held, lost = draw(some), draw(some)
        changed = draw(st.dictionaries(st.sampled_from("pqrst"), st.sampled_from(["code changed", "input changed"])))
        blocks = tuple((number, 8) for number in sorted(held) if tasks[number].kind is not Kind.LOAD)
        holdings.append(Holding(rank, blocks, tuple(sorted(lost - held)), tuple(sorted(changed.items()))))
    forced = draw(st.sets(st.sampled_from(steps), max_size=2))
    return TaskGraph(tasks), holdings, forced, draw(st.sets(st.integers(0, num - 1), max_size=3))


def usable(graph, holdings, forced, damaged):
    """The blocks that may be taken, and by whom they are held."""
    again = set()
    for number, task in enumerate(graph.tasks):
        if task.step in forced or again.intersection(task.needs):
            again.add(number)
    held = {}
    for number in set(range(len(graph.tasks))) - again - damaged:
        ranks = tuple(holding.rank for holding in holdings if number in dict(holding.blocks))
        if ranks:
            held[number] = ranks
    return held, again


@given(cases())
@settings(max_examples=150, deadline=None)
def test_whatever_is_held_what_runs_is_exactly_what_the_ends_need(case):
    graph, holdings, forced, damaged = case
    left, spared = reuse(graph, holdings, forced, [graph.tasks[number].id for number in damaged])
    held, again = usable(graph, holdings, forced, damaged)
    run = set()
    for number in reversed(range(len(graph.tasks))):        # a task runs if it is not held and an end, or read by one that runs
        consumers = graph.consumers[number]
        if number not in held and (not consumers or run.intersection(consumers)):
            run.add(number)
    assert again <= run, "what is forced runs"
    assert not run & held.keys(), "what is held does not run"
    assert spared.holders == held and spared.num_kept == len(graph.tasks) - len(run)
    for number, (task, before) in enumerate(zip(left.tasks, graph.tasks, strict=True)):
        assert (task.id, task.step) == (before.id, before.step)
        if number in run:
            assert task == before
            assert all(need in run or left.tasks[need].kind is Kind.RESTORE for need in task.needs)
        elif task.kind is Kind.RESTORE:
            assert run.intersection(graph.consumers[number]), "nothing is brought in for nobody"
            assert task.ranks == (None if len(held[number]) == len(holdings) else held[number])
        else:
            assert task.kind is Kind.KEPT and not task.inputs


@given(cases())
@settings(max_examples=150, deadline=None)
def test_every_step_has_one_reason_and_it_is_true(case):
    graph, holdings, forced, damaged = case
    left, spared = reuse(graph, holdings, forced, [graph.tasks[number].id for number in damaged])
    _, again = usable(graph, holdings, forced, damaged)
    running = {}
    for number, task in enumerate(graph.tasks):
        if task.kind is not Kind.LOAD:
            running.setdefault(task.step, set()).update({number} if left.tasks[number].kind is task.kind else ())
    missing = damaged.union(*[holding.lost for holding in holdings])
    assert spared.reasons.keys() == running.keys()
    for step, reason in spared.reasons.items():
        tasks = running[step]
        assert (reason is Reason.KEPT) == (not tasks)
        assert (reason is Reason.FORCED) == bool(tasks & again)
        if reason is Reason.LOST:
            assert tasks & missing
        if reason in (Reason.CODE_CHANGED, Reason.INPUT_CHANGED):
            assert not any(step == graph.tasks[number].step for holding in holdings for number, _ in holding.blocks)
        if reason is Reason.NEVER_RAN:
            assert not tasks & missing and not tasks & again
