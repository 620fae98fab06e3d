"""Units of measurement: how they multiply, which go together, and by what factor. Pure.

Most questions are answered by the names alone: angstrom times angstrom is angstrom^2, and nm is nm. Pint, which takes the
better part of a second to import, is asked only when names differ.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, NamedTuple

_FACTOR = re.compile(r"([^\s\d*/^()+\-.]+)(?:\^?\(?([+-]?\d+(?:\.\d+)?)\)?)?")
_SEPARATOR = re.compile(r"\s*([*/·])\s*|\s+")


class UnitError(Exception):
    """Units that do not go together; the message says why.

    Attributes:
        odd: The unit that does not fit, if it is one of the arguments.
        fits: What it should be.
    """

    def __init__(self, message: str, odd: Unit | None = None, fits: Unit | None = None) -> None:
        super().__init__(message)
        self.odd, self.fits = odd, fits


class Unit(NamedTuple):
    """Names with their powers, in order of names; without any, a plain number. Plain values that it meets have no unit.

    Attributes:
        powers: (name, power) of each factor.
        known: Whether the unit is known; what is made of an unknown one is unknown.
    """

    powers: tuple[tuple[str, float], ...] = ()
    known: bool = True

    def __mul__(self, other: Any) -> Unit:
        return self._with(other, 1) if type(other) is Unit else self

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Unit:
        return self._with(other, -1) if type(other) is Unit else self

    def __rtruediv__(self, other: Any) -> Unit:
        return self ** -1

    def __pow__(self, power: Any) -> Unit:
        if isinstance(power, Unit):
            number(power)
            return self if self == ONE else UNKNOWN
        if not self.known or not isinstance(power, (int, float)):
            return self if self == ONE else UNKNOWN
        return Unit(tuple([(name, old * power) for name, old in self.powers if old * power]))

    def __rpow__(self, other: Any) -> Unit:
        return number(self)

    def _with(self, other: Unit, sign: int) -> Unit:
        if not self.known or not other.known:
            return UNKNOWN
        powers = dict(self.powers)
        for name, power in other.powers:
            powers[name] = powers.get(name, 0) + sign * power
        return Unit(tuple(sorted([(name, power) for name, power in powers.items() if power])))

    def __str__(self) -> str:
        return " ".join(name if power == 1 else f"{name}^{power:g}" for name, power in self.powers) or "1"


ONE = Unit()
UNKNOWN = Unit(known=False)


@lru_cache(maxsize=4096)
def parse_unit(text: str) -> Unit:
    """Read ``text``: factors with powers, between them a space, ``*`` or ``/``: kJ/mol, nm ps^-1, m s-2, angstrom**2.

    Long names may be written with capitals. A text that is no such product is one name, which is all that is known of it.
    """
    parts = _SEPARATOR.split(text.strip().replace("**", "^"))
    unit, sign = ONE, 1
    for i, part in enumerate(parts):
        if i % 2:
            sign = -1 if part == "/" else 1
            continue
        if part == "1":
            continue
        match = _FACTOR.fullmatch(part)
        if not match:
            return Unit(((text.strip(), 1),))
        name = match[1].lower() if len(match[1]) > 4 and match[1].isalpha() else match[1]
        unit = unit * Unit(((name, sign * float(match[2] or 1)),))
    return unit


def alike(*units: Any) -> Unit:
    """Give the one unit that all of ``units`` are in, as far as they are known; plain values among them do not count.

    Raises:
        UnitError: They are in different ones.
    """
    known = [unit for unit in units if type(unit) is Unit and unit.known]
    for unit in known[1:]:
        if unit is not known[0] and not same(known[0], unit):
            raise UnitError(f"{unit} is not {known[0]}", unit, known[0])
    return known[0] if known else UNKNOWN


def number(unit: Any) -> Unit:
    """Check that something is a plain number, such as an exponent or an angle in radians.

    Raises:
        UnitError: It has a unit.
    """
    if isinstance(unit, Unit) and unit.known and not same(unit, ONE):
        raise UnitError(f"{unit} is not a plain number", unit, ONE)
    return ONE


def same(one: Unit, other: Unit) -> bool:
    """Whether two units mean the same: nm and nanometer."""
    return one == other or conversion(one, other) == (1.0, 0.0)


def is_label(unit: Unit) -> bool:
    """Whether it is only a word for what is counted, such as frames."""
    return all(_root(name)[2] == {name: 1.0} for name, _ in unit.powers)


@lru_cache(maxsize=4096)
def conversion(one: Unit, other: Unit) -> tuple[float, float] | None:
    """Give the factor and then the summand that make numbers in ``other`` of those in ``one``; None if nothing can."""
    if one == other:
        return 1.0, 0.0
    (factor, zero, dimensions), (factor2, zero2, dimensions2) = _product(one), _product(other)
    if dimensions != dimensions2:
        return None
    return _rounded(factor / factor2), _rounded((zero - zero2) / factor2)


def _rounded(value: float) -> float:
    """Without the last bits, which come from products of factors: from nm to angstrom it is 10."""
    return float(f"{value:.15g}")


def _product(unit: Unit) -> tuple[float, float, dict[str, float]]:
    factor, zero = 1.0, 0.0
    dimensions: dict[str, float] = {}
    for name, power in unit.powers:
        one, zero, own = _root(name)
        factor *= one**power
        for dimension, times in own.items():
            dimensions[dimension] = dimensions.get(dimension, 0) + times * power
    alone = len(unit.powers) == 1 and unit.powers[0][1] == 1          # degC/m is a difference of temperatures
    return factor, zero if alone else 0.0, {name: power for name, power in dimensions.items() if power}


@lru_cache(maxsize=1024)
def _root(name: str) -> tuple[float, float, dict[str, float]]:
    """A unit in root units: its size, its zero, its dimensions. One that pint does not know is a dimension of its own."""
    registry = _registry()
    try:
        unit = registry.Unit(name)
        zero, one, two = (float(registry.Quantity(float(i), unit).to_root_units().magnitude) for i in range(3))
        factor, _ = registry.get_root_units(unit)
        if math.isclose(two - one, factor) and math.isclose(one - zero, factor):        # else it is logarithmic
            return float(factor), zero, {key: float(power) for key, power in unit.dimensionality.items()}
    except Exception:       # of all kinds, for texts of all kinds
        pass
    return 1.0, 0.0, {name: 1.0}


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint
    return pint.UnitRegistry()
