"""Which rank each node stands in: the first question of the built-in layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..model import Edge, Op, View, Wire


@dataclass(frozen=True, slots=True)
class Link:
    """An edge between two nodes (their places in ``View.nodes``) as it lies on the page.

    ``left`` comes before ``right`` in the order of ranks; ``flipped`` if time runs the other way.
    ``span`` is the least number of ranks between them.
    """

    edge: Edge
    left: int
    right: int
    flipped: bool
    span: int


def links(view: View) -> list[Link]:
    places = {node.id: place for place, node in enumerate(view.nodes)}
    found = []
    for edge in view.edges:
        tail, head = places[edge.tail], places[edge.head]
        left, right = (head, tail) if edge.backward else (tail, head)
        found.append(Link(edge, left, right, edge.backward, 2 if edge.label else 1))
    return found


def ranks(view: View, edges: Sequence[Link]) -> list[int]:
    """The rank of each node: as far left as its inputs let it, and what has none next to its user.

    Nodes of ``View.under`` share a rank. Edges that are loose, or that would close a circle, order nothing.
    """
    bodies = _bodies(view)
    after: list[dict[int, int]] = [{} for _ in view.nodes]
    before: list[set[int]] = [set() for _ in view.nodes]
    for link in edges:
        left, right = bodies[link.left], bodies[link.right]
        if not link.edge.loose and left != right:
            after[left][right] = max(after[left].get(right, 0), link.span)
            before[right].add(left)
    if view.rankdir == "TB" or any(box.parent is not None for box in view.boxes if box.kind == "scope"):
        _step_down(view, edges, after, before)
    order = _order(bodies, after, before)
    found = _longest(order, after)
    _tighten(view, edges, order, after, before, found)
    placed = [found[body] for body in bodies]
    _outputs_last(view, edges, placed)
    return placed


def _step_down(view: View, edges: Sequence[Link], after: Sequence[dict[int, int]], before: Sequence[set[int]]) -> None:
    """What enters a box stands above all of it, its parameters too: boxes that follow each other share no rank.

    From left to right that costs width, of which a page has little: only boxes in boxes are worth it, as
    they would be empty for the most part. From top to bottom it saves width.
    """
    uses = Counter(link.left for link in edges)
    leaves = {place for place, them in enumerate(before) if not them}
    operands: dict[int, list[int]] = {}
    for link in edges:
        operands.setdefault(link.right, []).append(link.left)
    for link in edges:
        box, outer = view.nodes[link.right].box, view.nodes[link.left].box
        if link.edge.loose or box is None or _holds(view, box, outer):
            continue
        for leaf in operands[link.right]:
            if leaf in leaves and uses[leaf] == 1 and view.nodes[leaf].box == box:
                after[link.left][leaf] = 1
                before[leaf].add(link.left)


def _holds(view: View, box: int, inner: int | None) -> bool:
    while inner is not None and inner != box:
        inner = view.boxes[inner].parent
    return inner == box


def _bodies(view: View) -> list[int]:
    """For each node the one whose rank it shares: itself, or the wire above it."""
    bodies = list(range(len(view.nodes)))
    places = {node.id: place for place, node in enumerate(view.nodes)}
    for above, below in view.under:
        body, other = bodies[places[above]], bodies[places[below]]
        if body != other:
            bodies[places[below]] = body
    return bodies


def _order(bodies: Sequence[int], after: list[dict[int, int]], before: list[set[int]]) -> list[int]:
    """A topological order. Where there is a circle, its first node gives up what it waits for."""
    waiting = [len(them) for them in before]
    done = [body != place for place, body in enumerate(bodies)]
    ready = [place for place, count in enumerate(waiting) if not count and not done[place]]
    order: list[int] = []
    first = 0
    while True:
        while ready:
            place = ready.pop()
            if done[place]:
                continue
            done[place] = True
            order.append(place)
            for other in after[place]:
                waiting[other] -= 1
                if not waiting[other]:
                    ready.append(other)
        while first < len(done) and done[first]:
            first += 1
        if first == len(done):
            break
        for other in before[first]:
            if not done[other]:
                after[other].pop(first, None)
        before[first] = {other for other in before[first] if done[other]}
        waiting[first] = 0
        ready.append(first)
    return order


def _longest(order: Sequence[int], after: Sequence[dict[int, int]]) -> list[int]:
    found = [0] * len(after)
    for place in order:
        for other, span in after[place].items():
            found[other] = max(found[other], found[place] + span)
    return found


def _tighten(
    view: View,
    edges: Sequence[Link],
    order: Sequence[int],
    after: Sequence[dict[int, int]],
    before: Sequence[set[int]],
    found: list[int],
) -> None:
    """Pull right what is better there: what hangs on nothing else, and ops that stand away from their results.

    In a backward lane results are on the left: an op moves with its result, unless that has a forward wire above.
    """
    held = {above for above, _ in view.under}
    leaves = set(order).difference(link.right for link in edges)
    free = [False] * len(after)
    for place in order:
        free[place] = all(free[other] and len(after[other]) == 1 for other in before[place])
    ghosts = _ghosts(view, order, after)
    for place in reversed(order):
        node = view.nodes[place]
        if place in ghosts:
            continue
        if node.backward:
            moves = all(not before[other] or view.nodes[other].id not in held for other in before[place])
        else:
            moves = free[place] or place in leaves or isinstance(node, Op)
        limits = [found[other] - span for other, span in after[place].items() if other not in ghosts]
        if moves and limits:
            found[place] = min(limits)
    for place in order:
        if place in ghosts and before[place]:
            found[place] = max(found[other] + after[other][place] for other in before[place])


def _ghosts(view: View, order: Sequence[int], after: Sequence[dict[int, int]]) -> set[int]:
    """What a backward computes from nothing but saved Tensors and constants: it stands right of its user."""
    found: set[int] = set()
    for place in reversed(order):
        node = view.nodes[place]
        pill = isinstance(node, Wire) and node.role in ("constant", "saved")
        if node.backward and (pill or after[place]) and all(other in found for other in after[place]):
            found.add(place)
    return found


def _outputs_last(view: View, edges: Sequence[Link], placed: list[int]) -> None:
    """An output that nothing uses stands behind the boxes that its op is in, not above or below them."""
    if view.under:  # it stands over its gradient already
        return
    ends = last_ranks(view, placed)
    used = {link.left for link in edges}
    for link in edges:
        node = view.nodes[link.right]
        if link.flipped or link.right in used or not isinstance(node, Wire) or link.edge.role != "result":
            continue
        box, stop = view.nodes[link.left].box, node.box
        while box is not None and view.boxes[box].kind == "scope" and box != stop:
            placed[link.right] = max(placed[link.right], ends[box] + 1)
            box = view.boxes[box].parent


def last_ranks(view: View, placed: Sequence[int]) -> list[int]:
    """The last rank inside each box; −1 for an empty one."""
    ends = [-1] * len(view.boxes)
    for place, node in enumerate(view.nodes):
        box = node.box
        while box is not None and ends[box] < placed[place]:
            ends[box] = placed[place]
            box = view.boxes[box].parent
    return ends


def box_spans(view: View, placed: Sequence[int]) -> list[tuple[int, int]]:
    """The first and last rank inside each box; (0, −1) for an empty one."""
    top = max(placed, default=0)
    lasts, firsts = last_ranks(view, placed), last_ranks(view, [top - rank for rank in placed])
    spans = [(top - first, last) if last >= 0 else (0, -1) for first, last in zip(firsts, lasts, strict=True)]
    if view.mode == "lanes":  # lanes are equally long
        lanes = [i for i, box in enumerate(view.boxes) if box.kind != "scope" and spans[i][1] >= 0]
        for i in lanes:
            spans[i] = min(spans[j][0] for j in lanes), max(spans[j][1] for j in lanes)
    return spans
