"""Graph → View in any mode, and the words that choose it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.graph import Graph
from ..core.tensor import Tensor
from . import build, lanes, theme, values
from .fold import fold
from .model import MODES, Options, View
from .words import ChoiceError, choose

__all__ = ["ENGINES", "MODES", "RANKDIRS", "Options", "check", "look"]

RANKDIRS = ("auto", "LR", "TB")
ENGINES = ("auto", "dot", "pygraphviz", "builtin")


def look(graph: Graph, outputs: Sequence[Tensor], options: Options) -> View:
    """The View of a graph: built, and folded where that is asked for or needed."""
    builder = lanes.view if options.mode in ("lanes", "backward") else build.view
    seen = builder(graph, outputs, options)
    return lanes.flat(fold(seen, options.collapse, options.max_nodes, auto=options.rankdir == "auto"))


def check(call: str, options: Options, look: str, engine: str, timeout: float) -> None:
    """Raise a ChoiceError, which lists what there is, for an unknown word or a number out of range."""
    choose(call, "mode", options.mode, MODES)
    choose(call, "rankdir", options.rankdir, RANKDIRS)
    choose(call, "values", options.values, values.MODES)
    choose(call, "theme", look, theme.THEMES)
    choose(call, "engine", engine, ENGINES)
    precision, names = options.precision, options.names
    if not isinstance(precision, int) or not 0 <= precision <= 15:
        raise ChoiceError(f"{call}(precision={precision!r}): decimals are a whole number; give one from 0 to 15")
    if not isinstance(timeout, (int, float)) or not timeout > 0:
        raise ChoiceError(f"{call}(timeout={timeout!r}): a time limit is a number of seconds; give one above 0")
    if names is not None and not isinstance(names, Mapping):
        raise ChoiceError(f"{call}(names={type(names).__name__}): names map to Tensors; give a dict, e.g. locals()")
