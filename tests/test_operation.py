"""The @operation decorator: what may be declared, and how calls are bound to arguments."""

import numpy as np
import pytest

from mpiflow.operations.operation import Operation, operation


def plain(x, y, scale=2):
    return scale * x + y


def double(x):
    return 2 * x


# Declarations

def test_a_bare_decorator_makes_a_plain_operation_of_the_same_name():
    made = operation(plain)
    assert (made.name, made.linear, made.elementwise) == ("plain", False, False)


def test_declarations_are_kept():
    made = operation(linear=True, combine="maximum", nbytes=8, seconds=len, dtype="int64", name="most")(double)
    assert (made.name, made.linear, made.combine, made.nbytes, made.seconds, made.dtype) == (
        "most", True, "maximum", 8, len, "int64")


def test_an_operation_is_still_callable_as_its_function():
    assert operation(plain)(1, y=2) == 4


def test_an_unknown_declaration_is_refused_with_a_suggestion():
    with pytest.raises(TypeError, match="no 'linaer'; did you mean 'linear'"):
        operation(linaer=True)(double)


def any_name(x, **others):
    return x


def no_name(x, /):
    return x


def any_number(*parts):
    return parts[0]


def nothing():
    return 0


@pytest.mark.parametrize(("declared", "function", "message"), [
    ({"linear": True, "elementwise": True}, double, "needs no linear"),
    ({"combine": "maximum"}, double, "need linear=True"),
    ({"finish": double}, double, "need linear=True"),
    ({"broadcast": True}, double, "needs elementwise"),
    ({"linear": True, "combine": "multiply"}, double, "none of add, minimum, maximum, concatenate"),
    ({"linear": True, "combine": None}, double, "must be a name or a function"),
    ({"linear": True}, any_number, "named first argument"),
    ({"linear": True}, nothing, "named first argument"),
    ({}, any_name, "name each one"),
    ({}, no_name, "before '/'"),
    ({"name": "two words"}, double, "no expression can name it"),
    ({"dtype": "flot64"}, double, "no dtype 'flot64'"),
    ({"nbytes": "8 kB"}, double, "nbytes must be a number or a function"),
    ({"seconds": "1 s"}, double, "seconds must be a number or a function"),
    ({"linear": True, "finish": lambda partial, bins: partial}, double, "asks for bins"),
])
def test_declarations_that_cannot_be_meant_are_refused(declared, function, message):
    with pytest.raises(ValueError, match=message):
        operation(**declared)(function)


def test_a_message_names_the_operation():
    with pytest.raises(ValueError, match=r"^operation 'double': "):
        operation(combine="maximum")(double)


# What follows from them

@pytest.mark.parametrize(("declared", "blockwise", "additive"), [
    ({}, False, False),
    ({"elementwise": True}, True, False),
    ({"linear": True}, False, True),
    ({"linear": True, "combine": "maximum"}, False, False),
    ({"linear": True, "finish": np.sqrt}, False, False),
    ({"linear": True, "combine": "concatenate"}, True, False),
    ({"linear": True, "combine": "concatenate", "finish": np.sort}, False, False),
    ({"linear": True, "combine": np.add}, False, False),
])
def test_how_an_operation_can_be_taken_apart(declared, blockwise, additive):
    made = operation(**declared)(double)
    assert (made.blockwise, made.additive) == (blockwise, additive)


def test_combine_by_name_is_found():
    assert operation(linear=True, combine="minimum")(double).merge(np.array(3), np.array(2)) == 2


def test_combine_may_be_a_function():
    assert operation(linear=True, combine=np.hypot)(double).merge(3, 4) == 5


def test_finish_gets_the_arguments_that_it_names():
    def counts(x, bins, scale=3):
        return x

    made = operation(linear=True, finish=lambda partial, scale: partial)(counts)
    assert (made.closing, made.defaults) == (("scale",), {"scale": 3})


def test_finish_may_have_defaults_of_its_own_and_any_further_arguments():
    made = operation(linear=True, finish=lambda partial, places=2, *more, **others: partial)(double)
    assert made.closing == ()


def test_finish_may_be_a_function_of_numpy():
    def weigh(x, order=2, where=None):
        return x

    assert operation(linear=True, finish=np.sqrt)(weigh).closing == ()


# Calls

def test_positional_arguments_get_their_names():
    assert operation(plain).bind(2, []) == ("x", "y")


def test_arguments_of_a_variadic_operation_stay_without_names():
    assert operation(any_number).bind(3, []) == ("", "", "")


def test_a_variadic_operation_may_have_a_named_first_argument():
    def first_of(first, *others, last=None):
        return first

    assert operation(first_of).bind(2, ["last"]) == ("", "")


def test_a_named_argument_before_any_number_of_others_must_be_given():
    def first_of(first, *others):
        return first

    with pytest.raises(TypeError, match="'first' is missing; it takes first, others"):
        operation(first_of).bind(0, [])


@pytest.mark.parametrize(("num", "keywords", "message"), [
    (1, [], "'y' is missing; it takes x, y, scale"),
    (0, ["y"], "'x' is missing"),
    (4, [], r"takes 3 arguments \(x, y, scale\), not 4"),
    (2, ["x"], "'x' is given twice"),
    (3, ["scale"], "'scale' is given twice"),
])
def test_a_call_that_does_not_fit_says_why(num, keywords, message):
    with pytest.raises(TypeError, match=message):
        operation(plain).bind(num, keywords)


def test_arguments_can_be_given_by_name_but_any_number_of_them_cannot():
    assert operation(plain).named == ("x", "y", "scale") and operation(any_number).named == ()


def test_the_code_is_not_a_declaration():
    with pytest.raises(TypeError):
        operation(code="x")(double)


def test_two_operations_are_equal_if_all_that_is_declared_is():
    assert Operation("f", double, dtype="int64") == Operation("f", double, dtype="int64") != Operation("f", double)
