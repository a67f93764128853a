"""The interactive page: one HTML file with the picture, its data and a viewer, which needs nothing else."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib import resources

from .export import record
from .model import View
from .theme import DARK, LIGHT

# Attributes that run code are ruled out on top: names in a picture are user text.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "script-src-attr 'none'; base-uri 'none'; form-action 'none'"
)

_UNSAFE = re.compile("[<>&\u2028\u2029]")
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def page(view: View, drawing: str, theme: str) -> str:
    """The page that shows ``drawing``, an SVG with role classes, and steps through ``view``.

    ``theme`` is that of the first look: "light", "dark", or "auto", the reader's own.

    >>> import tinygraph as tg
    >>> view = tg.draw(tg.exp(tg.tensor(2.0)), title="<b>").view
    >>> text = page(view, '<svg viewBox="0 0 9 9"/>', "auto")
    >>> text.startswith("<!DOCTYPE html>"), "<title>&lt;b&gt;</title>" in text, "https:" in text
    (True, True, False)
    """
    values = {
        "title": html.escape(view.title or "tinygraph"),
        "theme": theme,
        "policy": POLICY,
        "light": _variables(LIGHT),
        "dark": _variables(DARK),
        "roles": "".join(f".tg-f-{role}{{fill:var(--{role})}}.tg-s-{role}{{stroke:var(--{role})}}" for role in LIGHT),
        "picture": drawing,
        "data": _embedded(record(view)),
    }
    template = resources.files(__package__).joinpath("viewer.html").read_text(encoding="utf-8")
    return _PLACE.sub(lambda place: values[place[1]], template)  # in one pass: user text is no template


def frame(page: str, height: int) -> str:
    """The page inside another one, as a notebook needs it: in a sandbox, ``height`` pixels high.

    >>> print(frame("<p>", 520))
    <iframe sandbox="allow-scripts" srcdoc="&lt;p&gt;" title="tinygraph" style="width:100%;height:520px;border:0"></iframe>
    """
    style = f"width:100%;height:{height}px;border:0"
    return f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(page)}" title="tinygraph" style="{style}"></iframe>'


def _variables(colors: Mapping[str, str]) -> str:
    return ";".join(f"--{role}:{color}" for role, color in colors.items())


def _embedded(data: object) -> str:
    """JSON that may stand in a script element: nothing in it can end that, or a line of JavaScript."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
