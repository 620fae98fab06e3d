"""``when``, ``repeat`` and ``on-error: skip`` as tasks: what runs, what it gives, what is taken from earlier work; no MPI."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mpiflow.catalog.entries import Holding
from mpiflow.errors import DocumentError, OperationError
from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.skipping import Skipped
from mpiflow.peer.execute import Executor, policies
from mpiflow.planning.lowering import lower
from mpiflow.planning.reuse import reuse
from mpiflow.planning.tasks import Input, Kind, missing, without
from mpiflow.workflow.reading import draft_workflow, read_workflow

HEAD = """mpiflow: 1
name: w
params: {go: false, level: 2}
datasets:
  a: {full: {shape: [8], value: 2.0}, blocks: 2}
  s: {full: {shape: [8], value: 1.0}, blocks: 2}
  big: {full: {shape: [8], value: 10.0}, blocks: 2}
steps:
"""
FILES = {
    "relax.yaml": """\
mpiflow: 1
name: relax
params: {tol: 1e-6}
inputs: [x, a]
datasets: {a: {full: {shape: [8], value: 2.0}, blocks: 2}, x: {full: {shape: [8], value: 1.0}, blocks: 2}}
steps:
  level: mean(a)
  new: (x + a / x) / 2 + 0 * level
  change: max(absolute(new - x))
  parts: {for: {k: [1, 2]}, run: sum(new) * $k}
results: {new: a.h5, change: a.h5, x: a.h5, parts.*: p.h5}
""",
    "outer.yaml": """\
mpiflow: 1
name: outer
inputs: [x]
steps:
  inner: {workflow: relax.yaml, in: {x: x}, repeat: {feed: {x: inner.new}, until: inner.change < 1e-9, at-most: 9}}
  half: inner.new / 2
  far: max(absolute(half - x))
results: {half: a.h5, far: a.h5}
""",
    "checked.yaml": """\
mpiflow: 1
name: checked
inputs: [x]
steps:
  top: {run: max(x), when: sum(x) > 0}
  twice: top * 2
results: {twice: a.h5, top: a.h5}
""",
}


@operation
def newton(x, a):
    new = (x + a / x) / 2
    return {"x": new, "change": np.abs(new - x).max()}


@operation
def picky(x, k):
    if k == 2:
        raise ValueError("not two")
    return x * k


@operation
def between(*given):
    return max(given) - min(given)


@operation
def named(x, y):
    return x + y


@operation(elementwise=True, halo=1)
def slope(x, *, before, after):
    return x


@operation(parallel=True)
def together(x, comm):
    return x


REGISTRY = builtin_operations() | {one.name: one for one in (newton, picky, between, named, slope, together)}


def reading(file):
    if file not in FILES:
        raise FileNotFoundError(2, "No such file or directory", file)
    return FILES[file].encode()


def workflow_of(steps, **params):
    return read_workflow(HEAD + steps, "w.yaml", params, reading)


class Ran:
    """A workflow whose tasks have run one after the other."""

    def __init__(self, steps, held=None, **params):
        self.workflow = workflow_of(steps, **params)
        self.graph = lower(self.workflow, REGISTRY, (), 2)
        if held is not None:
            holding = Holding(0, tuple((number, 8) for number in sorted(held)))
            self.graph, self.spared = reuse(self.graph, [holding, Holding(1)])
        self.values, self.gone, self.ran = {}, set(), []
        executor = Executor(self.workflow, REGISTRY, self.graph, None, held or {})
        executor.gone = self.gone
        executor.prepare(range(len(self.graph.tasks)))
        skips = {number for number, policy in policies(self.workflow, self.graph).items() if policy.skips}
        for number in range(len(self.graph.tasks)):
            self._run(executor, number, skips)

    def _run(self, executor, number, skips):
        try:
            if without(self.graph.tasks, number, self.gone):
                raise Skipped
            self.values[number] = executor.run(number, self.values)
            self.ran.append(number)
        except Skipped:
            self.gone.add(number)
        except ValueError:
            if number not in skips:
                raise
            self.gone.add(number)

    def __getitem__(self, name):
        """What a step has given; None if it was skipped."""
        tasks = self.graph.datasets[name].tasks
        if missing(self.graph.tasks, Input("", tasks), self.gone):
            return None
        return np.concatenate([np.atleast_1d(self.values[task]) for task in tasks if task not in self.gone])

    def num_turns(self, name):
        return sum(gate in self.values for gate in self.graph.turns[name])


# when

def test_a_step_whose_condition_holds_runs_and_another_is_skipped_with_what_depends_on_it():
    ran = Ran("  yes: {run: max(a), when: sum(a) > 1}\n  no: {run: max(a), when: sum(a) < 1}\n  after: no + yes\n"
              "  other: yes + 1")
    assert (ran["yes"], ran["no"], ran["after"], ran["other"]) == (2, None, None, 3)


def test_what_a_skipped_step_would_compute_does_not_run_but_what_others_need_does():
    ran = Ran("  no: {run: sqrt(mean(a)), when: $go}\n  yes: mean(a)")
    assert ran["yes"] == 2 and ran["no"] is None
    assert not any(ran.graph.tasks[number].operation == "sqrt" for number in ran.ran)


def test_a_name_for_what_is_there_is_skipped_too():
    ran = Ran("  no: {run: concatenate(a), when: $go}\n  yes: {run: concatenate(a), when: true}")
    assert ran["no"] is None and ran["yes"].tolist() == [2.0] * 8


@pytest.mark.parametrize("when, runs", [
    ("$go", False), ("true", True), ("$level > 1", True), ("'logical_and($level == 2, $level < 2)'", False),
    ("mean(a) == 2", True), ("count(a) - 8", False), ("'logical_not(sum(a))'", False)])
def test_conditions(when, runs):
    assert (Ran(f"  s1: {{run: max(a), when: {when}}}")["s1"] is not None) is runs


def test_each_instance_of_a_loop_has_a_condition_of_its_own():
    ran = Ran("  some: {for: {k: [1, 2, 3]}, run: max(a) * $k, when: $k != 2}\n  all: sort(some)\n  total: sum(some)\n"
              "  apart: between(some.*)\n  one: some[k == 2] + 1\n  mapped: {for: {b: {blocks: some}}, run: $b + 1}\n"
              "  both: named(some, some[k == 2])\n  more: sum(some * 2)\n"
              "  mean_of: {for: {k: [1, 2, 3]}, run: 'sum(some[k <= $k]) + max(a)', when: mean(a) * $k > 3}")
    assert ran["some"].tolist() == [2, 6] and ran["all"].tolist() == [2, 6]
    assert (ran["total"], ran["apart"], ran["one"], ran["more"]) == (8, 4, None, 16)
    assert ran["mapped"].tolist() == [3, 7] and ran["both"] is None
    assert ran["mean_of"].tolist() == [4, 10]


def test_when_nothing_is_left_of_a_loop_what_collects_it_is_skipped():
    ran = Ran("  some: {for: {k: [1, 2]}, run: max(a) * $k, when: $k > 2}\n  all: sort(some)\n  total: sum(some)\n"
              "  apart: between(some.*)\n  last: total + 1")
    assert [ran[name] for name in ("some", "all", "total", "apart", "last")] == [None] * 5


def test_a_document_that_is_a_step_runs_as_a_whole_or_not_at_all():
    ran = Ran("  no: {workflow: relax.yaml, when: sum(a) < 1}\n  yes: {workflow: relax.yaml, when: sum(a) > 1}\n"
              "  both: yes.change + no.change\n  each: {for: {k: [1, 2]}, workflow: relax.yaml, when: $k * mean(a) > 2}\n"
              "  all: sum(each.change)")
    assert (ran["yes.change"], ran["no.change"], ran["both"], ran["all"]) == (0.5, None, None, 0.5)


def test_a_condition_inside_a_document_depends_on_that_of_the_document():
    ran = Ran("  no: {workflow: checked.yaml, in: {x: a}, when: $go}\n  yes: {workflow: checked.yaml, in: {x: a}}\n"
              "  never: {workflow: checked.yaml, in: {x: a * -1}}")
    assert (ran["no.twice"], ran["yes.twice"], ran["never.twice"]) == (None, 4, None)
    gates = [number for number in ran.ran if ran.graph.tasks[number].kind is Kind.GATE]
    assert len(gates) == 3, "the condition inside is not even looked at"


def test_a_condition_that_depends_on_what_was_skipped_skips():
    ran = Ran("  no: {run: max(a), when: $go}\n  s1: {run: sum(a), when: no > 1}\n  s2: {run: sum(a), when: max(a) > 1}")
    assert ran["s1"] is None and ran["s2"] == 16


def test_a_condition_of_several_values_fails_with_the_step_and_the_value():
    with pytest.raises(OperationError, match=r"'when' of step 's1' must be one value, true or false; it is an array of shape "
                                             r"\(2,\) and dtype float64: \[2. 2.\]"):
        Ran("  two: {for: {k: [1, 2]}, run: 'picky(max(a), k=1) + 0 * $k'}\n  s1: {run: max(a), when: sort(two)}")


# on-error: skip

def test_an_instance_that_fails_is_skipped_and_others_do_without():
    ran = Ran("  sweep: {for: {k: [1, 2, 3]}, run: 'picky(max(a), k=$k)', on-error: skip}\n  all: concatenate(sweep, max(a))\n"
              "  apart: between(sweep.*)\n  total: sum(sweep)\n  one: sweep[k == 2] + 1")
    assert ran["sweep"].tolist() == [2, 6] and ran["all"].tolist() == [2, 6, 2]
    assert (ran["apart"], ran["total"], ran["one"]) == (4, 8, None)


def test_a_step_that_fails_is_skipped_as_a_whole():
    ran = Ran("  bad: {run: 'picky(max(a), k=2)', on-error: skip}\n  after: bad + 1\n  other: max(a)\n"
              "  both: concatenate(bad, other)")
    assert (ran["bad"], ran["after"], ran["other"], ran["both"]) == (None, None, 2, None)


def test_what_becomes_of_failures_in_a_document_is_said_by_the_step_that_it_is():
    workflow = workflow_of("  one: {workflow: checked.yaml, in: {x: a}, on-error: skip, retries: 2}")
    assert workflow.policies["one.top"].skips and workflow.policies["one.twice"].retries == 2


# repeat

ROOT = "  root: {run: newton, in: {x: %s, a: a}, repeat: {feed: {x: root.x}, until: root.change < 1e-6, at-most: %s%s}}\n"


def by_hand(x, num=100, tolerance=1e-6):
    turns, change = 0, 1.0
    while turns < num and not change < tolerance:
        new = (x + 2.0 / x) / 2
        x, change, turns = new, abs(new - x), turns + 1
    return x, turns


def test_an_operation_is_repeated_with_what_it_has_made():
    ran = Ran(ROOT % ("s", 20, "") + "  x: root.x\n  last: max(x)")
    value, turns = by_hand(1.0)
    assert ran["x"].tolist() == [value] * 8 and ran["last"] == value
    assert ran.num_turns("root") == turns


def test_the_first_turn_may_be_given_a_number():
    ran = Ran(ROOT % (1, 20, "") + "  x: root.x")
    assert ran["x"].tolist() == [by_hand(1.0)[0]] * 8


def test_only_one_turn_is_one_turn():
    assert Ran("  root: {run: newton, in: {x: s, a: a}, repeat: {feed: {x: root.x}, until: root.change < 9, at-most: 5}}\n"
               "  x: root.x")["x"].tolist() == [by_hand(1.0, 1)[0]] * 8
    assert Ran(ROOT % ("s", 1, ", on-limit: accept") + "  x: root.x")["x"].tolist() == [by_hand(1.0, 1)[0]] * 8


def test_a_limit_that_is_reached_is_a_failure_unless_it_is_accepted():
    with pytest.raises(OperationError, match="step 'root': 'until' did not hold after 3 turns"):
        Ran(ROOT % ("s", 3, ""))
    ran = Ran(ROOT % ("s", 3, ", on-limit: accept") + "  x: root.x")
    assert ran["x"].tolist() == [by_hand(1.0, 3)[0]] * 8 and ran.num_turns("root") == 3


RELAX = "  relax: {workflow: relax.yaml, in: {x: s}, repeat: {feed: {x: relax.new}, until: relax.change < 1e-6, at-most: 20}}\n"


def test_a_document_is_repeated_block_by_block_and_what_does_not_change_is_done_once():
    ran = Ran(RELAX + "  parts: relax.parts[k == 2]\n  each: between(relax.parts.*)\n  end: max(relax.new)")
    value, turns = by_hand(1.0)
    assert ran["relax.new"].tolist() == [value] * 8 and len(ran.graph.datasets["relax.new"].tasks) == 2
    assert ran.num_turns("relax") == turns
    assert ran["parts"] == 16 * value and ran["each"] == 8 * value
    steps = [ran.graph.tasks[number] for number in ran.ran]
    assert len({task.id for task in steps if task.step == "relax.level"}) == len([t for t in steps if t.step == "relax.level"])
    assert {task.instance for task in steps if task.step == "relax.level"} == {"turn=1"}


def test_an_input_that_is_not_given_starts_as_the_dataset_of_its_name():
    ran = Ran("  relax: {workflow: relax.yaml, repeat: {feed: {x: relax.new}, until: relax.change < 1e-6, at-most: 20}}\n"
              "  end: max(relax.new)")
    assert ran["relax.new"].tolist() == [by_hand(1.0)[0]] * 8


def test_until_may_compare_with_what_the_turn_was_given():
    ran = Ran("  relax: {workflow: relax.yaml, in: {x: s}, repeat: {feed: {x: relax.new}, "
              "until: max(absolute(relax.new - relax.x)) < 1e-6, at-most: 20}}")
    assert ran.num_turns("relax") == by_hand(1.0)[1]


def test_instances_of_a_loop_have_turns_of_their_own():
    ran = Ran("  root: {for: {k: [1, 1000]}, run: newton, in: {x: s * $k, a: a}, repeat: {feed: {x: root.x}, "
              "until: root.change < 1e-6, at-most: 30}}\n  last: root.x\n"
              "  relax: {for: {k: [1, 1000]}, workflow: relax.yaml, in: {x: s * $k}, repeat: {feed: {x: relax.new}, "
              "until: relax.change < $k * 1e-6, at-most: 30}}\n  top: max(relax.new)")
    turns = [by_hand(1.0)[1], by_hand(1000.0)[1]]
    assert [ran.num_turns(f"root[k={k}]") for k in (1, 1000)] == turns
    assert [ran.num_turns(f"relax[k={k}]") for k in (1, 1000)] == [turns[0], by_hand(1000.0, tolerance=1e-3)[1]]
    assert ran["last"].tolist() == [by_hand(1.0)[0]] * 8 + [by_hand(1000.0)[0]] * 8


def test_repetitions_inside_repetitions():
    ran = Ran("  outer: {workflow: outer.yaml, in: {x: big}, repeat: {feed: {x: outer.half}, until: outer.far < 1e-6, "
              "at-most: 6}}\n  end: max(outer.half)")
    x, far, inner = 10.0, 1.0, []
    while not far < 1e-6:
        new, num = by_hand(x, 99, 1e-9)
        x, far = new / 2, abs(new / 2 - x)
        inner.append(num)
    assert ran["end"] == x
    assert [ran.num_turns(f"outer.inner[turn={turn}]") for turn in range(1, 7)] == inner + [0] * (6 - len(inner))
    assert ran.num_turns("outer") == len(inner) < 6


def test_a_skipped_document_has_no_turns():
    other = RELAX.replace("relax:", "other:").replace("relax.", "other.").replace("other.yaml", "relax.yaml")
    ran = Ran(RELAX.replace("repeat", "when: $go, repeat") + "  after: max(relax.new)\n" + other)
    assert ran["after"] is None and ran.num_turns("relax") == 0 and ran.num_turns("other") == by_hand(1.0)[1]


def test_a_parallel_operation_on_what_a_turn_is_fed_is_skipped_on_all_its_ranks_by_one_guard():
    FILES["par.yaml"] = ("mpiflow: 1\nname: p\ninputs: [x]\nsteps:\n  y: {run: together, in: {x: x}, ranks: 2}\n"
                         "  far: max(absolute(y - x))\nresults: {y: a.h5, far: a.h5}\n")
    graph = lower(workflow_of("  p: {workflow: par.yaml, in: {x: a}, repeat: {feed: {x: p.y}, until: p.far < 1, at-most: 3}}"),
                  REGISTRY, (), 2)
    parts = [task for task in graph.tasks if task.part]
    assert len(parts) == 6
    assert [task.guard is None for task in parts] == [True, True, False, False, False, False]
    assert parts[2].guard == parts[3].guard != parts[4].guard == parts[5].guard


# Earlier work

@pytest.mark.parametrize("seed", range(40))
def test_going_on_from_any_blocks_gives_the_same(seed):
    steps = (RELAX + ROOT % ("s * 30", 20, "") + "  yes: {run: max(relax.new), when: sum(a) > 1}\n"
             "  no: {run: max(relax.new), when: sum(a) < 1}\n  end: named(yes, max(root.x))\nresults: {end: e.h5}")
    whole = Ran.__new__(Ran)
    whole.__init__(steps.replace("results: {end: e.h5}", ""))
    chance = random.Random(seed)
    kinds = (Kind.APPLY, Kind.COMBINE, Kind.FINISH)
    able = [number for number in whole.ran if whole.graph.tasks[number].kind in kinds]
    held = {number: whole.values[number] for number in chance.sample(able, chance.randint(1, len(able)))}
    again = Ran(steps.replace("results: {end: e.h5}", ""), held)
    for name in ("end", "yes", "relax.new", "root"):
        tasks = whole.graph.datasets[name].tasks
        for task in tasks:
            if again.graph.tasks[task].kind is not Kind.KEPT:
                one, other = whole.values[task], again.values[task]
                assert one == other if isinstance(one, float) else np.all(one == other) if not isinstance(one, dict) else all(
                    np.array_equal(one[key], other[key]) for key in one)
    assert again["no"] is None or again.graph.tasks[again.graph.datasets["no"].tasks[0]].kind is Kind.KEPT


def test_turns_that_are_known_to_be_over_are_not_asked_again():
    steps = RELAX + "  end: max(relax.new)"
    whole = Ran(steps)
    third = {number: whole.values[number] for number in whole.ran
             if whole.graph.tasks[number].instance == "turn=3" and whole.graph.tasks[number].step == "relax.new"
             and whole.graph.tasks[number].kind is Kind.APPLY}
    again = Ran(steps, third)
    assert again["end"] == whole["end"]
    ran = {again.graph.tasks[number].instance for number in again.ran
           if again.graph.tasks[number].kind is Kind.APPLY and again.graph.tasks[number].step == "relax.change"}
    assert "turn=4" in ran and "turn=2" not in ran
    kinds = [again.graph.tasks[gate].kind for gate in again.graph.turns["relax"]]
    assert kinds[:2] == [Kind.KEPT] * 2 and kinds[2] is Kind.GATE


# Mistakes

@pytest.mark.parametrize("step, message", [
    ("{run: max(a), when: sum(nix) > 1}", "no dataset or step 'nix'"),
    ("{run: max(a), when: summ(a) > 1}", "no operation 'summ'; did you mean 'sum'?"),
    ("{run: max(a), when: s1 > 1}", "step 's1' depends on itself"),
    ("{run: max(a), when: 3 + 4}", "'when' must be true or false, not 7"),
    ("{run: max(a), when: count(3) > 1}", "'when' has no operation 'count'"),
    ("{run: max(a), when: a > 1}", "'when' must give one value, true or false; it gives an array"),
    ("{for: {k: [1, 2]}, run: max(a), when: $k + 1}", "'when' must be true or false, not 2 (at k=1)"),
    ("{run: max(a), repeat: {feed: {x: s1}, until: s1 < 1, at-most: 3}}", "what is repeated needs names for what it is given"),
    ("{run: max, in: {x: a}, repeat: {feed: {y: s1}, until: s1 < 1, at-most: 3}}", "'y' is not given under 'in'"),
    ("{run: max, in: {x: a}, repeat: {feed: {x: a}, until: s1 < 1, at-most: 3}}",
     "'a' is not what a turn has made, which is called 's1' here"),
    ("{run: max, in: {x: a}, repeat: {feed: {x: s1}, until: 1 < 2, at-most: 3}}",
     "'until' must be made of what a turn has made, which is called 's1' here"),
    ("{run: max, in: {x: a}, repeat: {feed: {x: s1}, until: maxx(s1) < 2, at-most: 3}}",
     "no operation 'maxx'; did you mean 'max'?"),
    ("{run: max, in: {x: a}, repeat: {feed: {x: s1}, until: s1 < 2}}", "key 'at-most' is missing"),
    ("{run: max, in: {x: a}, repeat: {feed: {x: s1}, until: s1 < 2, at-most: 0}}", "'at-most' must be"),
    ("{workflow: relax.yaml, repeat: {feed: {x: s1.neu}, until: s1.change < 2, at-most: 3}}", "has no result 'neu'"),
    ("{workflow: relax.yaml, repeat: {feed: {z: s1.new}, until: s1.change < 2, at-most: 3}}", "relax.yaml has no input 'z'"),
    ("{workflow: relax.yaml, repeat: {feed: {x: s1.new}, until: s1 < 2, at-most: 3}}",
     "'s1' is a workflow; name one of its results"),
    ("{workflow: relax.yaml, in: {x: o}, repeat: {feed: {x: s1.new}, until: s1.change < 2, at-most: 3}}\n  o: s1.new + 1",
     "depend on each other"),
    ("{workflow: relax.yaml, in: {x: s, a: o}, repeat: {feed: {x: s1.new}, until: s1.change < 2, at-most: 3}}\n  o: s1.level + 1",
     "has no result 'level'"),
    ("{workflow: relax.yaml, ranks: 2}", "'ranks' is not possible with 'workflow'; give it to those of its steps"),
    ("{workflow: relax.yaml, tags: [b]}", "'tags' is not possible with 'workflow'"),
    ("{for: {k: [1, 2]}, run: sqrt(a * $k), on-error: skip}", "an instance has 2 blocks, of which some may fail and others not"),
    ("{for: {k: [1, 2]}, run: a * $k, when: $k > 1}\n  t: slope(s1)", "slope needs all blocks"),
    ("{run: together, in: {x: t}, ranks: 2}\n  t: {for: {k: [1, 2]}, run: a * $k, when: $k > 1}",
     "together is a parallel operation, and parts of what it is given may be skipped"),
    ("{run: max(a), when: max(together(a)) > 1}", "together is a parallel operation; make it a step of its own"),
    ("{run: max(a), on-error: ignore}", "'on-error' must be one of"),
])
def test_mistakes_are_told(step, message):
    with pytest.raises(DocumentError) as told:
        workflow = draft_workflow(HEAD + f"  s1: {step}\n", "w.yaml", None, reading)
        lower(workflow, REGISTRY, (), 2)
    assert message in str(told.value)
