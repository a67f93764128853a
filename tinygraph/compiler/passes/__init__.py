"""What makes a graph cheaper, one small pass after the other, and the graph after each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...core.graph import Graph
from . import algebra, centred, collect, common, dead, factors, folding, kept, strong, transposed

__all__ = ["PASSES", "Pass", "Stage", "optimise"]


@dataclass(frozen=True, slots=True)
class Pass:
    """A function from graph to graph; it returns the graph itself where there is nothing to do.

    ``exact`` says that every bit of the results is kept, but for the sign of a nan, and for sums of what was made of
    a transposed array: NumPy adds in the order of memory, in which an op that is left out had a say. The others
    keep the value where all eager values are finite, but for rounding.
    """

    name: str
    run: Callable[[Graph], Graph]
    exact: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """The graph as a pass left it; that of the first stage is the traced one."""

    name: str
    graph: Graph


PASSES = (
    Pass("algebra", algebra.run, exact=True),
    Pass("kept", kept.run, exact=True),
    Pass("folding", folding.run, exact=True),
    Pass("dead", dead.run, exact=True),
    Pass("common", common.run, exact=True),
    Pass("transposed", transposed.run, exact=False),
    Pass("strong", strong.run, exact=False),
    Pass("centred", centred.run, exact=False),
    Pass("factors", factors.run, exact=False),
    Pass("collect", collect.run, exact=False),
)
ROUNDS = 4  # the derived backward of BatchNorm needs two


def optimise(graph: Graph, exact: bool = False) -> list[Stage]:
    """All passes in turn until none finds anything: the traced graph, and a stage for each pass that changed it.

    With ``exact`` only the passes that keep every bit.
    """
    stages = [Stage("trace", graph)]
    chosen = [each for each in PASSES if each.exact or not exact]
    settled: dict[str, Graph] = {}
    for each in chosen * ROUNDS:
        if settled.get(each.name) is graph:
            continue
        after = each.run(graph)
        if after is graph:
            settled[each.name] = graph
        else:
            stages.append(Stage(each.name, after))
            graph = after
    return stages
