"""YAML text to values that remember where they stand."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.errors import DocumentError
from mpiflow.workflow import text as text_module
from mpiflow.workflow.parameters import locate
from mpiflow.workflow.text import decode

law = settings(derandomize=True, deadline=None, max_examples=200)


def value(text, **overrides):
    """Give the plain value of ``text``, in which nothing is wrong."""
    document = locate(text, "w.yaml", overrides)
    assert document.problems == []
    return document.value


def problems(text, **overrides):
    """Give (line, column, message) of what is wrong with ``text``."""
    try:
        document = locate(text, "w.yaml", overrides)
    except DocumentError as error:
        return [(p.line, p.column, p.message) for p in error.problems]
    return [(p.line, p.column, p.message) for p in document.problems]


def only_problem(text, **overrides):
    (problem,) = problems(text, **overrides)
    return problem


# Values

@pytest.mark.parametrize(("written", "meant"), [
    ("1", 1), ("-7", -7), ("1_000_000", 1_000_000), ("0x1F", 31), ("0b101", 5), ("0", 0),
    ("1.5", 1.5), ("1e-5", 1e-5), ("1E6", 1e6), ("1.e3", 1e3), (".5", 0.5), ("-1_0.5", -10.5), ("+2.0e+3", 2e3),
    ("true", True), ("False", False), ("no", False), ("null", None), ("~", None),
    ("text", "text"), ("'1'", "1"), ('"1"', "1"), ("1.2.3", "1.2.3"), ("1e", "1e"), ("e5", "e5"), (".", "."),
    ("12:30", "12:30"), ("1:30:00.5", "1:30:00.5"), ("2026-11-01", "2026-11-01"), ("0o17", "0o17"), ("1 2", "1 2"),
])
def test_scalars_are_what_they_look_like(written, meant):
    got = value(f"x: {written}")["x"]
    assert got == meant
    assert type(got) is type(meant)


@pytest.mark.parametrize(("written", "part"), [
    ("010", "starts with 0"), ("007", "starts with 0"), ("089", "starts with 0"), ("-012", "starts with 0"),
    (".inf", "is not a finite number"), ("-.INF", "is not a finite number"), (".nan", "is not a finite number"),
    ("1e999", "is not a finite number"), ("1" * 5000, "cannot read"), ("!!python/name:os.system x", "cannot read"),
    ("!thing 3", "cannot read"), ("!!int x", "cannot read"), ("!!set {a, b}", "tag '!!set' is not possible"),
    ("!thing {a: 1}", "tag '!thing' is not possible"), ("!!omap [a: 1]", "tag '!!omap' is not possible"),
    (r'"a\0b"', "holds a character that is no text"), (r'"\ud800"', "holds a character that is no text"),
])
def test_scalars_with_two_meanings_or_none_are_refused(written, part):
    line, column, message = only_problem(f"x: {written}")
    assert (line, column) == (1, 4)
    assert part in message


def test_an_alias_stands_for_the_anchored_value():
    assert value("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}


def test_a_merge_key_gives_defaults():
    assert value("a: &x {k: 1, m: 2}\nb: {<<: *x, k: 3}")["b"] == {"k": 3, "m": 2}


def test_a_merged_mapping_may_be_used_again():
    assert value("a: &x {k: 1}\nb: &y {<<: *x, k: 3}\nc: *y\nd: {<<: *y}")["d"] == {"k": 3}


def test_a_bomb_of_aliases_is_refused(monkeypatch):
    monkeypatch.setattr(text_module, "MAX_NODES", 1000)
    bomb = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True))
    assert "more than 1,000 values" in only_problem(bomb)[2]


# What is not YAML

@pytest.mark.parametrize(("text", "line", "column", "part"), [
    ("", 1, 1, "the document is empty"),
    ("# nothing\n", 1, 1, "the document is empty"),
    ("a: 1\nb: [1, 2\nc: 3\n", 3, 2, "flow sequence from line 2 on"),
    ("a: 1\n\tb: 2\n", 2, 1, "found character '\\t'"),
    ("a: 'x\n", 2, 1, "quoted scalar"),
    ("a: 1\n  b: 2\n", 2, 4, "mapping values are not allowed here"),
    ("a: *x\n", 1, 4, "undefined alias 'x'"),
    ("a: @x\n", 1, 4, "cannot start any token"),
    ("a: 1\n---\nb: 2\n", 2, 1, "another document"),
    ("a: b\nc: d\x07e\n", 2, 5, "character U+0007"),
    ("[" * 3000, 1, 1, "nested too deeply"),
    ("a: &x [*x]\n", 1, 1, "nested too deeply"),
])
def test_what_is_not_yaml_is_reported_where_it_stands(text, line, column, part):
    got_line, got_column, message = only_problem(text)
    assert part in message
    assert (got_line, got_column) == (line, column)


def test_a_key_twice_is_reported_with_the_line_of_the_first():
    assert only_problem("a: 1\nb: 2\na: 3\n") == (3, 1, "key 'a' stands twice (first on line 1)")


def test_a_key_that_is_no_text_is_reported():
    assert only_problem("a: 1\n? [b, c]\n: 2\n") == (2, 3, "a key must be plain text")


def test_a_merge_of_no_mapping_is_reported():
    assert "'<<' needs a mapping" in only_problem("a: 1\nb: {<<: 3}\n")[2]


def test_text_that_is_not_utf8_is_reported_where_it_stands():
    with pytest.raises(DocumentError) as error:
        decode("a: ä\nname: ".encode() + b"\xe4x\n", "w.yaml")
    assert str(error.value) == "w.yaml:2:7: not UTF-8 text: invalid continuation byte 0xe4"


def test_a_byte_order_mark_is_left_out():
    assert decode(b"\xef\xbb\xbfa: 1", "w.yaml") == "a: 1"


# Places

def test_every_value_and_key_knows_its_line_and_column():
    document = locate("a: 1\nb:\n  - x\n  - {k: 'v'}\n", "w.yaml", {})
    assert document.marks["a",] == (1, 4)
    assert document.marks["b", 0] == (3, 5)
    assert document.marks["b", 1, "k"] == (4, 9)
    assert document.keys["b", 1, "k"] == (4, 6)


@pytest.mark.parametrize(("text", "line", "column"), [
    ("x: one TWO\n", 1, 8),
    ("x: 'one TWO'\n", 1, 9),
    ('x: "one TWO"\n', 1, 9),
    ("x: one\n   TWO\n", 2, 4),
    ("x: 'one\n\n    TWO'\n", 3, 5),
    ("x: |\n  one\n  TWO\n", 3, 3),
    ("x: >-  # folded\n  one\n\n    TWO\n", 4, 5),
    ("x:\n  one\n  TWO\n", 3, 3),
    ('x: "o\\u006ee TWO"\n', 1, 4),
    ("x: 'it''s TWO'\n", 1, 4),
])
def test_an_offset_into_a_text_has_a_place_however_yaml_folds_it(text, line, column):
    document = locate(text, "w.yaml", {})
    document.report(("x",), "here", offset=document.value["x"].index("TWO"))
    assert (document.problems[0].line, document.problems[0].column) == (line, column)


def test_an_offset_at_the_end_is_the_place_behind_the_text():
    document = locate("x: f(a +\ny: 1\n", "w.yaml", {})
    document.report(("x",), "here", offset=len("f(a +"))
    assert (document.problems[0].line, document.problems[0].column) == (1, 9)


def test_an_offset_into_a_text_with_a_parameter_is_the_start_of_the_text():
    document = locate("params: {n: 100000}\nx: f(a, $n) + b\n", "w.yaml", {})
    document.report(("x",), "here", offset=document.value["x"].index("b"))
    assert (document.problems[0].line, document.problems[0].column) == (2, 4)


def test_what_has_no_place_of_its_own_is_reported_at_what_holds_it():
    document = locate("params: {s: [1, x]}\nd:\n  shape: $s\n", "w.yaml", {})
    document.report(("d", "shape", 1), "here")
    assert (document.problems[0].line, document.problems[0].column) == (3, 10)


def test_what_is_wrong_at_a_place_by_hearsay_makes_its_paths_broken():
    document = locate("d:\n  x: {file: a.npy}\n", "w.yaml", {})
    document.heard(2, 13)
    assert document.broken == {("d", "x", "file")}
    assert document.problems == []


# Parameters

@pytest.mark.parametrize(("written", "meant"), [
    ("$n", 1000), ("${n}", 1000), ("'$n'", 1000), ("n=$n.", "n=1000."), ("${n}0", "10000"), ("$n$n", "10001000"),
    ("$$n", "$n"), ("$$", "$"),
    ("$t", "text"), ("$l", [1, 2]), ("f(x, $l)", "f(x, [1, 2])"), ("$m", {"k": 1}), ("$", "$"), ("5$", "5$"),
    ("$5", "$5"), ("[$n, [$t]]", [1000, ["text"]]), ("{k: $n}", {"k": 1000}), ("$none", None), ("$e", 1e-5),
    ("f($e)", "f(1e-05)"),
])
def test_a_parameter_is_put_in(written, meant):
    assert value(f"params: {{n: 1000, t: text, l: [1, 2], m: {{k: 1}}, none: null, e: 1e-5}}\nx: {written}")["x"] == meant


def test_parameters_are_not_put_into_the_name_of_the_workflow():
    assert value("params: {n: 1}\nname: run-$n")["name"] == "run-$n"


def test_an_unknown_parameter_is_reported_where_it_stands():
    assert only_problem("params: {size: 1}\nx: a/$sise/b\n") == (2, 6, "no parameter 'sise'; did you mean 'size'?")


def test_a_parameter_of_a_document_without_parameters_is_reported():
    assert only_problem("x: $n\n") == (1, 4, "no parameter 'n'")


def test_every_unknown_parameter_is_reported():
    assert [problem[:2] for problem in problems("x: $a\ny: [1, $b, c$d$e]\n")] == [(1, 4), (2, 8), (2, 13), (2, 15)]


def test_a_parameter_made_of_another_is_reported():
    assert "a parameter cannot be made of others" in only_problem("params: {a: 1, b: x$a}\nc: $b\n")[2]


def test_a_dollar_in_a_parameter_is_a_dollar():
    assert value("params: {home: $HOME/x}\nc: $home")["c"] == "$HOME/x"


def test_a_value_from_the_command_line_wins():
    assert value("params: {n: 1}\nx: $n", n="5")["x"] == 5
    assert value("params: {n: 1}\nx: $n", n="[1, 2]")["x"] == [1, 2]
    assert value("params: {n: 1}\nx: $n", n="text")["x"] == "text"
    assert value("params: {n: 1}\nx: $n", n="1e3")["x"] == 1000.0


@pytest.mark.parametrize(("given", "message"), [
    ({"m": "1"}, (2, 1, "--set m: the document has no parameter 'm'; there is n")),
    ({"nn": "1"}, (2, 1, "--set nn: the document has no parameter 'nn'; did you mean 'n'?")),
    ({"n": ""}, (3, 3, "--set n=: a value is missing")),
    ({"n": "010"}, (3, 3, "--set n=010: '010' starts with 0: write the number without it, or quote it if it is text")),
    ({"n": ".inf"}, (3, 3, "--set n=.inf: '.inf' is not a finite number")),
])
def test_a_wrong_value_from_the_command_line_is_reported_at_its_parameter(given, message):
    assert only_problem("name: x\nparams:\n  n: 1\nx: $n", **given) == message


def test_a_value_from_the_command_line_that_is_not_yaml_is_reported():
    line, column, message = only_problem("params: {n: 1}\nx: $n", n="[1")
    assert (line, column) == (1, 10)
    assert message.startswith("--set n=[1: not YAML: ")


def test_every_wrong_value_from_the_command_line_is_reported():
    assert len(problems("params: {n: 1, m: 2}\nx: $n", n="", m="'", k="3")) == 3


def test_bytes_that_are_no_text_on_the_command_line_are_reported_as_text():
    assert only_problem("params: {n: 1}\nx: $n", n="\udcff")[2].encode() == b"--set n=\\udcff: not YAML: character U+DCFF"


# Laws

plain_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
              st.text(st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn")), max_size=8).filter(
                  lambda text: not re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", text))),     # not quoted by YAML 1.1
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text("abcxyz", min_size=1, max_size=4), inner, max_size=4)),
    max_leaves=12)


@law
@given(plain_values)
def test_what_a_yaml_writer_writes_is_read_back_and_has_places(data):
    text = yaml.safe_dump({"k": data}, allow_unicode=True)
    document = locate(text, "w.yaml", {})
    without_dollars = "$" not in text
    assert not without_dollars or (document.value == {"k": data} and not document.problems)
    lines = text.splitlines()
    assert all(1 <= line <= len(lines) + 1 and column >= 1 for line, column in document.marks.values())


@law
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    for line, column, message in problems(text, n="1"):
        assert line >= 1 and column >= 1 and "\n" not in message


@law
@given(st.binary(max_size=100))
def test_any_bytes_are_text_or_refused(data):
    try:
        decode(data, "w.yaml")
    except DocumentError as error:
        (problem,) = error.problems
        assert 1 <= problem.line <= data.count(b"\n") + 1 and problem.column >= 1


@law
@given(st.text("ab \n", min_size=1, max_size=40), st.sampled_from(["|", ">", "'", '"']), st.data())
def test_every_visible_character_of_a_text_has_its_own_place(words, style, data):
    if not words.strip():
        return
    quoted = style in "'\""
    lines = [line.strip() for line in words.split("\n")]
    body = "\n".join("  " + line if line else "" for line in lines).strip("\n")
    text = f"x: {style}{body.strip()}{style}\n" if quoted else f"x: {style}\n{body}\n"
    document = locate(text, "w.yaml", {})
    offset = data.draw(st.sampled_from([i for i, letter in enumerate(document.value["x"]) if not letter.isspace()]))
    document.report(("x",), "here", offset=offset)
    line, column = document.problems[0].line, document.problems[0].column
    assert text.splitlines()[line - 1][column - 1] == document.value["x"][offset]


# libyaml is quick, PyYAML knows the text around a value

@pytest.mark.parametrize("text", [
    "a: &x {b: 1, c: [1, 2]}\nd: *x\ne: {<<: *x, b: 2}\n", "a: |\n  text\n   more\nb: >-\n  folded\n  text\n\nc: 'it''s'\n",
    "é: ü\nx: [ä, 'ö']\n😀: y\n", "%YAML 1.1\n---\na: 1e-5\n...\n", "a: 1\r\nb: 12:30\r\n", 'a: "x\\ty"\nb: !!str 3\n',
])
def test_both_readers_find_the_same_values_at_the_same_places(text):
    found = []
    for parse in (text_module.parse, text_module.parse_exactly):
        document = text_module.Located("w.yaml")
        found.append((text_module._Reader(document).read(parse(text, "w.yaml"), ()), document.marks, document.keys))
    assert found[0] == found[1]


def test_a_place_inside_a_text_is_found_after_quick_reading():
    assert only_problem("params: {n: 1}\na: 'x $n'\nb: {run: 'some $m'}") == (3, 16, "no parameter 'm'; there is n")
