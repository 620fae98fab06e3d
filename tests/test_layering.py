"""What the design forbids, read from the source: upward imports, masters, pickles, blocking calls, chance orders.

Imports inside functions and under ``if TYPE_CHECKING`` count like any other: what a module names, it depends on.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("errors", "workflow", "operations", "catalog", "planning", "storage", "peer", "report", "api", "cli")
EXEMPT = ("mpiflow/__init__.py", "mpiflow/__main__.py")
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_bytes()) for path in sorted((ROOT / "mpiflow").rglob("*.py"))}
LAYERED = sorted(set(TREES) - set(EXEMPT))
PEER = sorted(file for file in TREES if file.startswith("mpiflow/peer/"))


def layer(file: str) -> str:
    """Name the row of the design's table that a file belongs to."""
    return Path(file).relative_to("mpiflow").with_suffix("").parts[0]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, item.name) for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{item.name}") for item in node.names)


def calls(tree: ast.AST) -> Iterator[tuple[int, str, str, ast.Call]]:
    """Yield line, receiver (empty for a plain function) and name of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.lineno, ast.unparse(node.func.value), node.func.attr, node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.lineno, "", node.func.id, node


def test_every_file_belongs_to_a_layer():
    assert {layer(file) for file in LAYERED} == set(LAYERS)


@pytest.mark.parametrize("file", LAYERED)
def test_a_module_imports_only_from_its_own_package_and_the_layers_above(file):
    allowed = {layer(file), *LAYERS[:LAYERS.index(layer(file))]}
    wrong = []
    for line, name in imports(TREES[file]):
        parts = name.split(".")
        if parts[0] == "mpiflow":
            # The package itself offers what is in operations; from there on down it may be imported.
            target = parts[1] if len(parts) > 1 and parts[1] in LAYERS else "operations"
            if target not in allowed or (len(parts) < 3 and layer(file) == "operations"):
                wrong.append(f"{file}:{line} imports {name}")
    assert not wrong


@pytest.mark.parametrize("file", LAYERED)
def test_imports_are_absolute(file):
    assert not [node.lineno for node in ast.walk(TREES[file]) if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize(("module", "home"), [("mpi4py", "peer"), ("h5py", "storage")])
def test_a_library_is_imported_in_one_package_only(module, home):
    homes = {layer(file) for file in LAYERED for _, name in imports(TREES[file]) if name.split(".")[0] == module}
    assert homes == {home}


def imported(program: str) -> set[str]:
    """Run ``program`` in a fresh interpreter and give the top-level modules that it has loaded."""
    code = f"{program}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_importing_mpiflow_loads_neither_mpi_nor_hdf5():
    assert not imported("import mpiflow") & {"mpi4py", "h5py", "yaml", "networkx"}


def test_the_command_line_loads_no_mpi():
    assert "mpi4py" not in imported("import mpiflow.cli.main")


@pytest.mark.parametrize("arguments", [["schema"], ["check", "examples/scenarios/7-mixed.yaml"], ["--version"], ["--help"],
], ids=str)
def test_every_verb_but_run_works_where_no_mpi_is_installed(arguments):
    program = f"import sys; sys.modules['mpi4py'] = None; from mpiflow.cli.main import main; sys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# Messages

PICKLED = re.compile(
    "i?[bs]?send|i?m?recv|sendrecv|i?m?probe|i?(bcast|gather|scatter|allgather|alltoall|reduce|allreduce|reduce_scatter|scan|exscan)")
BLOCKING = re.compile(
    "Send|[BSR]send|M?[Rr]ecv|Sendrecv(_replace)?|M?[Pp]robe|Barrier|Bcast|(Neighbor_)?[Aa]ll(gatherv?|toall[vw]?|reduce)|"
    "Gatherv?|Scatterv?|Reduce(_scatter(_block)?)?|Scan|Exscan|Wait|[Ww]ait(all|any|some)")
COMM = re.compile(r"(?i)comm|world|request|window|file")


@pytest.mark.parametrize("name", ["send", "recv", "isend", "irecv", "bcast", "allgather", "iallgather", "reduce", "probe"])
def test_a_call_that_pickles_is_noticed(name):
    assert PICKLED.fullmatch(name)


@pytest.mark.parametrize("name", [
    "Send", "Ssend", "Recv", "Sendrecv", "Probe", "Barrier", "Bcast", "Allgatherv", "Allreduce", "Wait", "Waitall", "Alltoallw"])
def test_a_call_that_blocks_is_noticed(name):
    assert BLOCKING.fullmatch(name)


@pytest.mark.parametrize("name", ["Isend", "Irecv", "Iallgatherv", "Ibarrier", "Test", "Cancel", "Abort", "wait"])
def test_a_call_that_does_neither_is_free(name):
    assert not PICKLED.fullmatch(name) and not BLOCKING.fullmatch(name)


def test_nothing_is_sent_or_received_as_a_pickle():
    assert not [f"{file}:{line} {receiver}.{name}" for file, tree in TREES.items() for line, receiver, name, _ in calls(tree)
                if PICKLED.fullmatch(name) and COMM.search(receiver)]


def test_what_is_called_like_a_pickling_method_is_known():
    receivers = {receiver for file in PEER for _, receiver, name, _ in calls(TREES[file]) if PICKLED.fullmatch(name)}
    assert receivers <= {"self._transfers", "self._shell"}


def test_nothing_blocks_but_the_end_of_receives_that_were_withdrawn():
    found = [(file, receiver, name) for file in PEER for _, receiver, name, _ in calls(TREES[file])
             if BLOCKING.fullmatch(name) and receiver]
    assert found == [("mpiflow/peer/transfers.py", "request", "Wait")]
    withdraw = next(node for node in ast.walk(TREES["mpiflow/peer/transfers.py"])
                    if isinstance(node, ast.FunctionDef) and node.name == "_withdraw")
    assert re.search(r"request\.Cancel\(\)\n\s*request\.Wait\(\)", ast.unparse(withdraw))


def test_communicators_are_made_in_one_place_only():
    makers = ("Dup", "Idup", "Split", "Split_type", "Create", "Create_group", "Clone")
    found = {file for file, tree in TREES.items() for _, receiver, name, _ in calls(tree)
             if name in makers and COMM.search(receiver)}
    assert found == {"mpiflow/peer/survive.py"}


# No master

def is_rank(node: ast.AST) -> bool:
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)) == "rank"


def singles_out_a_rank(node: ast.AST) -> bool:
    """Whether ``node`` asks if this is rank 0, or some other rank by number; ``rank >= 0`` asks whether there is one."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        numbers = any(isinstance(side, ast.Constant) and isinstance(side.value, int) for side in sides)
        return numbers and any(map(is_rank, sides)) and not isinstance(node.ops[0], (ast.GtE, ast.Lt))
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        return is_rank(node.test)
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and is_rank(node.operand)


def test_no_rank_is_singled_out_but_by_the_module_that_prints():
    assert {file for file, tree in TREES.items() if any(map(singles_out_a_rank, ast.walk(tree)))} == {"mpiflow/report/console.py"}


@pytest.mark.parametrize("line", ["rank == 0", "self.rank != 0", "0 == comm.rank", "not rank", "1 if rank else 2", "rank > 0"])
def test_singling_out_a_rank_is_noticed(line):
    assert any(map(singles_out_a_rank, ast.walk(ast.parse(line))))


# Nothing that was sent or read is run

@pytest.mark.parametrize("file", sorted(TREES))
def test_nothing_is_pickled(file):
    picklers = {"pickle", "dill", "cloudpickle", "marshal", "shelve"}
    assert not [name for _, name in imports(TREES[file]) if name.split(".")[0] in picklers]


@pytest.mark.parametrize("file", sorted(TREES))
def test_numpy_loads_no_pickles(file):
    for line, receiver, name, call in calls(TREES[file]):
        if (receiver, name) in {("np", "load"), ("np", "save")}:
            assert "allow_pickle=False" in ast.unparse(call), f"{file}:{line}"


def test_code_is_run_from_the_modules_that_the_user_names_only():
    found = {(file, name) for file, tree in TREES.items() for _, receiver, name, _ in calls(tree)
             if name in {"eval", "exec", "__import__"} and not receiver}
    assert found == {("mpiflow/operations/registry.py", "exec")}


@pytest.mark.parametrize("file", sorted(TREES))
def test_no_shell_is_started(file):
    for line, receiver, name, call in calls(TREES[file]):
        assert not (receiver == "os" and name in {"system", "popen"}), f"{file}:{line}"
        assert not [item for item in call.keywords if item.arg == "shell"], f"{file}:{line}"


def test_yaml_is_read_by_the_safe_loader():
    assert not [file for file, tree in TREES.items() for _, receiver, name, _ in calls(tree)
                if receiver == "yaml" and name in {"load", "load_all", "unsafe_load", "full_load"}]


# Nothing depends on an order that is chance

@pytest.mark.parametrize("file", sorted(TREES))
def test_hash_is_not_called_because_it_differs_between_processes(file):
    assert not [line for line, receiver, name, _ in calls(TREES[file]) if name == "hash" and not receiver]


@pytest.mark.parametrize("file", sorted(TREES))
def test_directory_listings_are_sorted_at_once(file):
    listing = {"listdir", "scandir", "iterdir", "glob", "rglob", "iglob"}
    ordered = {id(call.args[0]) for _, receiver, name, call in calls(TREES[file]) if name == "sorted" and call.args}
    assert not [line for line, _, name, call in calls(TREES[file]) if name in listing and id(call) not in ordered]


def is_set(node: ast.AST) -> bool:
    made = isinstance(node, ast.Call) and ast.unparse(node.func) in {"set", "frozenset"}
    return made or isinstance(node, (ast.Set, ast.SetComp))


@pytest.mark.parametrize("file", sorted(TREES))
def test_loops_do_not_go_through_sets(file):
    loops = [node for node in ast.walk(TREES[file]) if isinstance(node, (ast.For, ast.comprehension)) and is_set(node.iter)]
    # A set made from a set has no order either.
    fine = {id(part) for node in ast.walk(TREES[file]) if isinstance(node, ast.SetComp) for part in node.generators}
    assert not [ast.unparse(node.iter) for node in loops if id(node) not in fine]
