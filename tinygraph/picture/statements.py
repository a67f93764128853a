"""The syntax of DOT: how user text is escaped, how a statement is written, and how many alike are written fast.

User text reaches DOT through ``plain`` and ``cell`` only.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from ..errors import MissingExtra
from .values import LABEL, clean

try:
    from graphviz import Digraph as Digraph
    from graphviz import nohtml
    from graphviz.quoting import quote
except ImportError as error:
    raise MissingExtra(
        'draw(...).dot: the Python package "graphviz" is not installed; run: pip install graphviz'
    ) from error

Attributes = dict[str, str]

TAB = "\t"

_AWKWARD = re.compile(r'[&<>"\\\n]')
_MARK = re.compile('mark([0-9])mark|"?([\ue000-\ue00f])"?')


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


class Forms:
    """Statements that differ in a few texts only: written once with marks, then filled in.

    A mark is an identifier where DOT wants one, else a character for private use. ``write`` makes the
    statement of a stand-in whose texts are the marks, by the one function that makes all statements.

    >>> forms = Forms()
    >>> def write(marks):
    ...     return statement(marks[0], {"tooltip": plain(marks[1])})
    >>> forms.fill("node", write, ["v7"], ["a & b"], [], 1000).strip()
    'v7 [tooltip="a &amp; b"]'
    """

    def __init__(self) -> None:
        self._known: dict[Any, tuple[str, Callable[[Sequence[str]], Any]]] = {}

    def fill(
        self, key: Any, write: Callable[[Sequence[str]], str], ids: Sequence[str], labels: Sequence[str],
        cells: Sequence[str], limit: int,
    ) -> str:  # fmt: skip
        """The statement of kind ``key`` with these ids, texts in quotes, and texts in HTML-like labels."""
        known = self._known.get(key)
        if known is None:
            marks = [f"mark{i}mark" for i in range(len(ids))]
            signs = [chr(0xE000 + i) for i in range(len(labels) + len(cells))]
            known = self._known[key] = _form(write([*marks, *signs]), len(ids))
        form, arrange = known
        texts = [*ids, *[_quote(text, limit) for text in labels], *[cell(text, limit) for text in cells]]
        filled: str = form % arrange(texts)
        return filled


def _form(text: str, ids: int) -> tuple[str, Callable[[Sequence[str]], Any]]:
    """A format string in place of the marks, and what puts the texts into their order."""
    places = [int(mark[1]) if mark[1] else ids + ord(mark[2]) - 0xE000 for mark in _MARK.finditer(text)]
    return _MARK.sub("%s", text.replace("%", "%%")), itemgetter(*places)


def _quote(text: str, limit: int) -> str:
    if " " in text and len(text) <= limit and text.isprintable() and not _AWKWARD.search(text):
        return f'"{text}"'
    return str(quote(plain(text, limit)))
