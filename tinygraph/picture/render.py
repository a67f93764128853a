"""View → drawing: the first engine that can, else the built-in layout and painter, which always can."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from ..errors import GraphvizError, GraphvizNotFound, MissingExtra, RenderTimeout
from . import engine as engines
from . import svg, theme
from .model import View

BUILTIN = "builtin"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture as SVG, and what drew it: ``dot 2.43.0``, or ``builtin`` and why."""

    root: ET.Element
    engine: str

    def text(self, look: str, prefix: str = "", classes: bool = False) -> str:
        """The SVG in a theme; see ``svg.finish``."""
        return svg.finish(copy.deepcopy(self.root), look, prefix, classes)


def draw(view: View, choice: str, look: str, timeout: float) -> Drawing:
    """The picture as SVG. Never fails for want of an engine, or because one fails.

    >>> import tinygraph as tg
    >>> drawing = draw(tg.draw(tg.exp(tg.tensor(2.0))).view, "builtin", "light", 30.0)
    >>> drawing.engine, drawing.root.tag
    ('builtin', 'svg')
    """
    problem = ""
    if choice != BUILTIN:
        try:
            found = engines.find(choice, "draw the SVG", "svg")
            drawn = engines.render(found, dot_text(view, look), "svg", timeout=timeout)
            return Drawing(svg.tidy(drawn.decode("utf-8", "replace"), view.rankdir), found.version)
        except (GraphvizNotFound, MissingExtra):
            pass
        except RenderTimeout:
            problem = f" (the engine took longer than {timeout:g} s)"
        except GraphvizError as error:
            problem = f" ({str(error).partition(': ')[2].partition(';')[0]})"
    from .paint import paint  # noqa: PLC0415 -- most pictures are Graphviz'

    return Drawing(paint(view, theme.palette(look)), BUILTIN + problem)


def dot_text(view: View, look: str) -> str:
    """The picture in the language of Graphviz.

    Raises: MissingExtra if the Python package ``graphviz`` is not installed.
    """
    from .dot import digraph  # noqa: PLC0415 -- needs the package graphviz

    return str(digraph(view, theme.palette(look)).source)


def image(
    view: View, choice: str, look: str, timeout: float, *, task: str, format: str, stem: str, dpi: int | None = None
) -> bytes:
    """The picture as PNG or PDF. Raises: GraphvizNotFound, GraphvizError, RenderTimeout, MissingExtra."""
    if choice == BUILTIN:
        raise GraphvizNotFound(
            f"draw(engine='builtin'): cannot {task}, the built-in layout paints SVG and HTML; "
            f"save '{stem}.svg' or '{stem}.html', or choose engine='auto'"
        )
    found = engines.find(choice, task, format, stem)
    return engines.render(found, dot_text(view, look), format, dpi=dpi, timeout=timeout)


def likely(choice: str) -> str:
    """The engine that would draw: its version, or ``builtin``."""
    found = None if choice == BUILTIN else engines.available(choice)
    return BUILTIN if found is None else found.version
