"""The syntax of DOT: how user text is escaped, how a statement is written, and how many alike are written fast.

User text reaches DOT through ``plain`` and ``cell`` only.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import lru_cache

from ..errors import MissingExtra
from .values import LABEL, clean

try:
    from graphviz import Digraph, nohtml
    from graphviz.quoting import quote
except ImportError as error:
    raise MissingExtra(
        'draw(...).dot: the Python package "graphviz" is not installed; run: pip install graphviz'
    ) from error

__all__ = ["TAB", "Attributes", "Digraph", "cell", "form", "in_quotes", "plain", "quoted", "statement"]

Attributes = dict[str, str]

TAB = "\t"

_AWKWARD = re.compile(r'[&<>"\\\n]')
_MARK = re.compile('"?\ue000([0-9])\ue001"?')


def plain(text: str, limit: int = LABEL) -> str:
    """User text as a label, tooltip or title in quotes.

    >>> print(plain("a & <b>"))
    a &amp; &lt;b&gt;
    """
    escaped = html.escape(clean(text, limit), quote=False).replace("\\", "\\\\").replace("\n", "\\n")
    marked: str = nohtml(escaped)  # last, as str.replace drops the mark
    return marked


def cell(text: str, limit: int = LABEL) -> str:
    """User text inside an HTML-like label.

    >>> print(cell('"x"'))
    &quot;x&quot;
    """
    text = clean(text, limit)
    if not _AWKWARD.search(text) and "'" not in text:  # nearly always
        return text
    return html.escape(text, quote=True).replace("\\", "\\\\").replace("\n", "<BR/>")


# The same few words come back on every line. ``typed`` tells marked text from words of ours.
_remembered = lru_cache(maxsize=1024, typed=True)(quote)


def quoted(value: str) -> str:
    """An attribute's value as it stands in the text; an HTML-like label stays as it is."""
    return value if type(value) is str and value[:1] == "<" else _remembered(value)


def statement(head: str, attributes: Attributes, indent: int = 1) -> str:
    """One line of DOT: what ``Digraph.node`` and ``Digraph.edge`` write, several times as fast."""
    listed = " ".join(f"{name}={quoted(value)}" for name, value in sorted(attributes.items()))
    return f"{TAB * indent}{head} [{listed}]\n"


def form(write: Callable[..., str], count: int) -> Callable[..., str]:
    """What makes statements that differ from ``write(*texts)`` in these ``count`` texts only, many times as fast.

    The statement is written once, with marks in their places. The texts are given as they stand in DOT.

    >>> node = form(lambda id, tooltip: statement(id, {"tooltip": plain(tooltip)}), 2)
    >>> node("v7", in_quotes("a & b")).strip()
    'v7 [tooltip="a &amp; b"]'
    """
    marked = write(*(f"\ue000{place}\ue001" for place in range(count)))  # characters for private use
    filled: Callable[..., str] = _MARK.sub(r"{\1}", marked.replace("{", "{{").replace("}", "}}")).format
    return filled


def in_quotes(text: str, limit: int = LABEL) -> str:
    """User text as a label or tooltip, as it stands in DOT: ``quoted(plain(text))``, but faster."""
    if not text:
        return '""'
    text = clean(text, limit)
    if '"' in text or "\\" in text or not (" " in text or "(" in text):  # a bare word has neither of these
        return quoted(plain(text, limit))
    escaped = html.escape(text, quote=False).replace("\n", "\\n")
    return f'"{escaped}"'
