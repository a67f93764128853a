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
    """Hypothesis's explain phase follows every line that a test runs, five times as slowly; the doctor explains better.

    Only its own tracer is put aside, none of a debugger or of a coverage tool.
    """
    tracer = sys.gettrace()
    if not type(getattr(tracer, "__self__", None)).__module__.startswith("hypothesis."):
        tracer = None
    monitoring = getattr(sys, "monitoring", None)
    tools = [i for i in range(6) if monitoring.get_tool(i) == "scrutineer"] if monitoring is not None else []
    events = {i: monitoring.get_events(i) for i in tools}
    if tracer is not None:
        sys.settrace(None)
    for i in tools:
        monitoring.set_events(i, 0)
    try:
        yield
    finally:
        if tracer is not None:
            sys.settrace(tracer)
        for i, before in events.items():
            monitoring.set_events(i, before)
