"""Code that shows a failure again: plain NumPy, the kernel, and what it should have given."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .kernel import Kernel
from .origins import is_library, parsed, text_of
from .problem import Problem, memory_names
from .sources import NoSource, Sources, scope_of

_LONG = 60  # characters up to which an adapted kernel is called where it is made


def snippet(
    backward: Callable[..., Any], problem: Problem, names: Sequence[str], pick: str, expected: Any, *,
    extras: Any = None, saved: Any = None, upstream: bool = True,
) -> str:  # fmt: skip
    """Imports, arrays, the call of the kernel, ``pick`` of its result, and what it should be.

    ``extras`` and ``saved`` as given to ``check_backward``, with their sources. ``upstream=False``: the
    function is a forward, which takes no dy.
    """
    given = ["dy", *names] if upstream else list(names)
    arrays, dy = problem.expressions(names)
    body = [f"{name} = {arrays[name]}" for name in names] + ([f"dy = {dy}"] if upstream else [])
    writer = Sources([*names, "dy", *itertools.islice(memory_names(names), len(body))])
    note: list[str] = []
    try:
        call = _call(writer, backward, given, extras, saved)
    except Exception as missing:  # the objects are anyone's and may raise anything; the report has to come
        what = f" ({missing} cannot be written here)" if isinstance(missing, NoSource) else ""
        note = [f"# in your own session{what}:"]
        writer, call = Sources(), _as_called(backward, given, extras, saved)
    lines = [*writer.lines, *writer.late, *body]
    encoded = "import base64" not in writer.imports and any("base64." in line for line in lines)
    imports = ["import numpy as np", *(["import base64"] if encoded else []), *writer.imports]
    last = call if expected is None else f"{call}{pick}   # should be {_rounded(expected)}"
    return "\n".join([*note, *imports, *lines, last])


def _rounded(expected: Any) -> str:
    a = np.asarray(expected, np.float64)
    if a.size > 64:
        return f"{a.ravel()[:3].tolist()} … at its first elements"
    if np.abs(a).max(initial=0) > 1e-2:
        return repr(np.round(a, 6).tolist())
    return repr(np.vectorize(lambda v: float(f"{v:.6g}"), otypes=[np.float64])(a).tolist())


def _call(writer: Sources, backward: Callable[..., Any], given: Sequence[str], extras: Any, saved: Any) -> str:
    """The call, after its definitions: that of the function inside, where one only passes on."""
    if extras is None and saved is None and (inner := _passed_on(writer, backward, given)):
        return inner
    kernel = _variable(writer, backward, "backward")
    kept = "" if saved is None else _variable(writer, saved, "saved")
    more = "" if extras is None else _variable(writer, extras, "extras")
    return _arranged(backward, given, extras, saved, (kernel, kept, more))


def _as_called(backward: Callable[..., Any], given: Sequence[str], extras: Any, saved: Any) -> str:
    """The call where the kernel is in sight."""
    name = backward.__qualname__ if inspect.isfunction(backward) else ""
    return _arranged(backward, given, extras, saved, (name if name.isidentifier() else "backward", "saved", "extras"))


def _arranged(
    backward: Callable[..., Any], given: Sequence[str], extras: Any, saved: Any, names: tuple[str, str, str]
) -> str:
    """How a Kernel calls: dy, what was saved, the inputs, the extras."""
    kernel, kept, more = names
    inputs, arguments = [n for n in given if n != "dy"], list(given)
    if saved is not None:
        kept = f"{kept}({', '.join(inputs)})" if callable(saved) else kept
        arguments = ["dy", kept, *([] if Kernel(backward, inputs, [], saved=saved).alone else inputs)]
    if extras is not None:
        arguments.append(f"**{more}({', '.join(f'{n}={n}' for n in inputs)})" if callable(extras) else f"**{more}")
    return f"{kernel}({', '.join(arguments)})"


def _variable(writer: Sources, value: Any, name: str) -> str:
    """A name that means the value, or another expression short enough to be called."""
    text = writer.expression(value, name)
    node = parsed(text).body[0].value  # type: ignore[attr-defined]
    adapted = isinstance(node, ast.Call) and hasattr(value, "adapter") and len(text) < _LONG
    if callable(value) and (adapted or isinstance(node, (ast.Name, ast.Attribute))):
        return text
    variable = writer.fresh(name)
    writer.lines.append(f"{variable} = {_bare(text)}")
    return variable


def _bare(text: str) -> str:
    """A lambda without its parentheses, on one line."""
    inner = text[1:-1]
    lambda_alone = text.startswith("(lambda") and isinstance(parsed(text).body[0].value, ast.Lambda)  # type: ignore[attr-defined]
    return inner if lambda_alone and "\n" not in inner else text


def _passed_on(writer: Sources, fn: Any, given: Sequence[str]) -> str:
    """The call inside a function of the arrays whose body is a single ``return function(…)`` of the user's."""
    text = text_of(fn.__code__) if hasattr(fn, "__code__") and not hasattr(fn, "adapter") else None
    node = parsed(text).body[0] if text else None
    if not isinstance(node, ast.FunctionDef) or [a.arg for a in node.args.args] != list(given):
        return ""
    body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None
    others = {n.id for n in ast.walk(call) if isinstance(n, ast.Name)} - set(given) if call is not None else set()
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or fn.__defaults__:
        return ""
    scope = scope_of(fn)
    target = scope.get(call.func.id)
    if not callable(target) or is_library(getattr(target, "__module__", None) or "builtins"):
        return ""
    if not others <= scope.keys() or not all(writer.bind(n, scope[n]) for n in sorted(others)):
        return ""
    return ast.unparse(call)
