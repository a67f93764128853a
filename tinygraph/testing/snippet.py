"""Code that shows a failure again: plain NumPy, the kernel, and what it should have given."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .problem import Problem, code


def snippet(backward: Callable[..., Any], problem: Problem, names: Sequence[str], pick: str, expected: Any) -> str:
    """Imports, arrays, the call of the kernel, ``pick`` of its result, and what it should be."""
    before, call = _call(backward, ["dy", *names])
    arrays = [f"{n} = {code(problem.arrays[n])}" for n in names]
    dy = f"({', '.join(map(code, problem.dy))},)" if isinstance(problem.dy, tuple) else code(problem.dy)
    body = "\n".join([*arrays, f"dy = {dy}"])
    lines = ["import numpy as np", *(["import base64"] if "base64." in body else []), *before, body]
    last = call if expected is None else f"{call}{pick}   # should be {_rounded(expected)}"
    return "\n".join([*lines, last])


def _rounded(expected: Any) -> str:
    a = np.asarray(expected, np.float64)
    if a.size > 64:
        return f"{a.ravel()[:3].tolist()} … at its first elements"
    if np.abs(a).max(initial=0) > 1e-2:
        return repr(np.round(a, 6).tolist())
    return repr(np.vectorize(lambda v: float(f"{v:.6g}"), otypes=[np.float64])(a).tolist())


def _call(backward: Callable[..., Any], arguments: Sequence[str]) -> tuple[list[str], str]:
    """What to import or define, and the call: the one inside, where a function only passes on."""
    adapter = getattr(backward, "adapter", None)
    fn = inspect.unwrap(backward)
    source = _source(fn)
    if adapter is None and source and (inner := _passed_on(source)) is not None and (target := _lookup(fn, inner[0])):
        return _definition(target, inner[0]), inner[1]
    name = "backward" if "<lambda>" in _qualname(fn) else _qualname(fn).rpartition(".")[2]
    before = _definition(fn, name)
    if adapter is not None:
        return [*before, f"from tinygraph.testing import {adapter}"], f"{adapter}({name})({', '.join(arguments)})"
    return before, f"{name}({', '.join(arguments)})"


def _qualname(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", type(fn).__name__))


def _source(fn: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(fn))
    except (OSError, TypeError):
        return ""


def _definition(fn: Any, name: str, known: set[str] | None = None) -> list[str]:
    """An import where there is a module to import from, else the source, with what it refers to."""
    module, qualname, source = getattr(fn, "__module__", "__main__"), _qualname(fn), _source(fn)
    local = "<" in qualname or "." in qualname
    if not local and module not in (None, "__main__", "builtins") and not source.startswith("@"):
        return [f"from {module} import {qualname}" + (f" as {name}" if name != qualname else "")]
    if not source:
        return []
    known = {name, qualname} if known is None else known
    if "<lambda>" in qualname:
        return [*_needed(fn, known), f"{name} = {_lambda(source, inspect.getfullargspec(fn).args)}"]
    return [*_needed(fn, known), *_without_decorators(source).splitlines()]


def _needed(fn: Any, known: set[str]) -> list[str]:
    """The numbers, functions and classes of the same module, or enclosing function, that a source refers to."""
    lines = []
    scope = {**getattr(fn, "__globals__", {}), **_closure(fn)}
    for name in _names(getattr(fn, "__code__", None)):
        value = scope.get(name)
        if name in known or value is None or inspect.ismodule(value):
            continue
        known.add(name)
        if isinstance(value, (bool, int, float, str, tuple)):
            lines.append(f"{name} = {value!r}")
        elif inspect.isfunction(value) or inspect.isclass(value):
            same = getattr(value, "__module__", None) == getattr(fn, "__module__", None)
            lines += _definition(value, name, known) if same else [f"from {value.__module__} import {name}"]
    return lines


def _closure(fn: Any) -> dict[str, Any]:
    try:
        return dict(inspect.getclosurevars(fn).nonlocals)
    except (TypeError, ValueError):
        return {}


def _names(compiled: Any) -> list[str]:
    if compiled is None:
        return []
    inner = [name for const in compiled.co_consts if inspect.iscode(const) for name in _names(const)]
    return list(dict.fromkeys([*compiled.co_names, *compiled.co_freevars, *inner]))


def _lambda(source: str, arguments: Sequence[str]) -> str:
    """The first lambda of these arguments in a line of source: the longest text from there on that is one."""
    start = source.find("lambda")
    while start >= 0:
        for end in range(len(source), start, -1):
            try:
                body = ast.parse(source[start:end].strip(), mode="eval").body
            except SyntaxError:
                continue
            if isinstance(body, ast.Lambda) and [a.arg for a in body.args.args] == list(arguments):
                return source[start:end].strip()
        start = source.find("lambda", start + 1)
    return "..."


def _passed_on(source: str) -> tuple[str, str] | None:
    """(function, call) if the body is a single ``return function(…)``."""
    try:
        tree = ast.parse(source).body[0]
    except (SyntaxError, IndexError):
        return None
    if not isinstance(tree, ast.FunctionDef):
        return None
    body = [s for s in tree.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    value = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id, ast.unparse(value)
    return None


def _lookup(fn: Any, name: str) -> Any:
    found = {**getattr(fn, "__globals__", {}), **_closure(fn)}.get(name)
    return found if inspect.isfunction(found) else None


def _without_decorators(source: str) -> str:
    lines = source.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(("def ", "async def ", "class "))), 0)
    return "\n".join(lines[start:])
