"""Python objects as code: functions, classes, instances and values, with all that they refer to."""

from __future__ import annotations

import ast
import base64
import builtins
import enum
import functools
import inspect
import io
import keyword
import pickle
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .origins import TESTS, class_text, edits, is_library, names_in, parsed, reaches_tests, text_of
from .problem import Array, code

_MOST = 4096  # elements of an array, or bytes of a pickled object, that are written out
_HEAP = 1 << 9  # the flag of a type whose instances hold nothing but Python objects: Py_TPFLAGS_HEAPTYPE


class NoSource(Exception):
    """Something cannot be written as code; its message is what."""


class Sources:
    """Imports and definitions in one flat namespace, collected while expressions are asked for.

    ``taken``: names that the code will use for something else after the definitions.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.imports: dict[str, None] = {}
        self.lines: list[str] = []
        self.late: list[str] = []  # what refers to something whose definition was not finished
        self.names: dict[str, Any] = {"np": np, **dict.fromkeys(taken, self)}
        self.made: dict[int, str] = {}
        self.open: set[str] = set()  # names whose definition is under way
        self.spaces: dict[str, set[str]] = {}

    def fresh(self, name: str) -> str:
        """A name that is not in use."""
        name = name if name.isidentifier() and not keyword.iskeyword(name) else "value"
        free = next(n for n in (name + "_" * i for i in range(99)) if n not in self.names and not hasattr(builtins, n))
        self.names[free] = self
        return free

    def bind(self, name: str, value: Any, attributes: Iterable[str] = ()) -> bool:
        """Have the name mean the value; False where it means something else already."""
        if isinstance(value, types.ModuleType) and _to_inline(value.__name__):
            return self._space(name, value, attributes)
        if name in self.names:
            return self.names[name] is value
        self.names[name] = value
        if getattr(builtins, name, self) is value:
            return True
        text = self.imported(value, name) or self.expression(value, name)
        if text != name:
            (self.late if text in self.open else self.lines).append(f"{name} = {text}")
        return True

    def _space(self, name: str, module: types.ModuleType, attributes: Iterable[str]) -> bool:
        """A module that imports what the code must do without: an object with the attributes that are used."""
        if name not in self.names:
            self.names[name] = module
            self.imports["import types"] = None
            self.lines.append(f"{name} = types.SimpleNamespace()")
            self.spaces[name] = set()
        for attribute in attributes:
            if attribute not in self.spaces.get(name, {attribute}):
                self.spaces[name].add(attribute)
                text = self.expression(getattr(module, attribute), attribute)
                (self.late if text in self.open else self.lines).append(f"{name}.{attribute} = {text}")
        return self.names[name] is module

    # -- expressions --

    def expression(self, value: Any, name: str = "value") -> str:
        """Code of any object. Raises NoSource where there is none."""
        if id(value) in self.made:
            return self.made[id(value)]
        for write in (_literal, self._container, self.imported, self._wrapped, self._defined, self._instance):
            text: str | None = write(value, name)
            if text is not None:
                return text
        raise NoSource(f"{name}, of type {type(value).__name__}")

    def _container(self, value: Any, name: str) -> str | None:
        kind = type(value)
        if kind not in (tuple, list, set, frozenset, dict):
            return None
        if kind is dict:
            return (
                "{" + ", ".join(f"{self.expression(k)}: {self.expression(v, str(k))}" for k, v in value.items()) + "}"
            )
        inner = [self.expression(v, name) for v in value]
        if kind is tuple:
            return f"({', '.join(inner)}{',' if len(inner) == 1 else ''})"
        text = f"[{', '.join(inner)}]"
        return text if kind is list else f"{kind.__name__}({text})"

    def imported(self, value: Any, name: str) -> str | None:
        """Its name after an import, if there is a module to import it from."""
        if isinstance(value, types.ModuleType):
            return self._module(value, name)
        own = getattr(value, "__name__", None)
        if isinstance(own, str) and getattr(np, own, None) is value:
            return f"np.{own}"
        module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None) or own
        if not isinstance(path, str) or isinstance(value, types.MethodType) or hasattr(value, "adapter"):
            return None
        if isinstance(value, types.BuiltinMethodType) and isinstance(value.__self__, types.ModuleType):
            module = value.__self__.__name__
        if not isinstance(module, str) or _found(module, path) is not value:
            return None
        module = "tinygraph.testing" if _found("tinygraph.testing", path) is value else module
        if module == "builtins":
            return path
        if _to_inline(module):
            return None
        first, dot, rest = path.partition(".")
        known = first if self.names.get(first) is _found(module, first) else ""
        alias = known or (name if not dot and self.names.get(name) is value else self.fresh(first))
        self.names[alias] = _found(module, first)
        self.imports[f"from {module} import {first}" + (f" as {alias}" if alias != first else "")] = None
        self.made[id(value)] = alias + dot + rest
        return alias + dot + rest

    def _module(self, module: types.ModuleType, name: str) -> str:
        full = module.__name__
        if module is np and self.names.get(name) is not np:
            return "np"
        if _to_inline(full):
            raise NoSource(f"the module {full}")
        if self.names.get(name) is not module:
            name = self.fresh(full.rpartition(".")[2])
            self.names[name] = module
        self.imports[f"import {full}" + (f" as {name}" if name != full else "")] = None
        return name

    def _wrapped(self, value: Any, name: str) -> str | None:
        """Adapted kernels, partial functions, methods, and what decorators of other libraries make."""
        kind = type(value)
        if adapter := vars(value).get("adapter") if inspect.isfunction(value) else None:
            self.imports[f"from tinygraph.testing import {adapter}"] = None
            return f"{adapter}({self.expression(value.__wrapped__, name)})"
        if kind is functools.partial:
            self.imports["import functools"] = None
            more = [self.expression(a) for a in value.args]
            more += [f"{k}={self.expression(v, k)}" for k, v in value.keywords.items()]
            return f"functools.partial({', '.join([self.expression(value.func, name), *more])})"
        if kind is types.MethodType or (kind is types.BuiltinMethodType and value.__self__ is not None):
            if getattr(value.__self__, value.__name__, None) != value:
                raise NoSource(f"the method {value.__name__}")
            return f"{self.expression(value.__self__)}.{value.__name__}"
        if kind is functools._lru_cache_wrapper:
            self.imports["import functools"] = None
            given = self._container(value.cache_parameters(), name)
            return f"functools.lru_cache(**{given})({self.expression(value.__wrapped__, name)})"
        if kind.__module__.startswith("numba.") and hasattr(value, "py_func"):
            self.imports["import numba"] = None
            return f"numba.jit(**{self._container(value.targetoptions, name)})({self.expression(value.py_func, name)})"
        if isinstance(value, enum.Enum):
            return f"{self.expression(kind)}[{value.name!r}]"
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return f"{self.expression(kind)}(*{self._container(tuple(value), name)})"
        return None

    # -- definitions --

    def _defined(self, value: Any, name: str) -> str | None:
        """A function or a class from its source, its names defined before it."""
        if inspect.isfunction(value):
            return self._function(value, name)
        if not inspect.isclass(value):
            return None
        text = class_text(value)
        if text is None:
            raise NoSource(f"the class {value.__name__}")
        methods = [getattr(m, "__func__", m) for m in vars(value).values()]
        scope = {**vars(sys.modules.get(value.__module__, builtins)), **{b.__name__: b for b in value.__mro__[1:]}}
        for method in filter(inspect.isfunction, methods):
            scope |= scope_of(method)
        compiled = compile(parsed(text), "<class>", "exec", dont_inherit=True)
        return self._define(value, value.__name__, edits(text), names_in(compiled), scope)

    def _function(self, fn: types.FunctionType, name: str) -> str:
        text = text_of(fn.__code__)
        if text is None:
            raise NoSource(f"the function {fn.__qualname__ if '<lambda>' not in fn.__qualname__ else name}")
        simple = (fn.__defaults__ or (), fn.__kwdefaults__ or {})
        text = edits(text, lambda parameter, v: self.expression(v, parameter), *simple)
        scope, needed = scope_of(fn), names_in(fn.__code__)
        if "<lambda>" not in fn.__code__.co_name:
            return self._define(fn, fn.__code__.co_name, text, needed, scope)
        others = self._needs(text, needed, scope)
        if not others:
            return text
        return f"(lambda {', '.join(others)}: {text})({', '.join(others.values())})"

    def _define(self, value: Any, own: str, text: str, needed: Iterable[str], scope: Mapping[str, Any]) -> str:
        """Write the definition; inside a function of the names that mean something else outside."""
        free = own not in self.names or self.names[own] is value
        name = own if free else self.fresh(own)
        self.names[name] = value
        self.made[id(value)] = name
        self.open.add(name)
        others = self._needs(text, needed, scope, own if not free and scope.get(own) is value else "")
        if free and not others:
            self.lines += text.splitlines()
        else:
            maker = self.fresh(f"make_{own}")
            self.lines += [f"def {maker}({', '.join(others)}):", *textwrap.indent(text, "    ").splitlines()]
            self.lines += [f"    return {own}", f"{name} = {maker}({', '.join(others.values())})"]
        self.open.discard(name)
        return name

    def _needs(self, text: str, needed: Iterable[str], scope: Mapping[str, Any], itself: str = "") -> dict[str, str]:
        """Bind the names that a source refers to; those that cannot be, with their code."""
        attributes = _attributes(text)
        others = {}
        for n in needed:
            value = scope.get(n, getattr(builtins, n, self))
            if n == itself or value is self or self.bind(n, value, attributes.get(n, ())):
                continue
            others[n] = n if getattr(builtins, n, self) is value else self.expression(value, n)
            if others[n] in self.open:
                raise NoSource(f"{n}, which refers to itself")
        return others

    # -- instances --

    def _instance(self, value: Any, name: str) -> str | None:
        kind = type(value)
        if not all(c is object or c.__flags__ & _HEAP for c in kind.__mro__) or is_library(kind.__module__):
            return self._pickled(value)
        made = self.expression(kind)
        variable = self.made[id(value)] = self.fresh(name if name != "value" else kind.__name__.lower())
        self.names[variable] = value
        self.lines.append(f"{variable} = object.__new__({made})")
        if state := getattr(value, "__dict__", None):
            text = self._container(dict(state), variable)
            self.lines.append(f"vars({variable}).update({text})")
        slots = [s for c in kind.__mro__ for s in _strings(vars(c).get("__slots__", ())) if s != "__dict__"]
        for slot in (s for s in slots if hasattr(value, s)):
            self.lines.append(
                f"object.__setattr__({variable}, {slot!r}, {self.expression(getattr(value, slot), slot)})"
            )
        return variable

    def _pickled(self, value: Any) -> str | None:
        raw = io.BytesIO()
        try:
            _Pickler(raw).dump(value)
        except Exception:  # whatever its methods raise, it cannot be pickled
            return None
        if len(raw.getvalue()) > _MOST:
            return None
        self.imports["import base64"] = self.imports["import pickle"] = None
        return f"pickle.loads(base64.b85decode({base64.b85encode(raw.getvalue()).decode()!r}))"


class _Pickler(pickle.Pickler):
    """Refuses what cannot be loaded without tinygraph, or without a module that is written out."""

    def reducer_override(self, value: Any) -> Any:
        module = getattr(value, "__module__", None)
        if isinstance(module, str) and (module.partition(".")[0] in TESTS or _to_inline(module)):
            raise pickle.PicklingError(module)
        return NotImplemented


def _literal(value: Any, name: str) -> str | None:
    if value is None or value is ... or type(value) in (bool, int, str, bytes, complex, slice, range):
        return repr(value)
    if type(value) is float:
        return code(np.array(value)).removeprefix("np.array(").removesuffix(")")
    if type(value) is np.ndarray and value.dtype != object:
        return _short(value, name)
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return f"{code(np.array(value))}[()]"
    return f"np.dtype({value.str!r})" if isinstance(value, np.dtype) and value.names is None else None


def _short(a: Array, name: str) -> str:
    if a.size > _MOST:
        raise NoSource(f"{name}, an array of {a.size} elements")
    return code(a)


def _strings(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _found(module: str, path: str) -> Any:
    """What stands under a name in a module that has been imported."""
    value: Any = sys.modules.get(module)
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _to_inline(module: str) -> bool:
    return module in ("__main__", "__mp_main__") or (not is_library(module) and reaches_tests(module))


def scope_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Globals and the variables of enclosing functions, as far as they have a value."""
    cells = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)
    found = dict(fn.__globals__)
    for name, cell in cells:
        try:
            found[name] = cell.cell_contents
        except ValueError:
            found.pop(name, None)
    return found


def _attributes(text: str) -> dict[str, list[str]]:
    """The attributes of each name that a source asks for."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.setdefault(node.value.id, []).append(node.attr)
    return found
