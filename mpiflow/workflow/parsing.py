"""The language of steps: ``real2bin(DS1 + DS2)``, ``(x - mean(x)) / 2``, ``rmsf(aligned).mean``.

Python's parser reads the text; only the node types in the tables below are taken, and nothing is evaluated.
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
import warnings
from collections.abc import Collection
from typing import Any

from mpiflow.workflow.expressions import (
    PLAIN,
    Call,
    Chosen,
    Column,
    Condition,
    Constant,
    Expression,
    Item,
    Ref,
    Spread,
    Sum,
    Variable,
)
from mpiflow.workflow.loops import PARAMETER, Hole, holes, template

BINARY = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.FloorDiv: "floor_divide",
    ast.Mod: "remainder", ast.Pow: "power",
}
COMPARE = {
    ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal", ast.Eq: "equal",
    ast.NotEq: "not_equal",
}
UNARY = {ast.USub: "negative", ast.UAdd: "positive"}
INSTEAD = {
    ast.And: "logical_and(a, b)", ast.Or: "logical_or(a, b)", ast.Not: "logical_not(a)", ast.BitAnd: "logical_and(a, b)",
    ast.BitOr: "logical_or(a, b)", ast.Invert: "logical_not(a)", ast.IfExp: "where(condition, a, b)",
    ast.Compare: "logical_and(a < b, b < c)",
}
MAX_DEPTH = 100     # nested deeper, the recursions over an expression would meet Python's own limit


class ExpressionError(Exception):
    """The text is not an expression; ``offset`` counts characters from its start, ``unclosed`` is a bracket without its end."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset
        self.unclosed = "was never closed" in message       # Python's words


_STAR = re.compile(r"(?:(?<!\w)[A-Za-z_]\w*|\])\.\*")     # what Python does not take


def parse_expression(text: str, variables: Collection[str] = (), datasets: Collection[str] = ()) -> Expression:
    """Parse ``text``; line breaks in it are spaces.

    Args:
        text: What the user wrote.
        variables: Variables of the step's loop; ``$name`` then stands for a value, and ``$$`` in a text for a dollar sign.
        datasets: Those of them that stand for datasets.

    Raises:
        ExpressionError: The text is no expression, or uses what the language does not have.
    """
    mark = _free_letter(text) if variables else ""
    star = _free_letter(text + mark) if ".*" in text else ""
    line = _marked(text, variables, mark) if variables else text
    line = _STAR.sub(lambda match: match[0][:-1] + star, line) if star else line
    line = line.replace("\n", " ").replace("\r", " ").rstrip()
    source = line.lstrip()
    indent = len(line) - len(source)
    if not source:
        raise ExpressionError("the expression is empty")
    if "\0" in text:
        raise ExpressionError("the null character is not possible", text.index("\0"))
    try:
        return _Converter(source, indent, variables, datasets, mark, star).convert(_parse(source, indent))
    except RecursionError:
        raise ExpressionError("the expression is nested too deeply") from None


def _free_letter(text: str) -> str:
    """A letter that ``text`` has not; one that Python takes for part of a name as it is."""
    return next(letter for letter in map(chr, range(0x4E00, 0x9FA0)) if letter not in text)


def _marked(text: str, variables: Collection[str], mark: str) -> str:
    """Write ``$variable`` as a name that Python's parser takes, of the same length, so that no place changes."""
    def name(match: re.Match[str]) -> str:
        if (match[1] or match[2]) not in variables:
            return match[0]
        return mark + match[1] if match[1] else f"{mark}{mark}{match[2]}{mark}"

    return PARAMETER.sub(name, text)


def _parse(source: str, indent: int) -> ast.expr:
    """Let Python parse; it must not warn about the user's text as if it were ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        at_end = not error.offset                           # Python gives no place for an unexpected end
        message = "it ends too early" if at_end and error.msg == "invalid syntax" else error.msg
        raise ExpressionError(f"not an expression: {message}", indent + (len(source) if at_end else error.offset - 1)) from None
    except (MemoryError, ValueError) as error:              # too many parentheses; a number of 5000 digits
        raise ExpressionError(f"not an expression: {error or 'nested too deeply'}", indent) from None
    if "#" in source:
        _refuse_comment(source, indent)
    return tree


def _refuse_comment(source: str, indent: int) -> None:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            raise ExpressionError("'#' is not possible in an expression", indent + token.start[1])


class _Converter:
    """Turns Python's nodes into ours; ``source`` and ``indent`` are for places in messages."""

    def __init__(self, source: str, indent: int, variables: Collection[str], datasets: Collection[str], mark: str,
                 star: str) -> None:
        self.source = source
        self.indent = indent
        self.variables = variables
        self.datasets = datasets
        self.mark = mark
        self.star = star
        self.encoded = source.encode()
        self.ascii = source.isascii()
        self.depth = 0

    def offset(self, node: ast.expr | ast.keyword) -> int:
        """Characters from the start of the text; Python counts bytes of UTF-8."""
        if self.ascii:
            return self.indent + node.col_offset
        return self.indent + len(self.encoded[:node.col_offset].decode())

    def convert(self, node: ast.expr) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"nested more than {MAX_DEPTH} deep; give parts of it names, as steps", self.offset(node))
        done = self._convert(node)
        self.depth -= 1
        return done

    def _convert(self, node: ast.expr) -> Expression:
        offset = self.offset(node)
        match node:
            case ast.Name(id=name):
                return self._name(name, offset)
            case ast.Constant(value=str() as text) if self.mark or self.star:
                return self._filled(self._unmarked(_checked(text, offset)), offset)
            case ast.Constant(value=value) if value is None or isinstance(value, (bool, int, float, str)):
                return Constant(_checked(value, offset), offset)
            case ast.List() | ast.Tuple():
                return self._list(node, offset)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if not isinstance(value, bool):
                return Constant(_checked(-value, offset), offset)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
                return Call(UNARY[type(op)], (self.convert(operand),), (), offset)
            case ast.BinOp(op=ast.Add()):
                return Sum(tuple(self.convert(term) for term in _terms(node)), offset)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
                return Call(BINARY[type(op)], (self.convert(left), self.convert(right)), (), offset)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARE:
                return Call(COMPARE[type(op)], (self.convert(left), self.convert(right)), (), offset)
            case ast.Attribute(value=table, attr=name) if self.star and name == self.star:
                return Spread(self._instances(table, "sweep.*"), offset)
            case ast.Subscript(value=step, slice=inside) if not isinstance(inside, (ast.Slice, ast.Constant)):
                return Chosen(self._instances(step, "sweep[T == 300]"), self._conditions(inside), offset)
            case ast.Attribute(value=table, attr=name) if not isinstance(table, (ast.Constant, ast.List, ast.Tuple)):
                return Column(self.convert(table), self._chosen(name, offset), offset)
            case ast.Call(func=ast.Name(id=name)):
                arguments, places = tuple(map(self.convert, node.args)), tuple(map(self.offset, node.keywords))
                return Call(self._chosen(name, offset), arguments, self._keywords(node), offset, places)
        raise ExpressionError(self._refusal(node), offset)

    def _name(self, name: str, offset: int) -> Expression:
        variable = self._unmarked(name).strip("${}") if self.mark and self.mark in name else ""
        if variable and variable in self.variables and self._unmarked(name) in (f"${variable}", f"${{{variable}}}"):
            return Item(variable, offset) if variable in self.datasets else Variable(Hole(variable), offset)
        return Ref(self._chosen(name, offset), offset)

    def _chosen(self, name: str, offset: int) -> str:
        """Refuse a name that is made of a value: what a step reads is known before its loop runs."""
        if self.mark and self.mark in name:
            whole = self._unmarked(name)
            variable = next(item[1] or item[2] for item in PARAMETER.finditer(whole) if (item[1] or item[2]) in self.variables)
            raise ExpressionError(f"{whole!r}: ${variable} is a value and cannot be part of a name", offset)
        return name

    def _unmarked(self, text: str) -> str:
        """The text as the user wrote it."""
        if self.star:
            text = text.replace(self.star, "*")
        if self.mark:
            mark = self.mark
            text = re.sub(f"{mark}{mark}([A-Za-z0-9_]+){mark}", r"${\1}", text).replace(mark, "$")
        return text

    def _filled(self, value: str, offset: int) -> Expression:
        """A text, with places for the values of variables if it has any."""
        if not self.variables:
            return Constant(value, offset)
        filled, varies = template(value, self.variables)
        if varies and (wrong := next((name for name in holes(filled) if name in self.datasets), "")):
            raise ExpressionError(f"{value!r}: ${wrong} is a dataset and cannot be part of a text", offset)
        return Variable(filled, offset) if varies else Constant(filled, offset)

    def _instances(self, node: ast.expr, example: str) -> Expression:
        """A step with a loop, or columns of it, or some of its instances."""
        inner = self.convert(node)
        if not isinstance(inner, (Ref, Column, Chosen)):
            raise ExpressionError(f"only a step with a loop has instances, as in {example}", self.offset(node))
        return inner

    def _conditions(self, inside: ast.expr) -> tuple[Condition, ...]:
        return tuple(map(self._condition, inside.elts if isinstance(inside, ast.Tuple) else [inside]))

    def _condition(self, node: ast.expr) -> Condition:
        offset = self.offset(node)
        match node:
            case ast.Compare(left=ast.Name(id=name), ops=[op], comparators=[right]) if type(op) in COMPARE:
                return Condition(self._chosen(name, offset), COMPARE[type(op)], self._plain(right, "a condition"), offset)
        raise ExpressionError("a condition compares a variable of the step's loop with a plain value: sweep[T >= 300, seed == 0]",
                              offset)

    def _list(self, node: ast.List | ast.Tuple, offset: int) -> Expression:
        items = [self._plain(item) for item in node.elts]
        values = [item.template if isinstance(item, Variable) else item.value for item in items]
        varies = any(isinstance(item, Variable) for item in items)
        return Variable(values, offset) if varies else Constant(values, offset)

    def _refusal(self, node: ast.expr) -> str:
        text = self._unmarked(self.encoded[node.col_offset:node.end_col_offset].decode())
        shown = text if len(text) <= 40 else text[:37] + "..."
        instead = INSTEAD.get(type(getattr(node, "op", node)))
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            instead = None                                  # x is y, x in y
        return f"{shown!r} is not possible here; " + (f"write {instead}" if instead else
               "names, numbers, text, lists, + - * / // % **, one comparison, operation(...) and table.column are")

    def _keywords(self, node: ast.Call) -> tuple[tuple[str, Expression], ...]:
        keywords: dict[str, Expression] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise ExpressionError("'**' is not possible here", self.offset(keyword))
            if keyword.arg in keywords:
                raise ExpressionError(f"argument {keyword.arg!r} is given twice", self.offset(keyword))
            keywords[self._chosen(keyword.arg, self.offset(keyword))] = self.convert(keyword.value)
        return tuple(keywords.items())

    def _plain(self, node: ast.expr, where: str = "a list") -> Constant | Variable:
        value = self.convert(node)
        if not isinstance(value, PLAIN):
            raise ExpressionError(f"{where} may hold plain values only", self.offset(node))
        return value


def _checked(value: Any, offset: int) -> Any:
    """Refuse what has no JSON form: it could not enter the id of a dataset."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("the number is too large", offset)
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ExpressionError("the text holds half a character", offset)
    return value


def _terms(node: ast.expr) -> list[ast.expr]:
    """The terms of nested sums, left to right; without recursion, so that a sum may have thousands of terms."""
    terms: list[ast.expr] = []
    stack = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, ast.BinOp) and isinstance(current.op, ast.Add):
            stack += (current.left, current.right)
        else:
            terms.append(current)
    return terms[::-1]
