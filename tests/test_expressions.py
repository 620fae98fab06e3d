"""The language of steps: what it reads, what it refuses, and where it says the mistake is."""

from __future__ import annotations

import contextlib
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.workflow.expressions import Call, Column, Constant, Ref, Sum, children, references, walk
from mpiflow.workflow.parsing import MAX_DEPTH, ExpressionError, parse_expression

law = settings(derandomize=True, deadline=None, max_examples=300)
a, b, c, d = map(Ref, "abcd")


def refused(text):
    """Give the message and the offset with which ``text`` is refused."""
    with pytest.raises(ExpressionError) as error:
        parse_expression(text)
    return str(error.value), error.value.offset


# What it reads

@pytest.mark.parametrize(("text", "expected"), [
    ("a", a),
    ("  a  ", a),
    ("f()", Call("f", ())),
    ("f(a)", Call("f", (a,))),
    ("f(a, k=b)", Call("f", (a,), (("k", b),))),
    ("f(a, k=2, m='x')", Call("f", (a,), (("k", Constant(2)), ("m", Constant("x"))))),
    ("a + b", Sum((a, b))),
    ("f(a + g(b + c))", Call("f", (Sum((a, Call("g", (Sum((b, c)),)))),))),
    ("a - b", Call("subtract", (a, b))),
    ("a * b", Call("multiply", (a, b))),
    ("a / b", Call("divide", (a, b))),
    ("a // b", Call("floor_divide", (a, b))),
    ("a % b", Call("remainder", (a, b))),
    ("a ** 2", Call("power", (a, Constant(2)))),
    ("-a", Call("negative", (a,))),
    ("+a", Call("positive", (a,))),
    ("a < b", Call("less", (a, b))),
    ("a <= b", Call("less_equal", (a, b))),
    ("a > b", Call("greater", (a, b))),
    ("a >= b", Call("greater_equal", (a, b))),
    ("a == b", Call("equal", (a, b))),
    ("a != b", Call("not_equal", (a, b))),
    ("t.x", Column(Ref("t"), "x")),
    ("f(a).mean", Column(Call("f", (a,)), "mean")),
    ("a - b * c", Call("subtract", (a, Call("multiply", (b, c))))),
])
def test_every_form_has_one_meaning(text, expected):
    assert parse_expression(text) == expected


@pytest.mark.parametrize(("text", "value"), [
    ("3", 3), ("-3", -3), ("1_000", 1000), ("2.5", 2.5), ("-1e-5", -1e-5), ("'x'", "x"), ("True", True), ("None", None),
    ("[0, 1]", [0, 1]), ("(0, 1)", [0, 1]), ("[]", []), ("[-1, [2.0, 'x'], None]", [-1, [2.0, "x"], None]),
])
def test_plain_values_are_constants(text, value):
    constant = parse_expression(f"f(a, k={text})").keywords[0][1]
    assert constant == Constant(value)
    assert type(constant.value) is type(value)


def test_a_line_break_is_a_space():
    assert parse_expression("a +\n  b\r\n + c\n") == Sum((a, b, c))


def test_a_sum_of_two_thousand_terms_is_no_problem():
    assert len(parse_expression(" + ".join(["a"] * 2000)).terms) == 2000


def test_a_sum_inside_another_operation_stays_inside():
    assert parse_expression("a + (b + c) * d") == Sum((a, Call("multiply", (Sum((b, c)), d))))


names = st.sampled_from("abcdefgh")
nested_sums = st.recursive(
    names.map(lambda name: (name, [name])),
    lambda inner: st.tuples(inner, inner).map(lambda pair: (f"({pair[0][0]} + {pair[1][0]})", pair[0][1] + pair[1][1])),
    max_leaves=30)


@law
@given(nested_sums)
def test_any_nesting_of_sums_gives_the_same_terms_in_order(case):
    text, terms = case
    expected = tuple(map(Ref, terms))
    assert parse_expression(text) == (Sum(expected) if len(terms) > 1 else expected[0])


expressions = st.recursive(
    st.one_of(names, st.integers(0, 99).map(str), st.sampled_from(["2.5", "'x'", "[1, 2]", "None"])),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "<", "=="]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        st.lists(inner, max_size=3).map(lambda items: f"f({', '.join(items)})"),
        st.tuples(inner, inner).map(lambda items: f"g({items[0]}, k={items[1]})"),
        inner.map(lambda item: f"h({item}).x"),
        inner.map(lambda item: f"-({item})")),
    max_leaves=20)


@law
@given(expressions)
def test_white_space_and_brackets_around_it_change_nothing(text):
    expected = parse_expression(text)
    assert parse_expression(f"  ( {text} )\n") == expected
    assert parse_expression(text.replace(" ", "   ")) == expected


@law
@given(expressions)
def test_a_walk_visits_every_part_once_and_in_the_order_of_the_text(text):
    expression = parse_expression(text)
    visited = list(walk(expression))
    assert len(visited) == 1 + sum(len(children(item)) for item in visited)
    offsets = [ref.offset for ref in references(expression)]
    assert offsets == sorted(set(offsets))


@law
@given(expressions)
def test_every_name_stands_at_its_offset(text):
    for ref in references(parse_expression(text)):
        assert text[ref.offset:].startswith(ref.name)


@law
@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_refused_with_a_place_inside_it(text):
    try:
        parse_expression(text)
    except ExpressionError as error:
        assert 0 <= error.offset <= len(text)
        assert "\n" not in str(error)


@law
@given(expressions, st.data())
def test_any_damaged_expression_is_an_expression_or_refused(text, data):
    place = data.draw(st.integers(0, len(text)))
    letter = data.draw(st.sampled_from("()[]{}+-*/.,:;='\"\\ #$@!&|~^<>ä0a\t\n\0"))
    try:
        parse_expression(text[:place] + letter + text[place:])
    except ExpressionError as error:
        assert 0 <= error.offset <= len(text) + 1


# What it refuses, and where

@pytest.mark.parametrize(("text", "offset", "part"), [
    ("", 0, "the expression is empty"),
    (" \n ", 0, "the expression is empty"),
    ("a +", 3, "it ends too early"),
    ("f(a", 1, "'(' was never closed"),
    ("  f(a", 3, "'(' was never closed"),
    ("f(a))", 4, "unmatched ')'"),
    ("a b", 2, "invalid syntax"),
    ("f(k=1, k=2)", 7, "argument 'k' is given twice"),
    ("f(a, **b)", 5, "'**' is not possible here"),
    ("f(a, *b)", 5, "'*b' is not possible here"),
    ("f(a, x[0])", 5, "'x[0]' is not possible here"),
    ("a.f(b)", 0, "'a.f(b)' is not possible here"),
    ("[a, 1]", 1, "a list may hold plain values only"),
    ("a and b", 0, "write logical_and(a, b)"),
    ("f(not a)", 2, "write logical_not(a)"),
    ("a | b", 0, "write logical_or(a, b)"),
    ("~a", 0, "write logical_not(a)"),
    ("a < b < c", 0, "write logical_and(a < b, b < c)"),
    ("a if b else c", 0, "write where(condition, a, b)"),
    ("a is b", 0, "'a is b' is not possible here"),
    ("lambda x: x", 0, "'lambda x: x' is not possible here"),
    ("f'{a}'", 0, "is not possible here"),
    ("b'x'", 0, "is not possible here"),
    ("2j", 0, "'2j' is not possible here"),
    ("...", 0, "is not possible here"),
    ("f(x := 1)", 2, "is not possible here"),
    ("'x'.y", 0, "is not possible here"),
    ("a + b  # both", 7, "'#' is not possible"),
    ("f(a, 1e999)", 5, "the number is too large"),
    (r"f(a, '\ud800')", 5, "half a character"),
    ("a + \0", 4, "the null character"),
])
def test_what_is_not_in_the_language_is_refused_where_it_stands(text, offset, part):
    message, place = refused(text)
    assert part in message
    assert place == offset


def test_a_hash_inside_quotes_is_text():
    assert parse_expression("f(a, '#1')") == Call("f", (a, Constant("#1")))


def test_offsets_count_characters_and_not_bytes():
    assert refused("f('äöü', x[0])") == (refused("f('aou', x[0])")[0], 9)
    assert [ref.offset for ref in references(parse_expression("f('äöü', ref)"))] == [9]


def test_a_call_knows_where_its_keywords_stand():
    assert parse_expression("f(a, k=1, m=b)").places == (5, 10)


def test_a_long_refused_part_is_shortened():
    message, _ = refused("[" + ", ".join(["a"] * 50) + "][0]")
    assert len(message) < 200


@pytest.mark.parametrize("text", [
    "-" * 5000 + "a", "(" * 500 + "a" + ")" * 500, "f(" * 150 + "a" + ")" * 150, "a" + ".x" * 5000, " * ".join(["a"] * 5000),
    "a" + " ** a" * 500, "[" * 150 + "]" * 150, " - ".join(["a"] * (MAX_DEPTH + 1)), "1" * 5000, " + ".join(["a"] * 50_000),
])
def test_what_is_nested_too_deeply_is_refused_and_not_a_crash(text):
    with pytest.raises(ExpressionError):
        parse_expression(text)


def test_the_greatest_depth_is_allowed():
    assert isinstance(parse_expression(" - ".join(["a"] * MAX_DEPTH)), Call)


@pytest.mark.parametrize("text", ["1and a", "f(a, '\\d')", "0x1for"])
def test_python_does_not_warn_about_the_users_text(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(ExpressionError):
            parse_expression(text)


def test_equality_does_not_look_at_places():
    assert parse_expression("f(a,b)") == parse_expression("f( a , b )")
