"""What happens in which order: the forward, the seed, then the reverse traversal, contribution by contribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from .gradients import Pass
from .model import Contribution, Step

MOST = 5_000  # ops beyond which nobody steps


def backward_steps(
    found: Pass,
    places: Mapping[Tensor, str],
    ids: Mapping[Tensor, str],
    operands: Callable[[Tensor], Sequence[Tensor]],
    uses: Mapping[Tensor, int],
    show: Callable[[Any, str], str],
    say: Callable[[Tensor, Sequence[int]], str],
) -> list[Step]:
    """The reverse traversal as the engine made it, with the sum that every fan-out has reached.

    ``places`` are the ops' ids by their results, ``ids`` those of the wires; ``uses`` counts what each
    gradient is the sum of; ``show(array, sign)`` writes a gradient, ``say(t, arguments)`` a sentence.
    """
    sums: dict[Tensor, tuple[int, Any]] = {}

    def receive(x: Tensor, edge: str, part: Any) -> Contribution:
        count, before = sums.get(x, (0, None))
        with np.errstate(all="ignore"):  # as the engine adds
            total = part if before is None else before + part
        sums[x] = count + 1, total
        return Contribution(ids[x], edge, show(part, "∂"), show(total, _sign(count + 1, uses[x])))

    seeds = tuple(receive(x, "", seed) for x, seed in found.seeds.items())
    wires = tuple(c.wire for c in seeds)
    steps = [Step("seed", "", (), wires, (), seeds, "the seed: " + ", ".join(c.text for c in seeds))]
    for _, group in groupby(found.parts.items(), key=lambda item: item[0][0].node.serial):  # type: ignore[union-attr]
        visited = list(group)
        t = visited[0][0][0]
        if t not in places:  # an identity, which pictures leave out
            continue
        arguments = [(argument, part) for (_, argument), part in visited]
        given = operands(t)
        edge = f"e{places[t][2:]}"
        received = tuple(receive(given[i], f"{edge}_{i}", part) for i, part in arguments)
        heads = tuple(dict.fromkeys(c.wire for c in received))
        edges = (edge, *(c.edge for c in received))
        steps.append(Step("backward", places[t], (ids[t],), heads, edges, received, say(t, [i for i, _ in arguments])))
    return steps


def _sign(count: int, uses: int) -> str:
    """What stands before a gradient of which ``count`` of ``uses`` contributions have arrived."""
    if uses == 1:
        return "∂"
    return "∂ Σ" if count == uses else f"∂ {count}/{uses}"
