"""The Python API on one rank: documents built in Python are those of YAML, plans need no MPI, values are arrays."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import h5py
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import EXAMPLES, launch
from test_layering import imported

import mpiflow as mf
from mpiflow.operations.live import known, module_file
from mpiflow.workflow.parsing import parse_expression
from mpiflow.workflow.terms import Term, call, term, written

SCENARIO = EXAMPLES / "scenarios" / "2-linear-two.yaml"


@mf.operation(linear=True)
def halves(x):
    """Counts on each side of 0.5; int64, shape (2,)."""
    return np.array([np.sum(x < 0.5), np.sum(x >= 0.5)])


def local(function=None, **declared):
    """An operation that lives in a function, so no document can name its module."""
    return mf.operation(function, **declared)


def even_odd(**more):
    """A small workflow with an operation from here."""
    wf = mf.Workflow("even-odd", params={"n": 1000}, **more)
    a = wf.dataset("DS1", random={"shape": [mf.var("n")], "seed": 1}, blocks=2, rank=1)
    b = wf.dataset("DS2", random={"shape": [mf.var("n")], "seed": 2}, blocks=2, rank=2)
    wf.result(wf.step("bits", local(halves.function, linear=True, name="bins")(a + b)), "bits.h5")
    return wf


def numbers(seed, n=1000):
    from mpiflow.storage.generate import generate
    from mpiflow.workflow.model import Random
    return generate(Random(shape=[n], seed=seed), 0, n)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Importing

def test_importing_loads_nothing_that_takes_time_and_no_mpi():
    loaded = imported("import mpiflow as mf; mf.operation; mf.__all__; dir(mf)")
    assert not loaded & {"mpi4py", "h5py", "yaml", "networkx"}


def test_building_and_planning_load_no_mpi():
    program = ("import mpiflow as mf; wf = mf.Workflow('w'); x = wf.dataset('x', arange={'stop': 9}); wf.step('s', x * 2); "
               "wf.check(); wf.plan(ranks=4); wf.graph(); wf.to_yaml(); wf._repr_html_()")
    assert "mpi4py" not in imported(program)


@pytest.mark.parametrize("name", mf.__all__)
def test_every_public_name_is_there(name):
    assert getattr(mf, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Worflow'"):
        _ = mf.Worflow


# Expressions

SIGNS = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
NUMBERS = st.sampled_from(["2", "0.5", "-3"])
TREES = st.recursive(st.sampled_from(["a", "b", "c"]), lambda inner: st.one_of(
    st.builds("({}) {} ({})".format, inner, SIGNS, inner), st.builds("({}) {} ({})".format, NUMBERS, SIGNS, inner),
    st.builds("({}) {} ({})".format, inner, SIGNS, NUMBERS), st.builds("-({})".format, inner),
    st.builds("f({}, k={})".format, inner, inner)), max_leaves=12)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_what_python_makes_of_handles_is_what_a_document_says(text):
    def f(x, k):
        return call("f", [x], {"k": k})

    made = eval(text, {"a": Term("a"), "b": Term("b"), "c": Term("c"), "f": f})
    assert parse_expression(made.text) == parse_expression(text)


@pytest.mark.parametrize(("made", "text"), [
    (lambda a, b: a + b * 2, "a + b * 2"),
    (lambda a, b: (a + b) * 2, "(a + b) * 2"),
    (lambda a, b: a - (b - 1), "a - (b - 1)"),
    (lambda a, b: 1 - a, "1 - a"),
    (lambda a, b: (a ** 2) ** b, "(a ** 2) ** b"),
    (lambda a, b: a ** b ** 2, "a ** b ** 2"),
    (lambda a, b: (-a) ** 2, "(-a) ** 2"),
    (lambda a, b: -(a ** 2), "-a ** 2"),
    (lambda a, b: a ** -1, "a ** -1"),
    (lambda a, b: a > 0.5, "a > 0.5"),
    (lambda a, b: (a > 0) * b, "(a > 0) * b"),
    (lambda a, b: sum([a, b, a]), "a + b + a"),
    (lambda a, b: np.sqrt(a) + np.float64(2) * b, "sqrt(a) + 2.0 * b"),
    (lambda a, b: mf.builtin.moments(a, axis=0)["mean"], "moments(a, axis=0).mean"),
    (lambda a, b: mf.builtin.max((a + b)["T >= 300, seed == 0"]["*"]), "max((a + b)[T >= 300, seed == 0].*)"),
    (lambda a, b: mf.builtin.clip(a, np.int64(0), high=None), "clip(a, 0, high=None)"),
    (lambda a, b: mf.builtin.histogram(a, range=(0, 1), bins=mf.var("n")), "histogram(a, range=[0, 1], bins=$n)"),
])
def test_an_expression_is_written_as_a_document_has_it(made, text):
    assert made(Term("a"), Term("b")).text == text


def test_an_expression_has_no_truth_value_and_cannot_be_gone_through():
    with pytest.raises(TypeError, match="whose value is not known yet"):
        bool(Term("a") == 1)
    with pytest.raises(TypeError, match="cannot be gone through"):
        list(Term("a"))
    with pytest.raises(TypeError, match="handles, numbers, text"):
        term(object())


def test_dollar_signs_of_texts_are_kept():
    assert written("$n costs") == "'$$n costs'"


def test_operations_still_compute_with_arrays():
    assert list(halves(np.array([0.1, 0.9, 0.7]))) == [1, 2]
    assert mf.builtin.mean.function is not None and "mean" in dir(mf.builtin)
    with pytest.raises(AttributeError, match="did you mean 'mean'"):
        _ = mf.builtin.meen


# Documents

def test_a_built_workflow_is_the_document_that_its_yaml_gives(here):
    wf = mf.Workflow("all", params={"n": 10, "note": "1e-5"})
    x = wf.dataset("x", random={"shape": [mf.var("n"), 3], "seed": 1}, blocks=2, unit="nm", tags=["a", "b: c"])
    wf.dataset("f", file=Path("data") / "mass.npy", as_="bytes")
    wf.step("short", mf.builtin.clip(x, 0.2, high=0.8))
    wf.step("long", mf.builtin.clip, in_={"x": x * 2}, with_={"low": np.float64(0.2)}, retries=2, on_error="continue")
    wf.step("sweep", run=mf.builtin.max(x * mf.var("c")), for_={"c": [0.5, 1, 2.5], "s": range(3)}, where="$s < 2")
    wf.step("program", ["cat", "{in.f}"], in_={"f": "f"}, stdout="out.txt", out={"text": "out.txt"})
    wf.result("sweep", "sweep.h5")
    wf.result("long", "long.h5", parts=2)
    Path("w.yaml").write_text(wf.to_yaml())
    (here / "data").mkdir()
    np.save(here / "data" / "mass.npy", np.ones(4))
    loaded = mf.load("w.yaml")
    assert wf.document == loaded.document
    assert loaded.to_yaml() == wf.to_yaml()
    assert wf.document.steps["long"].parameters == {"low": 0.2} and wf.document.params == {"n": 10, "note": "1e-5"}
    assert wf.document.datasets["x"].random.shape == [10, 3]
    assert wf.document.steps["sweep"].loop["s"] == "range(0, 3, 1)"


def test_an_operation_of_a_module_becomes_that_module(here):
    wf = mf.Workflow("named", folder=Path(__file__).parent)
    wf.step("h", halves(wf.dataset("x", arange={"stop": 10}) / 10))
    assert module_file(halves) == Path(__file__)
    assert wf.document.operations == ["test_api.py"]


def test_a_loaded_workflow_can_be_added_to(here):
    wf = mf.load(SCENARIO, params={"r1": 0})
    wf.step("total", mf.builtin.sum(wf["answer"]))
    names = wf.graph()
    assert names.has_edge("answer", "total") and names.nodes["answer"]["kind"] == "step"
    assert mf.run(wf, results=here, keep=["total"])["total"] == pytest.approx(1_000_000, rel=0.01)


def test_mistakes_are_reported_in_one_go_with_the_lines_of_the_program():
    wf = mf.Workflow("wrong")
    x = wf.dataset("x", random={"shape": [1000], "sede": 1})
    wf.step("total", "sum(x + yy)")
    first = sys._getframe().f_lineno - 2
    wf.step("spread", run="clip", in_={"x": x}, wth={"low": 1})
    wf.result("totl", "out.h5")
    with pytest.raises(mf.DocumentError) as caught:
        wf.plan(ranks=2)
    assert str(caught.value).splitlines() == [
        f"{__file__}:{first}:1: unknown key 'sede'; did you mean 'seed'? (dataset 'x')",
        f"{__file__}:{first + 1}:1: no dataset or step 'yy'; did you mean 'y'? (step 'total')".replace("; did you mean 'y'?", ""),
        f"{__file__}:{first + 3}:1: unknown key 'wth'; did you mean 'with'? (step 'spread')",
        f"{__file__}:{first + 4}:1: no step or dataset 'totl'; did you mean 'total'?"]


def test_a_mistake_in_a_loaded_document_keeps_its_place_after_additions(here):
    Path("w.yaml").write_text("mpiflow: 1\nname: w\ndatasets:\n  x: {arange: {stop: 3}}\nsteps:\n  a: sum(y)\n")
    wf = mf.load("w.yaml")
    wf.step("b", "max(x)")
    with pytest.raises(mf.DocumentError, match=r"w\.yaml:6:6: no dataset or step 'y'"):
        wf.check()


def test_names_are_given_once_and_unknown_ones_suggest():
    wf = even_odd()
    with pytest.raises(ValueError, match="'DS1' stands in"):
        wf.step("DS1", "DS2 * 2")
    with pytest.raises(KeyError, match="did you mean 'bits'"):
        wf["bitz"]
    with pytest.raises(ValueError, match="two operations are called 'bins'"):
        wf.step("other", local(lambda x: x, name="bins")(wf["DS1"]))


# Plans

def test_a_plan_says_where_what_and_how_long(here):
    plan = even_odd().plan(ranks=8, ranks_per_node=4)
    assert plan.ranks == 8 and 0 < plan.bound <= plan.seconds
    assert set(plan.placement["DS1"]) == {1} and set(plan.placement["DS2"]) == {2}
    assert sum(nbytes for _, nbytes in plan.links.values()) == plan.nbytes
    assert "predicted makespan" in str(plan) and "weighed" not in str(plan)
    assert plan.tasks[0]["step"] == "DS1"
    assert "chosen" in plan.explain("bits")
    with pytest.raises(mf.LaunchError, match="did you mean 'bits'"):
        plan.explain("bitz")
    with pytest.raises(mf.LaunchError, match="ranks must be 1 or more"):
        even_odd().plan(ranks=0)


def test_check_tries_what_operations_declare(here):
    checked = even_odd().check()
    assert (checked.num_datasets, checked.num_steps) == (2, 1) and checked.tried == {"bins": ("linear",)}
    wf = mf.Workflow("false")
    wf.step("s", local(lambda x: x.max(), linear=True, name="most")(wf.dataset("x", random={"shape": [100]}, blocks=4)))
    with pytest.raises(mf.DocumentError, match="is not linear"):
        wf.check()


def test_notebooks_get_pictures(here):
    wf = even_odd()
    assert "<svg" in wf._repr_html_() and ">bits</text>" in wf._repr_svg_()
    assert "rank 7" in wf.plan(ranks=8)._repr_html_()
    assert "right: 2 datasets" in wf.check()._repr_html_()
    wf.step("wrong", "sum(<)")
    assert wf._repr_svg_() is None and "not an expression" in wf._repr_html_() and "&lt;" not in wf.to_yaml()


def test_a_graph_is_networkx_and_a_copy():
    wf = even_odd()
    graph = wf.graph()
    assert isinstance(graph, nx.DiGraph) and set(graph.edges) == {("DS1", "bits"), ("DS2", "bits")}
    graph.clear()
    assert len(wf.graph()) == 3


# Ids of operations that live in programs

def test_the_id_of_an_operation_follows_what_it_reads():
    def made(factor, table):
        @mf.operation
        def scale(x, more=1):
            return x * factor * more + table.sum()
        return known(scale)[0].code

    one = made(2, np.arange(3))
    assert made(2, np.arange(3)) == one
    assert len({one, made(3, np.arange(3)), made(2, np.arange(4))}) == 3


def test_ids_do_not_depend_on_the_process():
    program = ("import mpiflow as mf\nfrom mpiflow.operations.live import known\nlimit = {'a', 'b', 'c'}\n"
               "def inner(x):\n    return x if x in {'q', 'r', 's'} else limit\n"
               "@mf.operation\ndef f(x):\n    return inner(x)\nprint(known(f)[0].code)")
    codes = {subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin"}, text=True,
                            capture_output=True, check=True, timeout=60).stdout for seed in "12"}
    assert len(codes) == 1


def test_what_cannot_be_told_apart_is_neither_saved_nor_taken(here):
    state = object()
    wf = mf.Workflow("unknown")
    wf.step("s", local(lambda x: (state, x)[1], name="odd")(wf.dataset("x", arange={"stop": 3})))
    with pytest.raises(mf.LaunchError, match=r"odd reads state \(object\)"):
        mf.run(wf, resume=True)
    assert list(mf.run(wf)["s"]) == [0, 1, 2]


# Runs

def test_a_run_gives_values_as_arrays(here):
    run = mf.run(even_odd())
    x, y = numbers(1), numbers(2)
    expected = halves(x) + halves(y)
    assert run.status == 0 and list(run) == ["bits"] and (run["bits"] == expected).all()
    assert (run.value("bits") == expected).all() and (run.local("bits")[0] == expected).all()
    assert not run["bits"].flags.writeable
    with h5py.File("bits.h5") as file:
        assert (file["bits"][()] == expected).all()
    assert "bits" in run.summary and run.record["status"] == 0 and run.blocks == {"bits": (0,)}
    assert "<table>" in run._repr_html_() and not run.failure


def test_parameters_names_to_keep_and_tables(here):
    wf = even_odd()
    wf.step("profile", mf.builtin.moments(wf["DS1"]))
    run = mf.run(wf, params={"n": 10}, keep=["DS1", "profile"])
    assert run["DS1"].shape == (10,) and (run["DS1"] == numbers(1, 10)).all()
    assert set(run["profile"]) == {"count", "mean", "variance", "std"}
    with pytest.raises(KeyError, match="were not kept: run"):
        run["bits"]
    with pytest.raises(KeyError, match="did you mean 'profile'"):
        run.value("profil")
    with pytest.raises(mf.LaunchError, match="keep: no dataset or step 'DS'; did you mean 'DS"):
        mf.run(wf, keep=["DS"])


def test_a_failing_step_raises_and_leaves_the_rest(here):
    wf = mf.Workflow("fails")
    x = wf.dataset("x", arange={"stop": 3})
    wf.step("good", mf.builtin.sum(x))
    wf.step("bad", local(lambda x: 1 / 0, name="crash")(x))
    with pytest.raises(mf.StepError, match="ZeroDivisionError") as caught:
        mf.run(wf, keep_going=True)
    assert caught.value.run["good"] == 3 and caught.value.status == 1
    with pytest.raises(KeyError, match="'bad' was not made"):
        caught.value.run["bad"]
    assert mf.run(wf, check=False).status == 1


def test_resume_brings_values_back_and_runs_nothing(here):
    wf = mf.Workflow("again")
    slow = local(lambda x: (__import__("time").sleep(0.02), x + len(__import__("os").listdir()))[1], name="slow")
    wf.result(wf.step("s", slow(wf.dataset("x", arange={"stop": 3}))), "out/s.npy")
    first = mf.run(wf)["s"]                     # it took long enough to be worth saving
    (here / "more").mkdir()
    again = mf.run(wf, resume=True)
    assert (again["s"] == first).all() and "kept of earlier work" in again.summary


PROGRAM = """
import os, signal, sys, threading, time
import numpy as np
import mpiflow as mf

heard = []
signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
wakeup = signal.set_wakeup_fd(-1); signal.set_wakeup_fd(wakeup)

@mf.operation
def endless(x):
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        time.sleep(0.01)

wf = mf.Workflow("stopped")
wf.step("s", endless(wf.dataset("x", arange={"stop": 3})))
try:
    mf.run(wf, grace=0.1)
except mf.StoppedError as error:
    print("stopped", error.status, error)
assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before
os.kill(os.getpid(), signal.SIGINT)
print(len(heard), wakeup == signal.set_wakeup_fd(-1))
other = mf.Workflow("after")
other.step("s", other.dataset("x", arange={"stop": 3}) * 2)
print(mf.run(other)["s"])
seen = []
thread = threading.Thread(target=lambda: seen.append(attempt()))
def attempt():
    try:
        mf.run(other)
    except mf.LaunchError as error:
        return str(error)
thread.start(); thread.join()
print(seen)
from mpi4py import MPI
print(MPI.Is_finalized())
"""


def test_a_program_gets_its_signal_handlers_back_and_goes_on_after_a_stop(here):
    Path("program.py").write_text(PROGRAM)
    ended = launch([sys.executable, "program.py"], cwd=here)
    assert ended.status == 0, ended.err
    assert ended.out.splitlines() == [
        "stopped 75 stopped by a signal at rank 0, 1 task left; the same with resume=True goes on", "1 True", "[0 2 4]",
        "['mpiflow runs in the main thread only: there it can interrupt operations']", "False"]


# Sessions

class Calls:
    """Counts."""

    def __init__(self):
        self.num = 0

    def __len__(self):
        return self.num

    def counted(self, x):
        self.num += 1
        return x.sum()



def test_a_session_gives_handles_at_once_and_computes_each_recipe_once(here):
    calls = Calls()                 # of a type that ids do not see into
    count = local(calls.counted, name="count_calls")
    with mf.session(operations=[count]) as s:
        x = s.dataset("x", arange={"stop": 10})
        one, two = s.count_calls(s.x), s.count_calls(x * 2)
        assert (one.state, two.state, len(calls)) == ("waiting", "waiting", 0)
        assert s.count_calls(s.x) is one
        assert two.value() == 90 and one.state == "done" and len(calls) == 2
        named = s.step("named", "count_calls(x)")
        assert one.value() == 45 and named.value() == 45 and len(calls) == 2       # the same recipe under a name
        assert s.mean(one + two).value() == 67.5 and len(calls) == 2
        assert list(s.x.value()) == list(range(10)) and "done" in repr(one)
        s.forget(one, named)
        assert one.value() == 45 and len(calls) == 3


def test_a_session_goes_on_after_failures_and_mistakes(here):
    with mf.session(operations=[local(lambda x: 1 / 0, name="crash")]) as s:
        s.dataset("x", arange={"stop": 10})
        bad, good = s.crash(s.x), s.sum(s.x)
        with pytest.raises(mf.StepError, match="ZeroDivisionError"):
            bad.value()
        assert (bad.state, good.state, int(good.value())) == ("failed", "done", 45)
        wrong, right = s.sum(s.x, axes=0), s.max(s.x)
        line = sys._getframe().f_lineno - 1
        with pytest.raises(mf.DocumentError, match=f"test_api.py:{line}:1: sum has no argument 'axes'"):
            right.value()
        assert (wrong.state, right.state) == ("failed", "waiting") and right.value() == 9
        with pytest.raises(AttributeError, match="did you mean 'median'"):
            s.medain(s.x)


def test_a_session_takes_names_from_a_document(here):
    with mf.session(workflow=SCENARIO) as s:
        answer = s.answer
        assert answer.state == "waiting" and answer.value().shape == (1000,)
        assert s.real2bin(s.DS1).state == "waiting" and {"DS1", "answer", "real2bin", "median"} <= set(dir(s))


# The notebook

def test_the_cells_of_the_notebook_run_and_show_what_is_stored(here):
    stored = json.loads((EXAMPLES / "notebook" / "even-odd.ipynb").read_text())
    spec = importlib.util.spec_from_file_location("make_notebook", EXAMPLES / "notebook" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    names, kinds = {}, []
    for cell in stored["cells"]:
        if cell["cell_type"] == "code":
            made = make.outputs("".join(cell["source"]), names)
            assert [item["output_type"] for item in made] == [item["output_type"] for item in cell["outputs"]]
            kinds += [set(item.get("data", {"text": ""})) for item in made]
    assert kinds.count({"text/plain", "text/html"}) == 3        # the DAG, the plan, the run
    assert names["run"].report()._repr_html_().startswith("<iframe srcdoc=\"&lt;!doctype html&gt;")
    assert names["run"]["share"].sum() == pytest.approx(0.5, abs=0.01) and names["spread"].state == "done"
    assert [(kind, source) for kind, source in make.CELLS] == [
        (cell["cell_type"], "".join(cell["source"])) for cell in stored["cells"]]
