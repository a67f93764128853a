"""Pictures of computation graphs: graph → view → DOT → SVG, PNG, PDF.

``draw`` looks at a graph once and returns a ``Picture``. ``model`` says what is drawn, ``values`` and
``naming`` in which words, ``gradients`` with which numbers; ``theme`` holds the colours, ``dot`` writes
the text for Graphviz, ``engine`` runs it, ``svg`` tidies up what it wrote.
"""

from ..core.graph import Graph
from .api import Picture, draw

Graph.draw = draw

__all__ = ["Picture", "draw"]
