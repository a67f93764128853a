"""Where code comes from: the source of one function, lambda or class, and what a module imports."""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# What a reproduction does without; a module that imports one of these is written out, not imported.
TESTS = ("tinygraph", "hypothesis", "pytest", "_pytest")


def is_library(module: str) -> bool:
    """Whether a module is Python's own, an installed one, or of tinygraph: nothing of the user's."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in TESTS:
        return True
    file = str(getattr(sys.modules.get(module), "__file__", None) or "")
    return "site-packages" in file or "dist-packages" in file


def reaches_tests(module: str) -> bool:
    """Whether a module, or one of the user's that it imports, imports tinygraph or a package for tests."""
    ahead, seen = [module], {module}
    while ahead:
        for value in list(vars(sys.modules.get(ahead.pop(), types)).values()):
            other = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            if not isinstance(other, str) or other in seen or other not in sys.modules:
                continue
            if other.partition(".")[0] in TESTS:
                return True
            seen.add(other)
            if not is_library(other):
                ahead.append(other)
    return False


@functools.lru_cache(64)
def parsed(text: str) -> ast.Module:
    """The syntax tree of a source."""
    return ast.parse(text)


def text_of(compiled: types.CodeType) -> str | None:
    """The source of a function, without decorators, or of a lambda, in parentheses; None where there is none."""
    try:
        whole = _file_of(compiled)
        nodes = ast.walk(parsed(whole))
    except (OSError, TypeError, SyntaxError):
        return None
    if compiled.co_name != "<lambda>":
        for node in nodes:
            if (
                isinstance(node, ast.FunctionDef)
                and node.name == compiled.co_name
                and _begin(node) == compiled.co_firstlineno
            ):
                return _lines(whole, node)
        return None
    same = [n for n in nodes if isinstance(n, ast.Lambda) and _may_be(n, compiled)]
    found = min(same, key=lambda n: len(ast.unparse(n)), default=None)
    if found is None or (len(same) > 1 and not _spans(compiled)):
        return None
    return f"({ast.get_source_segment(whole, found)})"


def _file_of(compiled: types.CodeType) -> str:
    """The file with these lines in it; where that is not all Python, a page of text say, these lines alone."""
    whole = "".join(inspect.findsource(compiled)[0])
    try:
        parsed(whole)
    except SyntaxError:
        return "\n" * (compiled.co_firstlineno - 1) + textwrap.dedent(inspect.getsource(compiled))
    return whole


def _begin(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _lines(whole: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    lines = whole.split("\n")[node.lineno - 1 : node.end_lineno]
    last = lines[-1].encode()
    if not last[node.end_col_offset :].lstrip().startswith(b"#"):  # another statement after a semicolon
        lines[-1] = last[: node.end_col_offset].decode()
    return textwrap.dedent("\n".join(lines))


def _spans(compiled: types.CodeType) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where its instructions stand, from (line, column) to (line, column)."""
    found = []
    for line, last, column, end in compiled.co_positions():
        if (
            line is not None
            and last is not None
            and column is not None
            and end is not None
            and (line, column) != (last, end)
        ):
            found.append(((line, column), (last, end)))
    return found


def _may_be(node: ast.Lambda, compiled: types.CodeType) -> bool:
    """Whether a lambda has these arguments, begins on this line and holds all these instructions."""
    a = node.args
    names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    count = compiled.co_argcount + compiled.co_kwonlyargcount
    body = node.body
    begin, end = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
    return (
        node.lineno == compiled.co_firstlineno
        and names == list(compiled.co_varnames[:count])
        and all(begin <= first and last <= end for first, last in _inner(_spans(compiled), node))
    )


def _inner(
    spans: Sequence[tuple[tuple[int, int], tuple[int, int]]], node: ast.Lambda
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Without the instructions that stand for the lambda as a whole: they make its cells."""
    whole = ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
    return (s for s in spans if s != whole)


def class_text(cls: type) -> str | None:
    """The source of a class, with its decorators."""
    try:
        text = textwrap.dedent(inspect.getsource(cls))
        parsed(text)
    except (OSError, TypeError, SyntaxError):
        return None
    return text


def names_in(compiled: types.CodeType) -> list[str]:
    """The global names that code refers to, functions inside included, and those of enclosing functions."""
    loaded = [i.argval for i in dis.get_instructions(compiled) if "GLOBAL" in i.opname or i.opname == "LOAD_NAME"]
    inner = [n for c in compiled.co_consts if inspect.iscode(c) for n in names_in(c) if n not in c.co_freevars]
    every = [*loaded, *compiled.co_freevars, *inner]
    return list(dict.fromkeys(n for n in every if not (n.startswith("__") and n.endswith("__"))))


# -- changes of a source --------------------------------------------------------------------------------


def edits(
    text: str, write: Callable[[str, Any], str] | None = None, positional: Sequence[Any] = (), named: Mapping[str, Any] | None = None
) -> str:  # fmt: skip
    """A source without the annotations of functions, which mean nothing when it runs.

    Of the function itself, defaults that are no constants are written anew, from the values they have.
    """
    tree = parsed(text)
    first: Any = tree.body[0]
    first = first.value if isinstance(first, ast.Expr) else first
    changes = [c for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for c in _annotations(text, node)]
    if write is not None:
        a = first.args
        defaults = zip([*a.posonlyargs, *a.args][::-1], a.defaults[::-1], positional[::-1], strict=False)
        pairs = [(p.arg, node, value) for p, node, value in defaults]
        pairs += [
            (p.arg, d, (named or {})[p.arg]) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True) if d is not None
        ]
        for name, node, value in pairs:
            if any(isinstance(n, (ast.Name, ast.Call, ast.Lambda)) for n in ast.walk(node)):
                changes.append((_offset(text, node.lineno, node.col_offset), _end(text, node), write(name, value)))
    raw = text.encode()
    for start, end, new in sorted(changes, reverse=True):
        raw = raw[:start] + new.encode() + raw[end:]
    return raw.decode()


def _annotations(text: str, node: ast.FunctionDef) -> Iterator[tuple[int, int, str]]:
    a = node.args
    for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg):
        if p is not None and p.annotation is not None:
            yield _offset(text, p.lineno, p.col_offset) + len(p.arg.encode()), _end(text, p), ""
    if node.returns is not None:
        raw, start = text.encode(), _offset(text, node.returns.lineno, node.returns.col_offset)
        arrow = raw.rindex(b"->", 0, start)
        yield len(raw[:arrow].rstrip()), raw.index(b":", _end(text, node.returns)), ""


def _offset(text: str, line: int, column: int) -> int:
    """The byte at a place that the syntax tree names."""
    return sum(len(part) + 1 for part in text.encode().split(b"\n")[: line - 1]) + column


def _end(text: str, node: Any) -> int:
    return _offset(text, node.end_lineno, node.end_col_offset)
