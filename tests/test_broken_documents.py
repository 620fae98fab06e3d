"""Every kind of broken document: one message at the right place, status 2, the same on one rank and on eight."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field

import h5py
import numpy as np
import pytest
from launching import launch, mpiflow

BASE = """\
mpiflow: 1
name: broken
params: {n: 10, low: 0}
operations: [ops.py]
datasets:
  a: {random: {shape: [$n], seed: 1}, blocks: 2}
  b: {normal: {shape: [$n], seed: 2}}
  h: {file: h.h5, path: /x}
  p: {file: p.npy, rows: [0, 3]}
steps:
  total: sum(a + b)
  own: {run: shift, in: {x: a}, with: {by: 2}}
results: {total: out.h5}
"""
OPS = "from mpiflow import operation\n\n@operation(elementwise=True)\ndef shift(x, by):\n    return x + by\n"
INNER = b"mpiflow: 1\nname: i\ninputs: [x]\ndatasets: {x: {arange: {stop: 3}}}\nsteps: {total: sum(x)}\nresults: {total: t.h5}\n"
HERE = "‹"      # stands before the token that a message is about


@dataclass(frozen=True)
class Kind:
    """A way to break a document: ``old`` of BASE becomes ``new``, in which HERE marks the place."""

    name: str
    old: str
    new: str
    message: str
    files: dict[str, bytes | None] = field(default_factory=dict)       # None: a directory
    arguments: tuple[str, ...] = ()
    text: str | bytes | None = None                                    # the whole document, in place of BASE

    @property
    def marked(self) -> str:
        if self.text is not None:
            return self.text
        assert BASE.count(self.old) == 1, self.name
        return BASE.replace(self.old, self.new)

    @property
    def place(self) -> str:
        before = self.marked.partition(HERE)[0]
        return f"workflow.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def own(name, new, message, **more):
    """A kind that breaks the second step."""
    return Kind(name, "{run: shift, in: {x: a}, with: {by: 2}}", new, message, **more)


def total(name, new, message, **more):
    """A kind that breaks the first step."""
    return Kind(name, "sum(a + b)", new, message, **more)


KINDS = [
    # The text
    Kind("empty", "", "", "the document is empty", text="‹"),
    Kind("only a comment", "", "", "the document is empty", text="‹# nothing\n"),
    Kind("a list", "", "", "the document must be a mapping", text="‹- mpiflow\n- 1\n"),
    Kind("not YAML", "low: 0}\noperations:", "low: 0\noperations‹:", "not YAML: while parsing a flow mapping from line 3 on"),
    Kind("a tab", "  b: {normal", "‹\tb: {normal", "found character '\\t' that cannot start any token"),
    Kind("two documents", "steps:", "‹---\nsteps:", "but found another document"),
    Kind("a control character", "name: broken", "name: bro‹\x07ken", "not YAML: character U+0007"),
    Kind("a tag of Python", "name: broken", "name: ‹!!python/name:os.system x", "cannot read 'x'"),
    Kind("a key twice", "name: broken", "name: broken\n‹name: again", "key 'name' stands twice (first on line 2)"),
    Kind("a dataset twice", "  p: {file", "  ‹a: {file", "key 'a' stands twice (first on line 6)"),
    Kind("a step twice", "  own: {run", "  ‹total: {run", "key 'total' stands twice (first on line 11)"),
    Kind("a leading zero", "{n: 10,", "{n: ‹010,", "'010' starts with 0"),

    # Keys and types
    Kind("wrong version", "mpiflow: 1", "mpiflow: ‹2", "'mpiflow' must be 1, not 2"),
    Kind("no version", "mpiflow: 1\n", "‹", "key 'mpiflow' is missing"),
    Kind("no name", "name: broken\n", "", "key 'name' is missing", text="‹" + BASE.replace("name: broken\n", "")),
    Kind("unknown key of the document", "params:", "‹parms:", "unknown key 'parms'; did you mean 'params'?"),
    Kind("unknown key of a dataset", "blocks: 2", "‹block: 2", "unknown key 'block'; did you mean 'blocks'?"),
    Kind("unknown key of a generator", "seed: 1", "‹sead: 1", "unknown key 'sead'; did you mean 'seed'?"),
    Kind("unknown key of a step", "with: {by", "‹wiht: {by", "unknown key 'wiht'; did you mean 'with'?"),
    Kind("unknown generator", "{normal:", "{‹nromal:", "unknown key 'nromal'; did you mean 'normal'?"),
    Kind("a key in the wrong mapping", "seed: 1}, blocks: 2", "seed: 1, ‹blocks: 2}", "it belongs beside 'random', not into it"),
    Kind("missing key of a generator", "normal: {shape: [$n], seed", "‹normal: {seed", "key 'shape' is missing in 'normal'"),
    Kind("wrong type of a number", "seed: 1", "seed: ‹one", "'seed' must be a whole number of at least 0, not 'one'"),
    Kind("wrong type of an element", "[$n], seed: 2", "[$n, ‹3.5], seed: 2", "element 2 of 'shape' must be a whole number"),
    Kind("wrong type of a section", "operations: [ops.py]", "operations: ‹ops.py", "'operations' must be a list"),
    Kind("a key without value", "blocks: 2", "‹blocks:", "'blocks' has no value"),
    Kind("out of range", "blocks: 2", "blocks: ‹0", "'blocks' must be a whole number from 1 to 1000000, not 0"),
    Kind("no source", "  b: {normal: {shape: [$n], seed: 2}}", "  ‹b: {blocks: 2}", "needs exactly one of random, normal"),
    Kind("two sources", "  b: {normal", "  ‹b: {file: p.npy, normal", "needs exactly one of random, normal"),
    Kind("no steps", "steps:\n  total: sum(a + b)\n  own: {run: shift, in: {x: a}, with: {by: 2}}\nresults: {total: out.h5}\n",
         "steps: ‹{}\n", "'steps' is empty"),
    Kind("a name with a hyphen", "  own: {run", "  ‹my-own: {run", "'my-own' cannot be a name"),

    # Names
    Kind("a step with the name of a dataset", "  own: {run", "  ‹a: {run", "'a' is the name of a dataset already"),
    total("unknown name", "sum(a + ‹totl)", "no dataset or step 'totl'; did you mean 'total'?"),
    own("unknown name under in", "{run: shift, in: {x: ‹aa}, with: {by: 2}}", "no dataset or step 'aa'; did you mean 'a'?"),
    own("unknown name in a folded text", ">\n    a +\n    ‹bb", "no dataset or step 'bb'; did you mean 'b'?"),
    Kind("a cycle", "total: sum(a + b)\n  own: {run: shift, in: {x: a}", "‹total: sum(own)\n  own: {run: shift, in: {x: total}",
         "steps depend on each other: 'total' needs 'own', 'own' needs 'total'"),
    Kind("a step that needs itself", "  total: sum(a + b)", "  ‹total: sum(a + total)", "step 'total' depends on itself"),
    Kind("results of nobody", "{total: out.h5}", "{‹totl: out.h5}", "no step or dataset 'totl'; did you mean 'total'?"),
    Kind("parts of a .npy", "{total: out.h5}", "{total: {file: out.npy, ‹parts: 2}}", "only an HDF5 file can refer to parts"),
    Kind("no parts", "{total: out.h5}", "{total: {file: out.h5, parts: ‹0}}", "must be a whole number from 1"),
    Kind("results outside", "{total: out.h5}", "{total: ‹../out.h5}", "may not lie above the results directory"),
    Kind("two results in one .npy", "{total: out.h5}", "{total: out.npy, own: ‹out.npy}", "is the file of 'total' too"),
    Kind("unknown parameter", "[$n], seed: 2", "[‹$m], seed: 2", "no parameter 'm'"),
    Kind("a parameter without its dollar", "sum(a + b)", "clip(a, ‹low, 1)", "the parameter is written $low"),
    Kind("--set of an unknown parameter", "params:", "‹params:", "--set m: the document has no parameter 'm'",
         arguments=("--set", "m=3")),
    Kind("--set of no value", "{n: 10,", "{‹n: 10,", "--set n=: a value is missing", arguments=("--set", "n=")),
    Kind("--set of a wrong type", "{shape: [$n], seed: 1}, blocks: 2}\n  b: {normal: {shape: [$n]",
         "{shape: [10], seed: 1}, blocks: 2}\n  b: {normal: {shape: [‹$n]", "element 1 of 'shape' must be a whole number",
         arguments=("--set", "n=ten")),

    # Expressions
    total("bad expression", "sum‹(a + b", "not an expression: '(' was never closed"),
    total("an expression that ends too early", "sum(a) +‹", "not an expression: it ends too early"),
    total("unsupported syntax", "sum(‹a[0])", "'a[0]' is not possible here"),
    total("a Python operator", "sum(‹a and b)", "write logical_and(a, b)"),
    own("a comma in a flow mapping", "{run: shift‹(a, by=2)}", "inside { } an expression with a comma needs quotes"),
    total("a constant step", "‹3.5", "'total' must be text or a mapping, not 3.5"),
    total("argument twice", "sum(a, axis=0, ‹axis=0)", "argument 'axis' is given twice"),
    own("argument under in and with", "{run: shift, in: {x: a, by: b}, with: {‹by: 2}}",
        "argument 'by' stands under 'in' as well"),
    own("in without an operation", "{run: a + b, ‹in: {x: a}}", "'in' needs the name of an operation under 'run'"),

    # Loops, and workflows in workflows
    own("a zip of different lengths", "{zip: {i: [1, 2], j: ‹[1, 2, 3]}, run: shift, in: {x: a}, with: {by: $i}}",
        "'j' has 3 values, 'i' has 2"),
    own("a filter that leaves nothing", "{for: {i: [1, 2]}, where: ‹$i > 2, run: shift, in: {x: a}, with: {by: $i}}",
        "'where' leaves none of 2 instances"),
    own("a list that is not there", "{for: {i: {file: ‹no.txt}}, run: shift, in: {x: a}, with: {by: $i}}", "cannot read no.txt"),
    own("a pattern that nobody matches", "{for: {i: {files: ‹no-*}}, run: shift, in: {x: a}, with: {by: $i}}",
        "no rank sees a file that matches 'no-*'"),
    total("instances of a dataset", "sum(‹a.*)", "'a' has no instances: it is no step with 'for'"),
    own("no inner workflow", "{workflow: ‹inner.yaml, in: {x: a}}", "cannot read inner.yaml: No such file or directory"),
    own("a workflow in itself", "{workflow: ‹workflow.yaml}", "a workflow cannot be a step of itself"),
    own("an unknown input of an inner workflow", "{workflow: in.yaml, in: {‹y: a}}", "in.yaml has no input 'y'; it has x",
        files={"in.yaml": INNER}),
    own("an unknown result of an inner workflow", "{workflow: in.yaml, in: {x: a}}\n  more: sum(‹own.totl)",
        "in.yaml has no result 'totl'; did you mean 'total'?", files={"in.yaml": INNER}),

    # Operations
    total("unknown operation", "‹summ(a + b)", "no operation 'summ'; did you mean 'sum'?"),
    total("unknown operation inside", "sum(a + ‹shitf(b, by=1))", "no operation 'shitf'; did you mean 'shift'?"),
    own("unknown operation by name", "{run: ‹shfit, in: {x: a}, with: {by: 2}}", "no operation 'shfit'; did you mean 'shift'?"),
    own("unknown operation under in", "{run: shift, in: {x: ‹sqr(a)}, with: {by: 2}}",
        "no operation 'sqr'; did you mean 'sqrt'?"),
    total("unknown argument", "sum(a + b, ‹axs=0)", "sum has no argument 'axs'; did you mean 'axis'?"),
    own("unknown argument under with", "{run: shift, in: {x: a}, with: {‹bye: 2, by: 2}}",
        "shift has no argument 'bye'; did you mean 'by'?"),
    own("unknown argument under in", "{run: shift, in: {x: a, ‹y: a}, with: {by: 2}}", "shift has no argument 'y'"),
    total("missing argument", "‹clip(a, 0)", "clip: argument 'high' is missing"),
    own("missing argument by name", "{run: ‹shift, in: {x: a}}", "shift: argument 'by' is missing"),
    total("too many arguments", "‹sqrt(a, b)", "sqrt takes 1 argument (x), not 2"),
    total("argument by place and by name", "‹sum(a, x=b)", "sum: argument 'x' is given twice"),
    total("a constant where a dataset is needed", "sum(‹3)", "sum needs a dataset here, not 3"),
    total("a constant in a sum that is split", "sum(a + b + ‹3)", "but 3 is no dataset"),
    own("a constant under with where a dataset is needed", "{run: sum, with: {‹x: a}}", "sum needs a dataset here, not 'a'"),

    # Programs, and what becomes of failures
    own("a program that is nowhere", "{run: [‹no-such-program], out: {y: text}}", "no program 'no-such-program' along PATH"),
    own("a program that is no file", "{run: [‹./p.exe], out: {y: text}}", "/p.exe"),
    own("a program that may not be run", "{run: [‹./ops.py], out: {y: text}}", "ops.py may not be run; chmod +x"),
    own("a program without its name", "{run: ‹[], out: {y: text}}", "'run' must be text or a list of length 1 or more, not []"),
    own("a program that is an input", "{run: [‹'{in.x}'], in: {x: a}, out: {y: text}}", "must name a program; for a script"),
    own("a program that depends on the loop", "{for: {i: [1, 2]}, run: [‹cat$i], out: {y: text}}", "cannot depend on the loop"),
    own("a place without quotes", "{run: [cat, ‹{in.x}], in: {x: a}, out: {y: text}}",
        'not {\'in.x\': None}; quote it: "{in.x}"'),
    own("a place of no input", "{run: [cat, ‹'{in.xx}'], in: {x: a}, out: {y: text}}",
        "'xx' is not under 'in'; did you mean 'x'?"),
    own("a place of no output", "{run: [cat, ‹'{out.z}'], in: {x: a}, out: {y: text}}", "no {out.z}: 'z' is not under 'out'"),
    Kind("a program that makes nothing", "own: {run: shift, in: {x: a}, with: {by: 2}}", "‹own: {run: [cat]}",
         "a program needs 'out', the files that it makes"),
    own("a program with arguments of an operation", "{run: [cat], out: {y: text}, ‹with: {by: 2}}",
        "'with' belongs to an operation"),
    own("an operation with files", "{run: shift, in: {x: a}, with: {by: 2}, ‹out: {y: text}}", "'out' belongs to a program"),
    own("an operation with an input as a file", "{run: shift, in: {x: ‹{data: a}}, with: {by: 2}}",
        "describes a file for a program"),
    own("an input that is no dataset", "{run: [cat], in: {x: ‹3}, out: {y: text}}", "3 is no dataset"),
    own("an input outside", "{run: [cat], in: {x: {data: a, file: ‹../x}}, out: {y: text}}", "'../x' must be a path inside"),
    own("an output outside", "{run: [cat], out: {y: {file: ‹/tmp/x}}}", "'/tmp/x' must be a path inside"),
    own("two files of one name", "{run: [cat], in: {x: {data: a, file: f}, y: {data: b, file: ‹f}}, out: {z: text}}",
        "'f' is the file of 'x' already"),
    own("an output over an input", "{run: [cat], in: {x: {data: a, file: f}}, out: {z: {file: ‹f}}}",
        "'f' is the file of 'x' already"),
    own("standard output over an input", "{run: [cat], in: {x: {data: a, file: f}}, out: {z: text}, stdout: ‹f}",
        "'f' is the file of 'x' already"),
    own("an unknown format", "{run: [cat], out: {y: {file: f, format: ‹tekst}}}", "did you mean 'text'?"),
    own("an unknown key of an output", "{run: [cat], out: {y: {file: f, ‹fromat: text}}}", "did you mean 'format'?"),
    own("a file kept by all of a loop", "{for: {i: [1, 2]}, run: [cat, $i], ‹out: {y: {file: f, keep: f}}}",
        "'f' is the file of another task already"),
    own("a file kept over a result", "{run: [cat], ‹out: {y: {file: f, keep: out.h5}}}",
        "is the file of the result 'total' already"),
    own("no time", "{run: 'sum(a)', timeout: ‹soon}", "'timeout' must be a time above 0, such as 30, 90s, 10m or 2h, not 'soon'"),
    own("too few retries", "{run: 'sum(a)', retries: ‹-1}", "'retries' must be a whole number from 0 to 1000, not -1"),
    own("an unknown end", "{run: 'sum(a)', on-error: ‹contine}", "must be one of stop, skip, continue, not 'contine'; did"),
    Kind("bytes of a generator", "seed: 2}}", "seed: 2}, ‹as: bytes}", "'as' belongs to 'file', not to 'normal'"),
    Kind("rows of bytes", "rows: [0, 3]", "as: bytes, ‹rows: [0, 3]", "'rows' does not go with 'as: bytes'"),

    # Modules
    Kind("no module", "[ops.py]", "[‹opps.py]", "opps.py: No such file or directory"),
    Kind("a module that raises", "[ops.py]", "[ops.py, ‹bad.py]", "ZeroDivisionError: division by zero (line 2)",
         files={"bad.py": b"import math\nx = 1 / 0\n"}),
    Kind("a module with a syntax error", "[ops.py]", "[ops.py, ‹bad.py]", "SyntaxError: ", files={"bad.py": b"x = 1\ndef f(:\n"}),
    Kind("a module without operations", "[ops.py]", "[ops.py, ‹bad.py]", "bad.py has no @operation function",
         files={"bad.py": b"x = 1\n"}),
    Kind("a module that lacks a library", "[ops.py]", "[ops.py, ‹bad.py]", "ModuleNotFoundError: No module named 'no_such'",
         files={"bad.py": b"import no_such\n"}),
    Kind("a module with a bad declaration", "[ops.py]", "[ops.py, ‹bad.py]", "combine 'ad' is none of",
         files={"bad.py": b"from mpiflow import operation\n@operation(linear=True, combine='ad')\ndef f(x):\n    return x\n"}),
    Kind("a module that calls exit", "[ops.py]", "[ops.py, ‹bad.py]", "SystemExit: 0",
         files={"bad.py": b"import sys\nsys.exit(0)\n"}),
    Kind("an operation of two modules", "[ops.py]", "[ops.py, ‹bad.py]", "operation 'shift' is defined by another module already",
         files={"bad.py": OPS.encode() + b"\n"}),

    # Files
    Kind("no file", "file: p.npy", "file: ‹q.npy", "no rank sees the file 'q.npy'"),
    Kind("no file of a glob", "file: p.npy", "file: ‹q-*.npy", "no rank sees a file that matches 'q-*.npy'"),
    Kind("no HDF5 path", "{file: h.h5, path: /x}", "{file: ‹h.h5}", "an HDF5 file needs 'path'"),
    Kind("wrong HDF5 path", "path: /x", "path: ‹/y", "no array '/y' in "),
    Kind("an HDF5 group", "path: /x", "path: ‹/group", "no array '/group' in "),
    Kind("a path of a .npy file", "file: p.npy", "file: p.npy, ‹path: /x", "'path' belongs to an HDF5 file"),
    Kind("a damaged HDF5 file", "file: h.h5", "file: ‹bad.h5", "bad.h5", files={"bad.h5": b"\x89HDF\r\n\x1a\nand no more"}),
    Kind("a text file with an HDF5 name", "file: h.h5", "file: ‹bad.h5", "bad.h5", files={"bad.h5": b"1 2 3\n"}),
    Kind("an empty .npy file", "file: p.npy", "file: ‹bad.npy", "bad.npy", files={"bad.npy": b""}),
    Kind("a .npy file of Python objects", "file: p.npy", "file: ‹objects.npy", "objects.npy"),
    Kind("a file that is a directory", "file: p.npy", "file: ‹dir.npy", "dir.npy: Is a directory", files={"dir.npy": None}),
    Kind("wrong suffix", "file: p.npy", "file: ‹p.csv", "file type '.csv' is not known"),
    Kind("rows out of range", "rows: [0, 3]", "rows: ‹[0, 30]", "goes beyond the 4 rows"),
    Kind("rows upside down", "rows: [0, 3]", "rows: ‹[3, 0]", "'rows' must be [start, stop] with start < stop"),
    Kind("rows of a generator", "seed: 2}}", "seed: 2}, ‹rows: [0, 3]}", "'rows' belongs to 'file', not to 'normal'"),
    Kind("another unit than the file's", "path: /x", "path: /x, unit: ‹angstrom", "the document says angstrom, "),
    Kind("files that cannot be joined", "file: p.npy, rows: [0, 3]", "file: ‹'part?.npy'", "files cannot be joined"),
]
NAMES = [kind.name for kind in KINDS]


def prepare(folder, kind):
    """Write the document and everything that it names."""
    folder.mkdir()
    (folder / "workflow.yaml").write_text(kind.marked.replace(HERE, ""), encoding="utf-8")
    (folder / "ops.py").write_text(OPS)
    with h5py.File(folder / "h.h5", "w") as opened:
        opened["x"] = np.arange(10.0)
        opened["x"].attrs["unit"] = "nm"
        opened.create_group("group")
    np.save(folder / "p.npy", np.arange(4.0))
    np.save(folder / "part1.npy", np.zeros((2, 3)))
    np.save(folder / "part2.npy", np.zeros((2, 4)))
    np.save(folder / "objects.npy", np.array([{}, None]), allow_pickle=True)
    for name, content in kind.files.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A folder for each kind, by its name."""
    root = tmp_path_factory.mktemp("broken")
    for number, kind in enumerate(KINDS):
        prepare(root / str(number), kind)
    return {kind.name: root / str(number) for number, kind in enumerate(KINDS)}


# Starting one process, or eight, for each kind would take minutes. These run the command line for one kind after the other.
DRIVER = """
import json, os, sys, tempfile
from mpiflow.cli.main import main
from mpiflow.peer.launch import launched_rank

ended = []
kinds, where, verb = json.load(open("kinds.json")), os.getcwd(), sys.argv[1:]
for folder, arguments in kinds:
    os.chdir(folder)
    with tempfile.TemporaryFile("w+") as caught:
        before = [os.dup(1), os.dup(2)]
        os.dup2(caught.fileno(), 1)
        os.dup2(caught.fileno(), 2)
        try:
            status = main([*verb, "workflow.yaml", *arguments])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, saved in enumerate(before, 1):
                os.dup2(saved, number)
                os.close(saved)
        caught.seek(0)
        ended.append((status, caught.read()))
with open(os.path.join(where, f"ended-{launched_rank(os.environ)}.json"), "w") as file:
    json.dump(ended, file)
"""


@pytest.fixture(scope="session")
def drive(folders, tmp_path_factory):
    """Run the command line for every kind, on so many ranks: status and output of each rank, by the kind's name."""
    def run(num_ranks, *verb):
        root = tmp_path_factory.mktemp("driver")
        (root / "driver.py").write_text(DRIVER)
        (root / "kinds.json").write_text(json.dumps([(str(folders[kind.name]), kind.arguments) for kind in KINDS]))
        prefix = ["mpirun", "-n", str(num_ranks)] if num_ranks else []
        ended = launch([*prefix, sys.executable, "driver.py", *verb], cwd=root, timeout=240)
        assert (ended.status, ended.out, ended.err) == (0, "", "")
        files = [root / f"ended-{rank}.json" for rank in range(num_ranks or 1)]
        return [dict(zip(NAMES, json.loads(file.read_text()), strict=True)) for file in files]

    return run


@pytest.fixture(scope="session")
def checked(drive):
    """How ``mpiflow check workflow.yaml`` ended, for each kind."""
    return drive(None, "check")[0]


@pytest.fixture(scope="session")
def ran(drive):
    """How ``mpiflow workflow.yaml`` ended on 1 and on 8 ranks, for each kind."""
    return {num_ranks: drive(num_ranks) for num_ranks in (1, 8)}


def test_there_are_more_than_25_kinds():
    assert len(set(NAMES)) == len(NAMES) > 25


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_check_gives_one_message_at_the_place_and_status_2(kind, checked):
    status, output = checked[kind.name]
    (line,) = output.splitlines()
    assert line.startswith(f"mpiflow: error: {kind.place}: "), line
    assert kind.message in line
    assert status == 2


@pytest.mark.parametrize("num_ranks", [1, 8])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_says_the_same_once_and_every_rank_ends_with_status_2(name, num_ranks, checked, ran):
    ends = [rank[name] for rank in ran[num_ranks]]
    assert [status for status, _ in ends] == [2] * num_ranks
    assert [output for _, output in ends] == [checked[name][1]] + [""] * (num_ranks - 1)


# A few as a user types it: what one rank finds in the text, in a module, in a file, and what only all together know.
@pytest.mark.parametrize("num_ranks", [None, 1, 8])
@pytest.mark.parametrize("name", ["unknown argument", "a module that raises", "a damaged HDF5 file", "no file"])
def test_a_process_of_its_own_says_the_same(name, num_ranks, folders, checked):
    ended = mpiflow(num_ranks, "run", "workflow.yaml", cwd=folders[name])
    assert [ended.status, ended.err] == checked[name]
    assert ended.out == ""


# What has no line

@pytest.mark.parametrize("num_ranks", [None, 1, 8])
@pytest.mark.parametrize(("file", "message"), [
    ("nowhere.yaml", "nowhere.yaml: cannot read the workflow: No such file or directory"),
    ("folder.yaml", "folder.yaml: cannot read the workflow: Is a directory"),
])
def test_a_workflow_that_cannot_be_read_is_one_message(tmp_path, num_ranks, file, message):
    (tmp_path / "folder.yaml").mkdir()
    ended = mpiflow(num_ranks, "run", file, cwd=tmp_path)
    assert (ended.status, ended.out, ended.err) == (2, "", f"mpiflow: error: {message}\n")


@pytest.mark.parametrize("num_ranks", [None, 8])
def test_a_workflow_that_is_not_utf8_is_one_message_at_the_first_wrong_byte(tmp_path, num_ranks):
    (tmp_path / "w.yaml").write_bytes(BASE.encode().replace(b"name: broken", b"name: br\xf6ken"))
    ended = mpiflow(num_ranks, "w.yaml", cwd=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "mpiflow: error: w.yaml:2:9: not UTF-8 text: invalid start byte 0xf6\n"


def test_the_base_is_right(tmp_path):
    prepare(tmp_path / "right", Kind("", "mpiflow", "mpiflow", ""))
    ended = mpiflow(None, "check", "workflow.yaml", cwd=tmp_path / "right")
    assert (ended.status, ended.err) == (0, "")


def test_an_operation_that_a_broken_module_may_hold_is_not_reported(tmp_path):
    kind = Kind("", "[ops.py]", "[‹opps.py]", "")
    prepare(tmp_path / "w", kind)
    ended = mpiflow(None, "check", "workflow.yaml", cwd=tmp_path / "w")
    (line,) = ended.err.splitlines()
    assert line.startswith(f"mpiflow: error: {kind.place}: ")


def test_everything_wrong_is_reported_in_one_go(tmp_path):
    changes = {
        "seed: 1}": "‹sede: 1}", "{normal: {shape: [$n]": "{normal: {shape: [‹$m]", "path: /x": "path: ‹/y",
        "file: p.npy": "file: ‹q.npy", "sum(a + b)": "sum(a + ‹c) + ‹sqrt(a, b)", "{by: 2}": "{by: 2, ‹bye: 3}",
        "{total:": "{‹totl:", "[ops.py]": "[ops.py, ‹bad.py]",
    }
    marked = BASE
    for old, new in changes.items():
        marked = marked.replace(old, new)
    prepare(tmp_path / "w", Kind("", "", "", "", text=marked))
    expected, text = [], ""
    for part in marked.split(HERE)[:-1]:
        text += part
        expected.append(f"workflow.yaml:{text.count(chr(10)) + 1}:{len(text) - text.rfind(chr(10))}:")
    for num_ranks in (None, 3):
        ended = mpiflow(num_ranks, "run", "workflow.yaml", cwd=tmp_path / "w")
        assert ended.status == 2
        lines = ended.err.removeprefix("mpiflow: error: ").splitlines()
        assert [line.split(" ")[0] for line in lines] == expected


