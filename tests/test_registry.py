"""Modules of operations: how they are loaded, what is refused, and what their hash covers."""

import re
import sys

import pytest

from mpiflow.operations.registry import BUILTIN, RESERVED, ModuleError, builtin_operations, load_module, unknown_operation

HEAD = "from mpiflow import operation\n"
ONE = HEAD + "@operation\ndef one(x):\n    return x\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a module; the search path and the loaded modules are restored afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(text, name="ops.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(path, registry=None):
    with pytest.raises(ModuleError) as error:
        load_module(path, {} if registry is None else registry)
    return str(error.value)


def test_built_in_operations_are_there_under_the_names_that_documents_use():
    names = {"sum", "mean", "min", "max", "count", "histogram", "moments", "add", "concatenate", "normalise", "compare"}
    assert names <= set(builtin_operations())


def test_every_sign_of_expressions_stands_for_a_built_in_operation():
    assert RESERVED.issubset(builtin_operations())


def test_built_in_operations_share_one_code():
    assert {item.code for item in builtin_operations().values()} == {BUILTIN}


def test_a_module_adds_its_operations(write):
    registry = builtin_operations()
    code = load_module(write(ONE), registry)
    assert registry["one"].code == code and registry["one"](5) == 5


def test_a_module_hides_a_built_in_operation(write):
    registry = builtin_operations()
    load_module(write(HEAD + "@operation\ndef median(x):\n    return 42\n"), registry)
    assert registry["median"](0) == 42


@pytest.mark.parametrize("name", ["add", "subtract", "column", "negative", "less"])
def test_a_module_cannot_hide_what_a_sign_stands_for(write, name):
    assert "choose another name" in refused(write(HEAD + f"@operation(name={name!r})\ndef mine(x, y=0):\n    return x\n"))


def test_importing_a_built_in_operation_does_not_make_it_the_modules_own(write):
    registry = builtin_operations()
    load_module(write("from mpiflow.operations.reductions import mean\n" + ONE), registry)
    assert registry["mean"].code == BUILTIN


def test_the_same_text_gives_the_same_code_and_another_text_another(write):
    first = load_module(write(ONE), {})
    assert load_module(write(ONE, "copy.py"), {}) == first != load_module(write(ONE + "# changed\n"), {})


def test_the_code_covers_neighbours_that_are_imported_directly_or_not(write):
    write("import deep_part\n", "near_part.py")
    write("VALUE = 1\n", "deep_part.py")
    module = write(ONE + "def later():\n    from near_part import x\n")
    first = load_module(module, {})
    write("VALUE = 2\n", "deep_part.py")
    assert load_module(module, {}) != first


def test_the_code_does_not_cover_neighbours_that_are_not_imported(write):
    first = load_module(write(ONE), {})
    write("VALUE = 2\n", "other_part.py")
    assert load_module(write(ONE), {}) == first


def test_neighbours_that_import_each_other_end(write):
    write("import loop_two\n", "loop_one.py")
    write("import loop_one\n", "loop_two.py")
    load_module(write("import loop_one\n" + ONE), {})


def test_a_module_can_import_its_neighbours(write):
    write("VALUE = 7\n", "neighbour_part.py")
    registry = {}
    load_module(write("from neighbour_part import VALUE\n" + HEAD + "@operation\ndef seven():\n    return VALUE\n"), registry)
    assert registry["seven"]() == 7


def test_a_neighbour_that_is_imported_late_is_the_one_that_the_code_covers(write):
    write("VALUE = 7\n", "late_part.py")
    registry = {}
    load_module(write(HEAD + "@operation\ndef seven():\n    import late_part\n    return late_part.VALUE\n"), registry)
    write("VALUE = 8\n", "late_part.py")
    assert registry["seven"]() == 7


def test_the_standard_library_comes_before_neighbours(write):
    write("raise RuntimeError\n", "colorsys.py")
    load_module(write("import colorsys\n" + ONE), {})


def test_operations_that_a_module_imports_are_its_own(write):
    write(ONE, "shared_part.py")
    registry = {}
    load_module(write("from shared_part import one\n"), registry)
    assert "one" in registry


def test_loading_writes_no_bytecode(write, tmp_path):
    load_module(write(ONE), {})
    assert [path.name for path in tmp_path.iterdir()] == ["ops.py"]


def test_loading_a_module_twice_changes_nothing(write):
    registry = {}
    path = write(ONE)
    assert load_module(path, registry) == load_module(path, registry)


def test_two_modules_with_the_same_operation_are_refused(write):
    registry = {}
    load_module(write(ONE), registry)
    assert "'one' is defined by another module already" in refused(write(ONE + "# other\n", "b.py"), registry)


def test_a_module_that_names_two_operations_alike_is_refused(write):
    assert "'one' is defined twice" in refused(write(ONE + "@operation(name='one')\ndef two(x):\n    return x\n"))


def test_a_second_name_for_an_operation_is_no_second_operation(write):
    registry = {}
    load_module(write(ONE + "alias = one\n"), registry)
    assert set(registry) == {"one"}


def test_a_missing_module_is_reported_with_its_path(tmp_path):
    assert refused(tmp_path / "none.py") == f"cannot read {tmp_path / 'none.py'}: No such file or directory"


def test_a_folder_is_no_module(tmp_path):
    assert "Is a directory" in refused(tmp_path)


def test_a_module_without_operations_is_refused(write):
    assert refused(write("x = 1\n")).endswith("has no @operation function")


@pytest.mark.parametrize(("text", "message"), [
    ("x = 1\ny = 1 / 0\n", r"ZeroDivisionError: division by zero \(line 2\)$"),
    ("x = (\n", r"SyntaxError: .* \(line 1\)$"),
    ("import sys\nsys.exit(3)\n", r"SystemExit: 3 \(line 2\)$"),
    ("import mpiflow_has_no_such_module\n", r"ModuleNotFoundError: .* \(line 1\)$"),
    (HEAD + "@operation(linear=True, combine='xor')\ndef f(x):\n    return x\n", r"operation 'f': combine 'xor'.* \(line 2\)$"),
    ("raise BaseExceptionGroup('x', [ValueError()])\n", "ExceptionGroup"),
    ("\0", "cannot be imported"),
    ("def f():\n    return f()\nf()\n", "RecursionError"),
])
def test_a_module_that_cannot_be_run_is_refused_with_the_reason_and_the_line(write, text, message):
    assert re.search(message, refused(write(text)))


def test_an_error_in_a_neighbour_names_the_line_that_imports_it(write):
    write("\n\n\nx = (\n", "broken_part.py")
    assert refused(write("\nimport broken_part\n")).endswith("(line 2)")


def test_a_nearly_right_name_gets_a_suggestion():
    assert unknown_operation("meen", builtin_operations()) == "no operation 'meen'; did you mean 'mean'?"


def test_a_name_near_nothing_is_told_where_to_look():
    assert unknown_operation("xyzzy", builtin_operations()).endswith("docs/workflow.md")
