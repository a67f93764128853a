"""What comes before what: the ranks of a graph, and the arrows that must give way to have any."""

from __future__ import annotations

from collections.abc import Sequence

Arrow = tuple[int, int]


def ranks(size: int, arrows: Sequence[Arrow]) -> list[int | None]:
    """How many arrows the longest way to each node has; None for what lies on or behind a cycle.

    >>> ranks(4, [(0, 1), (1, 2), (0, 2), (3, 3)])
    [0, 1, 2, None]
    """
    waiting, after = [0] * size, _after(size, arrows)
    for _, head in arrows:
        waiting[head] += 1
    found, ready = [0] * size, [node for node in range(size) if not waiting[node]]
    for node in ready:  # grows on the way
        for arrow in after[node]:
            head = arrows[arrow][1]
            found[head] = found[node] + 1  # the last to come is the farthest
            waiting[head] -= 1
            if not waiting[head]:
                ready.append(head)
    return [None if waiting[node] else found[node] for node in range(size)]


def closing(size: int, arrows: Sequence[Arrow]) -> set[int]:
    """The arrows, by their places, that close a cycle: none that would not be missed.

    The search starts at the first node that lies on or behind a cycle, so that the arrows that come
    back to it are taken.

    >>> closing(3, [(0, 1), (1, 2), (2, 0)])
    {2}
    """
    after, found = _after(size, arrows), set[int]()
    state = [0 if rank is None else 2 for rank in ranks(size, arrows)]  # 1 on the way, 2 done
    for root in range(size):
        if state[root]:
            continue
        way = [(root, iter(after[root]))]
        state[root] = 1
        while way:
            node, more = way[-1]
            for arrow in more:
                head = arrows[arrow][1]
                if state[head] == 1:
                    found.add(arrow)
                elif state[head] == 0:
                    state[head] = 1
                    way.append((head, iter(after[head])))
                    break
            else:
                state[node] = 2
                way.pop()
    return found


def _after(size: int, arrows: Sequence[Arrow]) -> list[list[int]]:
    after: list[list[int]] = [[] for _ in range(size)]
    for i, (tail, _) in enumerate(arrows):
        after[tail].append(i)
    return after
