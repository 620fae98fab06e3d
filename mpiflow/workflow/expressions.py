"""The language of steps: ``real2bin(DS1 + DS2)``, ``(x - mean(x)) / 2``, ``rmsf(aligned).mean``.

Python's parser reads the text; only the node types in the tables below are taken, and nothing is evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BINARY = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.FloorDiv: "floor_divide",
    ast.Mod: "remainder", ast.Pow: "power",
}
COMPARE = {
    ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal", ast.Eq: "equal",
    ast.NotEq: "not_equal",
}
UNARY = {ast.USub: "negative", ast.UAdd: "positive"}


class ExpressionError(Exception):
    """The text is not an expression; ``offset`` counts characters from its start."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Ref:
    """A dataset or a step, by name."""

    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
    """A plain value: number, text, true or false, or a list of such."""

    value: Any
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Sum:
    """Two or more terms joined by ``+``; a linear operation takes it apart."""

    terms: tuple[Expression, ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """One named array of a table."""

    table: Expression
    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """An operation applied to expressions."""

    operation: str
    arguments: tuple[Expression, ...]
    keywords: tuple[tuple[str, Expression], ...] = ()
    offset: int = 0


Expression = Ref | Constant | Sum | Column | Call


def parse_expression(text: str) -> Expression:
    """Parse ``text``.

    Raises:
        ExpressionError: The text is no expression, or uses what the language does not have.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ExpressionError(f"not an expression: {error.msg}", max((error.offset or 1) - 1, 0)) from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise ExpressionError(f"not an expression: {error or 'nested too deeply'}") from None
    try:
        return _convert(tree.body)
    except RecursionError:
        raise ExpressionError("nested too deeply") from None


def _convert(node: ast.expr) -> Expression:
    offset = node.col_offset
    match node:
        case ast.Name(id=name):
            return Ref(name, offset)
        case ast.Constant(value=value) if isinstance(value, (bool, int, float, str)):
            return Constant(value, offset)
        case ast.List() | ast.Tuple():
            return Constant([_constant(item) for item in node.elts], offset)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return Constant(-value, offset)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            return Call(UNARY[type(op)], (_convert(operand),), (), offset)
        case ast.BinOp(op=ast.Add()):
            return _sum(node)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return Call(BINARY[type(op)], (_convert(left), _convert(right)), (), offset)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARE:
            return Call(COMPARE[type(op)], (_convert(left), _convert(right)), (), offset)
        case ast.Attribute(value=table, attr=name):
            return Column(_convert(table), name, offset)
        case ast.Call(func=ast.Name(id=name)):
            return _call(name, node)
    raise ExpressionError(f"{ast.unparse(node)!r} is not possible here: names, numbers, text, lists, + - * / // % **, "
                          "comparisons, operation(...) and table.column are", offset)


def _sum(node: ast.BinOp) -> Sum:
    """Walk down the left spine without recursion, so that a sum may have thousands of terms."""
    terms: list[ast.expr] = []
    spine: ast.expr = node
    while isinstance(spine, ast.BinOp) and isinstance(spine.op, ast.Add):
        terms.append(spine.right)
        spine = spine.left
    terms.append(spine)
    return Sum(tuple(_convert(term) for term in reversed(terms)), node.col_offset)


def _call(name: str, node: ast.Call) -> Call:
    keywords = []
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ExpressionError("'**' is not possible here", keyword.value.col_offset)
        keywords.append((keyword.arg, _convert(keyword.value)))
    return Call(name, tuple(_convert(argument) for argument in node.args), tuple(keywords), node.col_offset)


def _constant(node: ast.expr) -> Any:
    value = _convert(node)
    if not isinstance(value, Constant):
        raise ExpressionError("a list may hold plain values only", node.col_offset)
    return value.value


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield ``expression`` and everything inside it, outermost first, left to right."""
    stack = [expression]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(children(current)))


def children(expression: Expression) -> tuple[Expression, ...]:
    """Give the expressions directly inside ``expression``."""
    match expression:
        case Sum(terms=terms):
            return terms
        case Column(table=table):
            return (table,)
        case Call(arguments=arguments, keywords=keywords):
            return arguments + tuple(value for _, value in keywords)
    return ()


def references(expression: Expression) -> tuple[Ref, ...]:
    """Give every reference to a dataset or step, left to right."""
    return tuple(item for item in walk(expression) if isinstance(item, Ref))
