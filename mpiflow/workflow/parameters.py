"""The parameters of a document, put in wherever a ``$name`` stands; variables of loops stay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mpiflow.errors import DocumentError, Problem, did_you_mean
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import LOOPS, PARAMETER, escaped
from mpiflow.workflow.text import read, unfilled

# Where the variables of a loop may stand.
_VARYING = ("for", "zip", "where", "run", "in", "with", "out", "stdout", "env", "when", "repeat")


def locate(text: str, file: str, overrides: Mapping[str, str]) -> Located:
    """Read ``text`` into plain values, every ``$name`` replaced by its parameter.

    Args:
        text: YAML.
        file: Its name, for messages.
        overrides: Parameters given on the command line, as YAML text.

    Returns:
        The values, and the problems found in reading them.

    Raises:
        DocumentError: The text is not YAML, or far too large.
    """
    return filled(unfilled(text, file), overrides)


def filled(source: Located, overrides: Mapping[str, str], values: Mapping[str, Any] | None = None) -> Located:
    """Give an ``unfilled`` document with every ``$name`` replaced by its parameter; the source stays as it is.

    Args:
        source: What was read.
        overrides: Parameters given on the command line, as YAML text.
        values: Parameters that the document has, with other values.
    """
    plain = source.value
    document = replace(source, texts=dict(source.texts), problems=[*source.problems], broken=set(source.broken))
    try:
        if isinstance(plain, dict):
            misspelt = "params" not in plain and any(did_you_mean(key, ["params"]) for key in plain)
            params = _parameters(document, None if misspelt else plain.get("params", {}), overrides)
            params = params if params is None else params | dict(values or {})
            plain = {key: _filled(document, key, value, params) for key, value in plain.items()}
            plain.update({"params": params} if params else {})
    except RecursionError:
        raise DocumentError([Problem(source.file, 1, 1, "the document is nested too deeply")]) from None
    document.value = plain
    return document


def _parameters(document: Located, given: Any, overrides: Mapping[str, str]) -> dict[str, Any] | None:
    """Give the parameters' values; None if ``given`` is no mapping, which is reported elsewhere."""
    if not isinstance(given, dict):
        return None
    params = dict(given)
    for name, value in given.items():
        if isinstance(value, str) and any((match[1] or match[2]) in given for match in PARAMETER.finditer(value)):
            document.report(("params", name), f"parameter {name!r}: a parameter cannot be made of others ({value!r})", offset=0)
    for name, text in overrides.items():
        if name in given:
            params[name] = _override(document, name, text)
        else:
            document.report(("params",), f"--set {name}: the document has {_no_parameter(name, given)}", key=True)
    return params


def _override(document: Located, name: str, text: str) -> Any:
    """Read the value of ``--set name=text``; what is wrong with it is reported at the parameter."""
    inner = Located(f"--set {name}")
    value = None
    try:
        if text.strip():
            value = read(text, inner)
        else:
            inner.report((), "a value is missing")
    except DocumentError as error:
        inner.problems += error.problems
    shown = text.encode("utf-8", "backslashreplace").decode()           # a command line may hold any bytes
    for problem in inner.problems:
        document.report(("params", name), f"--set {name}={shown}: {problem.message}", key=True)
    return value


def _filled(document: Located, key: str, value: Any, params: Mapping[str, Any] | None) -> Any:
    """Put parameters into one section of the document."""
    if key in ("params", "name", "inputs"):
        return value
    if key == "steps" and isinstance(value, dict):
        return _steps(document, value, params)
    return _substitute(document, value, (key,), params)


def _steps(document: Located, steps: dict[str, Any], params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Put parameters into steps; in those with a loop, its variables stay."""
    return {name: (_loop if isinstance(step, dict) and any(key in step for key in LOOPS) else _substitute)(
        document, step, ("steps", name), params) for name, step in steps.items()}


def _loop(document: Located, step: dict[str, Any], path: Path, params: Mapping[str, Any] | None) -> dict[str, Any]:
    named = [_substitute(document, step[key], (*path, key), params) if isinstance(step[key], str) else step[key]
             for key in LOOPS if key in step]
    if all(isinstance(part, dict) and part for part in named):
        variables: list[str] | None = [name for part in named for name in part]
    else:                                                   # who knows what it should have been; reported elsewhere
        variables = None
    done = {}
    for key, value in step.items():
        if key not in _VARYING:
            done[key] = _substitute(document, value, (*path, key), params)
        elif variables is None:
            done[key] = _substitute(document, value, (*path, key), None)
        else:
            done[key] = _substitute(document, value, (*path, key), params, variables)
    return done


def _substitute(document: Located, value: Any, path: Path, params: Mapping[str, Any] | None,
                variables: Sequence[str] | None = None) -> Any:
    """Replace $name in every text of ``value``; $$ stands for a dollar sign.

    In a step with a loop, which has ``variables``, these and $$ are left for ``loops.template``.
    """
    if isinstance(value, dict):
        return {key: _substitute(document, item, (*path, key), params, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(document, item, (*path, index), params, variables) for index, item in enumerate(value)]
    matches = list(PARAMETER.finditer(value)) if isinstance(value, str) and "$" in value else []
    left = () if variables is None else (None, *variables)
    matches = [match for match in matches if (match[1] or match[2]) not in left]
    if not matches:
        return value
    _check_names(document, path, matches, params, variables or ())
    document.texts.pop(path, None)                          # offsets no longer fit what stands in the file
    if path in document.broken:
        return None
    kept = (lambda item: item) if variables is None else escaped
    if len(matches) == 1 and matches[0][0] == value and value != "$$":
        return kept(params[matches[0][1] or matches[0][2]])

    def put(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return match[0] if name in left else kept(str(params[name])) if name else "$"

    return PARAMETER.sub(put, value)


def _check_names(document: Located, path: Path, matches: Iterable[re.Match[str]], params: Mapping[str, Any] | None,
                 variables: Sequence[str]) -> None:
    """Report names that are no parameters; what is made of something wrong is broken as well."""
    for match in matches:
        name = match[1] or match[2]
        if name and params is None:
            document.broken.add(path)
        elif name and name not in params:
            document.report(path, _no_parameter(name, [*params, *variables]), offset=match.start())
        elif name and ("params", name) in document.broken:
            document.broken.add(path)


def _no_parameter(name: str, params: Iterable[str]) -> str:
    known = list(params)
    others = f"; there {'is' if len(known) == 1 else 'are'} {', '.join(known[:8])}" if known else ""
    return f"no parameter {name!r}{did_you_mean(name, known) or others}"
