"""View → View: folds scopes, and where these do not suffice chains of ops, into one box each."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from ..errors import GraphFoldedWarning, GraphTooLarge
from .folding import Folding, Group, counted, number, said, same_paths
from .model import Box, Item, Op, View, Wire
from .values import clean
from .words import ChoiceError

Collapse = bool | int | Sequence[str] | None

_LISTED = 20  # scopes that an error names
_PACKAGE = "tinygraph."
_LEAVES = ("parameter", "constant", "saved")  # they go into a chain with their only user


def fold(view: View, collapse: Collapse = None, max_nodes: int | None = 400, auto: bool = False) -> View:
    """The View with scopes folded as asked, and with as many more as it takes to have ``max_nodes`` nodes.

    ``collapse`` is True (all scopes), a depth (scopes nested deeper than that), patterns over the scopes'
    paths (``["variance", "layer1/*"]``), False (never fold), or None: fold only if the View is too large,
    the deepest scopes first, then chains of ops whose results are used once. That is said by a
    GraphFoldedWarning. ``auto`` chooses the direction again, for what is left.

    Raises: ValueError for a pattern without a scope; GraphTooLarge if folding does not suffice.

    >>> import tinygraph as tg
    >>> x = tg.tensor(3.0, requires_grad=True, name="x")
    >>> with tg.scope("square root"):
    ...     y = tg.sqrt(tg.abs(x))
    >>> folded = fold(tg.draw(y, title="root").view, collapse=True)
    >>> folded.title, [(node.id, node.caption) for node in folded.nodes]
    ('root · 1 scope folded (3 nodes)', [('v1', 'input ()'), ('scope_1', '2 ops · 3 nodes'), ('v3', 'output ()')])
    """
    if max_nodes is not None and (not isinstance(max_nodes, int) or isinstance(max_nodes, bool) or max_nodes < 1):
        raise ChoiceError(f"draw(max_nodes={max_nodes!r}): a limit is a whole number; give one from 1 on, or None")
    asked = _asked(view.boxes, collapse)
    groups = _scopes(view, asked)
    if max_nodes is not None and _left(view, groups) > max_nodes:
        if collapse is not False:
            groups = _fitting(view, asked, groups, max_nodes)
        if _left(view, groups) > max_nodes:
            raise GraphTooLarge(_too_large(view, groups, max_nodes, collapse))
        _warn(view, groups, max_nodes)
    return Folding(view, groups).view(auto) if groups else view


def _left(view: View, groups: Sequence[Group]) -> int:
    return len(view.nodes) - sum(len(group.members) - 1 for group in groups)


# -- which scopes ---------------------------------------------------------------------------------


def _asked(boxes: Sequence[Box], collapse: Collapse) -> set[int]:
    """The boxes that the user wants folded."""
    if collapse is None or collapse is False:
        return set()
    if isinstance(collapse, int):
        if collapse < 0:
            raise ChoiceError(f"draw(collapse={collapse}): a depth is a whole number; give one from 0 on")
        depth = 0 if collapse is True else collapse
        return {i for i, level in enumerate(_levels(boxes)) if level > depth}
    patterns = [collapse] if isinstance(collapse, str) else collapse
    if not isinstance(patterns, Iterable) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ChoiceError(
            f"draw(collapse={collapse!r}): unknown collapse; give True, False, None, a depth, or a list such as "
            '["a", "b/*"]'
        )
    return _matching(_paths(boxes), list(patterns))


def _matching(paths: Sequence[str], patterns: Sequence[str]) -> set[int]:
    found: set[int] = set()
    for pattern in patterns:
        matched = {i for i, path in enumerate(paths) if path and (path == pattern or fnmatchcase(path, pattern))}
        if not matched:
            raise ChoiceError(f"draw(collapse={pattern!r}): no scope matches; {_there_are(paths)}")
        found |= matched
    return found


def _there_are(paths: Sequence[str]) -> str:
    known = list(dict.fromkeys(clean(path) for path in paths if path))
    if not known:
        return "the graph has no scopes, make some: with tg.scope('name'):"
    more = f" and {number(len(known) - _LISTED)} more" if len(known) > _LISTED else ""
    return f"the scopes are {', '.join(map(repr, known[:_LISTED]))}{more}"


def _levels(boxes: Sequence[Box]) -> list[int]:
    """How many scopes deep each box is: 1 at the top, 0 for a lane."""
    levels: list[int] = []
    for box in boxes:  # parents come before their children
        around = 0 if box.parent is None else levels[box.parent]
        levels.append(around + (box.kind == "scope"))
    return levels


def _paths(boxes: Sequence[Box]) -> list[str]:
    """The names from the outermost scope to each box, joined by "/"; "" for a lane."""
    paths: list[str] = []
    for box in boxes:
        around = "" if box.parent is None else paths[box.parent]
        paths.append("" if box.kind != "scope" else f"{around}/{box.name}" if around else box.name)
    return paths


def _scopes(view: View, folded: set[int]) -> list[Group]:
    """A group for each outermost folded box that has nodes."""
    top: list[int | None] = []
    for i, box in enumerate(view.boxes):
        around = None if box.parent is None else top[box.parent]
        top.append(i if around is None and i in folded else around)
    groups: dict[int, Group] = {}
    for place, node in enumerate(view.nodes):
        at = None if node.box is None else top[node.box]
        if at is not None:
            if at not in groups:
                groups[at] = Group(view.boxes[at].id, view.boxes[at].title, view.boxes[at].parent, node.backward)
            groups[at].members.append(place)
    for i, at in enumerate(top):
        if at is not None and at != i and at in groups:
            groups[at].scopes.append(view.boxes[i].title)
    return list(groups.values())


# -- as many as it takes --------------------------------------------------------------------------


def _fitting(view: View, asked: set[int], groups: list[Group], max_nodes: int) -> list[Group]:
    """Fold the deepest level of scopes that makes the View small enough, else all scopes, then chains."""
    sizes, alike = _sizes(view, groups), same_paths(view.boxes)
    levels: dict[int, list[int]] = {}
    for i, level in enumerate(_levels(view.boxes)):
        levels.setdefault(level, []).append(i)
    left, chosen = _left(view, groups), set[int]()
    for level in sorted(levels, reverse=True):
        if level == 0:
            break
        # One node is no gain. Scopes of one path fold together, so that lanes stay alike.
        worth = {alike[i] for i in levels[level] if sizes[i] > 1}
        chosen = {i for i in levels[level] if alike[i] in worth}
        if left - sum(sizes[i] - 1 for i in chosen if sizes[i]) <= max_nodes:
            break
    groups = _scopes(view, asked | chosen)
    return groups if _left(view, groups) <= max_nodes else groups + _chains(view, groups)


def _sizes(view: View, groups: Sequence[Group]) -> list[int]:
    """How many nodes stand in each box, a group counting as one."""
    hidden = {place for group in groups for place in group.members}
    boxes = Counter(node.box for place, node in enumerate(view.nodes) if place not in hidden)
    boxes.update(group.box for group in groups)
    sizes = [boxes[i] for i in range(len(view.boxes))]
    for i in range(len(sizes) - 1, -1, -1):
        parent = view.boxes[i].parent
        if parent is not None:
            sizes[parent] += sizes[i]
    return sizes


def _chains(view: View, groups: Sequence[Group]) -> list[Group]:
    """Maximal chains op → wire → op inside one box, each wire used once; with the leaves that only they use."""
    nodes, (given, users) = view.nodes, _neighbours(view)
    free = [isinstance(node, Op) or (isinstance(node, Wire) and node.role == "wire") for node in nodes]
    for group in groups:
        for place in group.members:
            free[place] = False
    chains: dict[int, Group] = {}  # by the op at their end
    for op, node in enumerate(nodes):
        if not (free[op] and isinstance(node, Op)):
            continue
        links = (wire for wire in given[op] if free[wire] and len(given[wire]) == len(users[wire]) == 1)
        befores = {given[wire][0]: wire for wire in links if nodes[wire].box == node.box}
        ends = [end for end in befores if end in chains]
        if ends:  # where several chains meet, the longest goes on
            end = max(ends, key=lambda end: len(chains[end].members))
            chains[op] = chains.pop(end)
            chains[op].members += (befores[end], op)
        else:
            chains[op] = Group("", "", node.box, node.backward, [op], chain=True)
    found = sorted((chain for chain in chains.values() if len(chain.members) > 1), key=lambda chain: chain.members[0])
    for place, chain in enumerate(found, start=1):
        chain.id, chain.title = f"chain_{place}", counted(len(chain.members) // 2 + 1, "op")
    _leaves(nodes, users, found)
    return found


def _neighbours(view: View) -> tuple[list[list[int]], list[list[int]]]:
    """For each node the places of those before it, and of those after it."""
    place = {node.id: i for i, node in enumerate(view.nodes)}
    given: list[list[int]] = [[] for _ in view.nodes]
    users: list[list[int]] = [[] for _ in view.nodes]
    for edge in view.edges:
        given[place[edge.head]].append(place[edge.tail])
        users[place[edge.tail]].append(place[edge.head])
    return given, users


def _leaves(nodes: Sequence[Item], users: list[list[int]], chains: Sequence[Group]) -> None:
    """Put parameters and constants into the chain that alone uses them."""
    home = {place: chain for chain in chains for place in chain.members}
    for leaf, node in enumerate(nodes):
        if isinstance(node, Wire) and node.role in _LEAVES and users[leaf]:
            chain = home.get(users[leaf][0])
            if chain and chain.box == node.box and all(home.get(user) is chain for user in users[leaf]):
                chain.members.append(leaf)
    for chain in chains:
        chain.members.sort()


# -- what is said ---------------------------------------------------------------------------------


def _warn(view: View, groups: Sequence[Group], max_nodes: int) -> None:
    depth, frame = 1, sys._getframe(0)
    while frame.f_back is not None and f"{frame.f_globals.get('__name__')}.".startswith(_PACKAGE):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(
        f"draw(max_nodes={max_nodes}): the graph has {counted(len(view.nodes), 'node')}, so it is drawn with "
        f"{said(view, groups)}; to see all of it give max_nodes=None",
        GraphFoldedWarning,
        stacklevel=depth,
    )


def _too_large(view: View, groups: Sequence[Group], max_nodes: int, collapse: Collapse) -> str:
    left = _left(view, groups)
    scopes = 'collapse=True: first put "with tg.scope(name):" around larger parts of the code, each becomes one box'
    some = ""
    if collapse is False:
        folded = " and collapse=False"
        scopes = "collapse=None: folds scopes, then chains of ops, until it fits"
    elif left == len(view.nodes):
        folded = " and nothing that can be folded"
    else:
        folded = f", {number(left)} when all its scopes and chains of ops are folded"
        some = f"; max_nodes={left} draws it folded like that"
    counts = f"{counted(view.counts['ops'], 'op')}, {counted(view.counts['tensors'], 'tensor')}"
    return (
        f"draw(max_nodes={max_nodes}): the graph has {counted(len(view.nodes), 'node')} ({counts}){folded}, "
        "too many for a picture that can be read; three ways out:\n"
        f"  {scopes}\n"
        f"  max_nodes=None: draws all of it, which may take long{some}\n"
        '  draw(..., max_nodes=None).save("graph.html"): a page to zoom and pan in; needs no Graphviz'
    )
