"""Units go through expressions, and what does not go together is found before anything runs."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml
from launching import mpiflow
from test_layering import imported

from mpiflow.errors import DocumentError
from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.units import ONE, UNKNOWN, UnitError, alike, conversion, is_label, number, parse_unit, same
from mpiflow.planning.lowering import lower
from mpiflow.workflow.reading import draft_workflow

DATASETS = {name: {"random": {"shape": [12, 3], "seed": 1}, "blocks": 3, **({"unit": unit} if unit else {})}
            for name, unit in (("metres", "m"), ("seconds", "s"), ("near", "nm"), ("far", "angstrom"), ("angle", "degree"),
                               ("share", "%"), ("cold", "K"), ("warm", "degC"), ("unknown", ""))}


@operation(unit=lambda mass, speed: mass * speed**2)
def energy(speed, mass=1.0):
    return mass * speed**2


@operation(linear=True, unit={"level": "same", "rate": lambda x: x / parse_unit("ps"), "share": "1"})
def table(x):
    return {"level": x.sum(), "rate": x.sum(), "share": np.array(1)}


@operation(unit=lambda x: 3)
def odd(x):
    return x


@operation
def silent(x):
    return x


REGISTRY = builtin_operations() | {item.name: item for item in (energy, table, odd, silent)}


def draft(steps):
    document = {"mpiflow": 1, "name": "u", "datasets": DATASETS, "steps": steps}
    return draft_workflow(yaml.safe_dump(document, sort_keys=False), "w.yaml")


def unit_of(step):
    """The unit that a step's result is written with."""
    return lower(draft({"it": step}), REGISTRY, [], 1).datasets["it"].unit


def refused(step):
    """The one message about a step."""
    with pytest.raises(DocumentError) as error:
        lower(draft({"it": step}), REGISTRY, [], 1)
    (problem,) = error.value.problems
    return problem.message


# Names

@pytest.mark.parametrize(("text", "means"), [
    ("nm", "nm"), ("1", "1"), ("nm ps-1", "nm ps^-1"), ("m*s**-2", "m s^-2"), ("J/mol/K", "J K^-1 mol^-1"), ("1/ps", "ps^-1"),
    ("Angstrom^2", "angstrom^2"), ("mPa", "mPa"), ("m/m", "1"), ("m^0.5", "m^0.5"), ("kJ/(mol nm)", "kJ/(mol nm)"), ("Å", "Å"),
])
def test_a_unit_is_a_product_of_powers(text, means):
    assert str(parse_unit(text)) == means
    assert parse_unit(means) == parse_unit(text)


@pytest.mark.parametrize(("one", "other", "found"), [
    ("nm", "angstrom", (10, 0)), ("ps", "fs", (1000, 0)), ("kcal/mol", "kJ/mol", (4.184, 0)), ("m/s", "km/h", (3.6, 0)),
    ("degC", "K", (1, 273.15)), ("K", "degC", (1, -273.15)), ("degree", "1", (np.pi / 180, 0)), ("%", "1", (0.01, 0)),
    ("nm", "nanometer", (1, 0)), ("kJ/(mol nm)", "kJ mol-1 nm-1", (1, 0)), ("nm", "s", None), ("frames", "nm", None),
    ("eV", "kJ/mol", None), ("dB", "1", None), ("frames", "frames", (1, 0)), ("degC/m", "K/m", (1, 0)),
])
def test_conversions_are_a_factor_and_a_summand_or_none(one, other, found):
    actual = conversion(parse_unit(one), parse_unit(other))
    assert actual == (found and pytest.approx(found, rel=1e-14))


def test_units_multiply_and_plain_numbers_do_not_matter():
    nm, ps = parse_unit("nm"), parse_unit("ps")
    assert (nm * ps / ps, nm * 2, 2 * nm, (1 / ps) * ps, (nm**2) ** 0.5, nm / nm) == (nm, nm, nm, ONE, nm, ONE)
    assert UNKNOWN * nm == nm / UNKNOWN == UNKNOWN**2 == nm**UNKNOWN == nm**"x" == UNKNOWN
    assert 2**ONE == ONE and ONE**"x" == ONE


def test_what_is_unknown_goes_with_everything():
    nm = parse_unit("nm")
    assert alike(UNKNOWN, nm, 3) == nm and alike(UNKNOWN) == UNKNOWN and number(UNKNOWN) == ONE
    assert is_label(parse_unit("frames")) and not is_label(nm) and not same(nm, parse_unit("s"))
    with pytest.raises(UnitError, match="s is not nm"):
        alike(UNKNOWN, nm, parse_unit("s"))


# Through expressions

@pytest.mark.parametrize(("step", "unit"), [
    ("metres / seconds", "m s^-1"), ("near * far", "angstrom nm"), ("near ** 2", "nm^2"), ("sqrt(square(near))", "nm"),
    ("2 * near + 1", "nm"),
    ("1 / seconds", "s^-1"), ("metres + unknown", "m"), ("unknown * metres", ""), ("near / near", ""), ("-near % near", "nm"),
    ("near > 3", ""), ("clip(near, 0, 1)", "nm"), ("where(near > 1, 1, 2)", ""), ("mean(near, axis=0)", "nm"),
    ("variance(near)", "nm^2"), ("moments(near).std", "nm"), ("moments(near).variance", "nm^2"), ("moments(near)", ""),
    ("histogram(near, range=[0, 1]).edges", "nm"), ("concatenate(near, near)", "nm"), ("sort(median(near, axis=0))", "nm"),
    ("compare(near, near).rms", "nm"), ("astype(near, 'float32')", "nm"), ("normalise(near)", ""), ("exp(near / near)", ""),
    ("convert(far, 'angstrom', to='nm') + near", "nm"), ("convert(unknown, 'angstrom', to='nm')", "nm"),
    ("sin(convert(angle, 'degree', to='rad'))", ""), ("energy(metres / seconds, mass=2)", "m^2 s^-2"),
    ("energy(metres / seconds, mass=cold)", "K m^2 s^-2"), ("table(near).level", "nm"), ("table(near).rate", "nm ps^-1"),
    ("table(near).nothing", ""), ("silent(near)", ""), ({"run": "silent(near)", "unit": "s"}, "s"),
    ({"run": "+near", "unit": "nanometer"}, "nanometer"), ({"run": "count(near)", "unit": "frames"}, "frames"),
    ({"run": "energy", "in": {"speed": "metres"}, "with": {"mass": 3}}, "m^2"),
    ({"run": "near * $i", "for": {"i": [1, 2]}}, "nm"), ({"run": "table(near)", "unit": "any"}, "any"),
])
def test_a_step_has_the_unit_that_follows(step, unit):
    assert unit_of(step) == unit


@pytest.mark.parametrize(("step", "message"), [
    ("metres + seconds", "seconds is in s, metres in m; these do not go together"),
    ("near - far", "far is in angstrom, near in nm; write convert(far, 'angstrom', to='nm')"),
    ("sum(near + far)", "far is in angstrom, near in nm; write convert(far, 'angstrom', to='nm')"),
    ("cold + warm", "warm is in degC, cold in K; write convert(warm, 'degC', to='K')"),
    ("near + 2 * mean(far)", "multiply(...) is in angstrom, near in nm; write convert(multiply(...), 'angstrom', to='nm')"),
    ("near < moments(far).std", "moments(...).std is in angstrom, near in nm; "
                                "write convert(moments(...).std, 'angstrom', to='nm')"),
    ("exp(near)", "near is in nm, but a plain number is needed; divide it by a value in nm"),
    ("sin(angle)", "angle is in degree, but a plain number is needed; write convert(angle, 'degree', to='1')"),
    ("log(1 - share)", "subtract(...) is in %, but a plain number is needed; write convert(subtract(...), '%', to='1')"),
    ("near ** seconds", "seconds is in s, but a plain number is needed; divide it by a value in s"),
    ("convert(near, 'angstrom', to='m')", "near is in nm, not in angstrom; write convert(near, 'nm', to='angstrom')"),
    ("convert(near, 's', to='m')", "s cannot be converted to m"),
    ("convert(near, 'nm', to=3)", "3 is no name of a unit"),
    ("odd(near)", "operation 'odd': its unit raises TypeError: 3 is no unit"),
    ({"run": "clip", "in": {"x": "near", "low": "unknown", "high": "metres"}},
     "metres is in m, near in nm; write convert(metres, 'm', to='nm')"),
    ({"run": "metres / seconds", "unit": "km/h"},
     "the document says km/h, but what it runs gives m s^-1; write convert(..., 'm s^-1', to='km/h')"),
    ({"run": "+near", "unit": "s"}, "the document says s, but what it runs gives nm"),
    ({"run": "+near", "unit": "frames"}, "the document says frames, but what it runs gives nm"),
])
def test_what_does_not_go_together_is_refused(step, message):
    assert refused(step) == message


def test_each_mistake_has_its_place_and_nothing_follows_from_it():
    workflow = draft({"a": "metres + seconds", "b": "a + near", "c": "near +  far"})
    with pytest.raises(DocumentError) as error:
        lower(workflow, REGISTRY, [], 1)
    text = workflow.located.texts["steps", "a"].start_mark.buffer.splitlines()
    places = [text[problem.line - 1][problem.column - 1:] for problem in error.value.problems]
    assert places == ["seconds", "far"]


def test_conversion_is_exact_where_it_can_be_and_keeps_float32():
    convert = REGISTRY["convert"]
    np.testing.assert_array_equal(convert(np.arange(3), "nm", "angstrom"), [0, 10, 20])
    assert convert(np.ones(2, "float32"), "degC", "K").dtype == "float32"
    with pytest.raises(UnitError, match="nm cannot be converted to s"):
        convert(np.ones(1), "nm", "s")


def test_what_a_rule_asks_for_the_operation_must_have():
    with pytest.raises(ValueError, match="unit asks for speed, which the operation has not"):
        operation(unit=lambda speed: speed, name="f")(lambda x: x)
    with pytest.raises(ValueError, match="unit must be a text or a function, not 3"):
        operation(unit={"a": 3}, name="f")(lambda x: x)


# As a user meets it

DOCUMENT = """
mpiflow: 1
name: sums
datasets:
  metres: {random: {shape: [10], seed: 1}, unit: m}
  seconds: {random: {shape: [10], seed: 2}, unit: s}
steps:
  wrong: sum(add(metres, seconds))
results: {wrong: out.h5}
"""


@pytest.mark.parametrize("verb", ["check", "run"])
def test_metres_and_seconds_are_refused_before_anything_runs(tmp_path, verb):
    (tmp_path / "w.yaml").write_text(DOCUMENT)
    ended = mpiflow(None, verb, "w.yaml", cwd=tmp_path)
    assert ended.status == 2
    assert ended.err == "mpiflow: error: w.yaml:8:26: seconds is in s, metres in m; these do not go together\n"


def test_pint_is_not_loaded_where_names_say_all(tmp_path):
    (tmp_path / "w.yaml").write_text(re.sub("unit: s", "unit: m", DOCUMENT))
    program = f"from mpiflow.cli.main import main; assert main(['check', {str(tmp_path / 'w.yaml')!r}]) == 0"
    assert "pint" not in imported(program)
