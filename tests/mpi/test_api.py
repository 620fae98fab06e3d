"""The Python API on any number of ranks: one result everywhere, one error everywhere, and communicators side by side."""

import numpy as np
import pytest

import mpiflow as mf
from mpiflow.storage.generate import generate
from mpiflow.workflow.model import Random


@pytest.fixture
def here(shared_tmp, monkeypatch):
    """One folder for all ranks to run in."""
    monkeypatch.chdir(shared_tmp)
    return shared_tmp


def numbers(seed, n=1000):
    return generate(Random(shape=[n], seed=seed), 0, n)


def bins(x):
    return (x >= 0.5).reshape(-1, 10).sum(axis=0)


def even_odd(name="even-odd", seed=1):
    """Two datasets on two ranks, and a linear operation that lives here."""
    wf = mf.Workflow(name)
    a = wf.dataset("a", random={"shape": [1000], "seed": seed}, rank=1)
    b = wf.dataset("b", random={"shape": [1000], "seed": 2}, rank=2, blocks=3)
    wf.step("counts", mf.operation(bins, linear=True)(a))
    wf.step("scaled", a + b * 2)
    return wf


def error_of(action):
    """What an action raises, as text."""
    try:
        return f"no error: {action()}"
    except (mf.MpiflowError, KeyError) as error:
        return f"{type(error).__name__}: {error}"


def test_small_values_are_on_every_rank_and_large_ones_come_when_all_ask(comm, together, here):
    run = mf.run(even_odd(), comm, share=1000)
    right = (run["counts"] == bins(numbers(1))).all()
    absent = error_of(lambda: run["scaled"]) if comm.size > 1 else "KeyError: run.value('scaled') brings it"
    scaled = run.value("scaled")
    right = right and np.allclose(scaled, numbers(1) + numbers(2) * 2, rtol=1e-15)
    at_one = run.value("scaled", root=comm.size - 1)
    here_only = (at_one is not None) == (comm.rank == comm.size - 1)
    held = {number: block.shape for number, block in run.local("scaled").items()}
    expected = {number for number, rank in enumerate(run.blocks["scaled"]) if rank == comm.rank}
    said = together((bool(right), here_only, set(held) == expected, "run.value('scaled') brings it" in absent, run.status))
    assert said == [str((True, True, True, True, 0))] * comm.size
    assert len(set(together(run.outcome.catalog.digest))) == 1


def test_ranks_that_ask_for_different_values_all_hear_of_it(comm, together, here):
    run = mf.run(even_odd(), comm, share=0)
    name = "counts" if comm.rank else "scaled"
    said = together(error_of(lambda: run.value(name)) if comm.size > 1 else "LaunchError: ranks ask for different values")
    assert len(set(said)) == 1 and "LaunchError: ranks ask for different values" in said[0]
    assert together(run.value("counts").tolist()) == [str(bins(numbers(1)).tolist())] * comm.size


def test_a_failing_step_raises_the_same_on_every_rank_and_the_next_run_is_right(comm, together, here):
    def broken(x):
        raise ValueError(f"rank {comm.rank} sees {x.size} numbers")

    wf = even_odd()
    wf.step("bad", mf.operation(broken)(wf["a"]))
    said = together(error_of(lambda: mf.run(wf, comm)))
    assert len(set(said)) == 1 and f"StepError: step 'bad' failed on rank {1 % comm.size}" in said[0]
    again = mf.run(wf, comm, check=False, keep_going=True)
    assert together((again.status, again["counts"].tolist())) == [str((1, bins(numbers(1)).tolist()))] * comm.size


def test_mistakes_and_differences_are_errors_on_every_rank(comm, together, here):
    wf = even_odd()
    wf.step("wrong", "sum(aa)")
    said = together(error_of(lambda: mf.run(wf, comm)))
    assert len(set(said)) == 1 and "DocumentError" in said[0] and "no dataset or step 'aa'" in said[0]
    said = together(error_of(lambda: mf.run(even_odd(seed=1 + (comm.rank == comm.size - 1)), comm)))
    assert len(set(said)) == 1 and (comm.size == 1 or "ranks see different contents of" in said[0])


def test_two_communicators_that_share_no_rank_run_at_once(comm, together, here):
    half = comm.Split(comm.rank % 2, -comm.rank)
    color = comm.rank % 2
    runs = [mf.run(even_odd(f"half-{color}", seed=7 + color + turn), half, store=here / f"store-{color}") for turn in range(3)]
    right = [bool((run["counts"] == bins(numbers(7 + color + turn))).all()) for turn, run in enumerate(runs)]
    whole = mf.run(even_odd(), comm)["counts"].tolist()
    last = runs[0].value("scaled").sum()
    half.Free()
    assert together((right, whole)) == [str(([True] * 3, bins(numbers(1)).tolist()))] * comm.size
    assert np.isclose(last, (numbers(7 + color) + numbers(2) * 2).sum())


def test_a_session_computes_each_recipe_once_wherever_it_was_asked_for(comm, together, here):
    class Calls(list):
        """Of a type that ids do not see into."""

        def counted(self, x):
            self.append(1)
            return bins(x)

    calls = Calls()
    state = type("State", (), {"calls": calls})()
    with mf.session(comm, operations=[mf.operation(lambda x: state.calls.counted(x), linear=True, name="bins")]) as s:
        s.dataset("a", random={"shape": [1000], "seed": 1}, rank=1)
        s.dataset("b", random={"shape": [1000], "seed": 2}, rank=2)
        one, two = s.bins(s.a), s.bins(s.a + s.b)
        states = [one.state, two.state]
        value = one.value().tolist()
        states += [one.state, two.state]
        three = s.step("named", "bins(a)")
        values = [value, two.value().tolist(), three.value().tolist(), s.a.value(root=0) is None]
    num = sum(int(part) for part in together(len(calls)))
    first, second = bins(numbers(1)), bins(numbers(2))
    said = together((states, values[:3]))
    assert num == 2                 # once for each dataset
    expected = [part.tolist() for part in (first, first + second, first)]
    assert said == [str((["waiting"] * 2 + ["done"] * 2, expected))] * comm.size
    assert together(values[3]) == [str(rank > 0) for rank in range(comm.size)]


def test_communicators_do_not_run_out(comm, together, here):
    wf = mf.Workflow("short")
    wf.step("s", mf.builtin.sum(wf.dataset("x", arange={"stop": 5}, rank=1)))
    seen = {int(mf.run(wf, comm, save=False, unreachable=0)["s"]) for _ in range(4)}
    assert together(seen) == ["{10}"] * comm.size
