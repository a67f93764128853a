"""Optional packages, imported where they are used, and what Hypothesis does around a test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import MissingExtra


def need(module: str, extra: str, what: str) -> Any:
    """The module, or an error that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f'{what}: needs the package {module.partition(".")[0]}; install it with: pip install "tinygraph[{extra}]"'
        ) from error


@contextmanager
def unwatched() -> Iterator[None]:
    """Put Hypothesis's own tracer aside for a while, none of a debugger or of a coverage tool.

    Its explain phase follows every line that a test runs, five times as slowly; the doctor explains better.
    """
    tracer, monitoring = sys.gettrace(), getattr(sys, "monitoring", None)
    traced = type(getattr(tracer, "__self__", None)).__module__.startswith("hypothesis.")
    tools = range(6) if monitoring is not None else ()
    events = {i: monitoring.get_events(i) for i in tools if monitoring.get_tool(i) == "scrutineer"}  # type: ignore[union-attr]
    if traced:
        sys.settrace(None)
    for i in events:
        monitoring.set_events(i, 0)  # type: ignore[union-attr]
    try:
        yield
    finally:
        if traced:
            sys.settrace(tracer)
        for i, before in events.items():
            monitoring.set_events(i, before)  # type: ignore[union-attr]
