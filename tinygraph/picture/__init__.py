"""Pictures of computation graphs: graph → View → SVG, HTML, DOT, PNG, PDF, JSON.

``draw`` looks at a graph once and returns a ``Picture``. ``build`` and ``lanes`` make a View, ``model``
says what that is: ``naming`` finds the words, ``values`` writes the numbers, ``gradients`` and ``steps``
follow the traversal, ``rules`` write formulas. ``fold`` makes a View smaller. From there on it is either
``dot``, the text for Graphviz, ``engine``, which runs it, and ``svg``, which tidies up what it wrote; or
``layout`` and ``paint``, which need nothing. ``render`` chooses. ``html`` makes the interactive page, from
``export``, the View as plain data. ``theme`` holds the colours, ``checkup`` says what is installed.
"""

from ..core.graph import Graph
from .api import Picture, draw

Graph.draw = draw

__all__ = ["Picture", "draw"]
