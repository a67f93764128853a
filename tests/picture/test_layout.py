"""The laws of the built-in layout, on graphs that nobody drew by hand."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinygraph as tg
from tinygraph.picture.layout.measure import width
from tinygraph.picture.layout.page import lay_out
from tinygraph.picture.model import Op, Wire

steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "mul", "sin", "add_constant", "scale", "open", "close"]),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=25,
)
drawn = st.tuples(
    steps,
    st.integers(1, 3),
    st.sampled_from(["LR", "TB"]),
    st.sampled_from(["both", "forward", "lanes", "backward"]),
)


def built(program, outputs):
    """A graph made of adds, products and sines in random nested scopes, and its last Tensors."""
    made = [tg.tensor([1.0, 2.0], requires_grad=True, name="x")]
    with contextlib.ExitStack() as page:
        scopes = []
        for action, i, j in program:
            a, b = made[-1 - i % len(made)], made[-1 - j % len(made)]
            if action == "open":
                scopes.append(page.enter_context(contextlib.ExitStack()))
                scopes[-1].enter_context(tg.scope(f"scope {i}"))
            elif action == "close":
                if scopes:
                    scopes.pop().close()
            elif action == "sin":
                made.append(tg.sin(a))
            elif action == "add_constant":
                made.append(a + float(j))
            elif action == "scale":
                made.append(tg.Parameter([0.5, 0.25], name=f"w{len(made)}") * a)
            else:
                made.append(a + b if action == "add" else a * b)
        while scopes:
            scopes.pop().close()
    return made[-outputs:]


def view_of(program, outputs, rankdir, mode):
    results = built(program, outputs)
    seed = np.ones(2) if len(results) == 1 else [np.ones(2)] * len(results)
    return tg.draw(results, rankdir=rankdir, mode=mode, seed=seed, max_nodes=None).view


def paths(view):
    """For each node and box the ids of the boxes around it."""
    around = {}
    for box in view.boxes:
        outer = () if box.parent is None else (*around[view.boxes[box.parent].id], view.boxes[box.parent].id)
        around[box.id] = outer
    for node in view.nodes:
        around[node.id] = () if node.box is None else (*around[view.boxes[node.box].id], view.boxes[node.box].id)
    return around


def apart(a, b):
    return (
        a.x + a.width <= b.x + 1e-6
        or b.x + b.width <= a.x + 1e-6
        or a.y + a.height <= b.y + 1e-6
        or b.y + b.height <= a.y + 1e-6
    )


def within(inner, outer):
    return (
        outer.x <= inner.x + 1e-6
        and outer.y <= inner.y + 1e-6
        and inner.x + inner.width <= outer.x + outer.width + 1e-6
        and inner.y + inner.height <= outer.y + outer.height + 1e-6
    )


def samples(curve, count=12):
    """Points on a Bézier curve."""
    for i in range(0, len(curve) - 1, 3):
        a, b, c, d = curve[i : i + 4]
        for k in range(count + 1):
            t = k / count
            w = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
            yield tuple(w[0] * a[m] + w[1] * b[m] + w[2] * c[m] + w[3] * d[m] for m in (0, 1))


def title_of(box, found):
    """The rectangle (left, top, right, bottom) of the letters on a box."""
    x, y, anchor = found.titles[box.id]
    left = x if anchor == "start" else x - width(box.title, 11)
    return left, y - 8, left + width(box.title, 11), y + 2


@settings(max_examples=60, deadline=None)
@given(drawn)
def test_nothing_overlaps_and_boxes_hold_their_members_only(case):
    view = view_of(*case)
    found, around = lay_out(view), paths(view)
    assert set(found.nodes) == {node.id for node in view.nodes}
    assert set(found.edges) == {edge.id for edge in view.edges}
    assert {box.id for box in view.boxes if any(box.id in path for path in around.values())} <= set(found.boxes)
    places = list(found.nodes.items())
    for i, (_, a) in enumerate(places):
        assert all(apart(a, b) for _, b in places[:i])
        assert a.x >= 0
        assert a.y >= 0
        assert a.x + a.width <= found.width
        assert a.y + a.height <= found.height
    boxes = list(found.boxes.items())
    for i, (one, frame) in enumerate(boxes):
        for node, place in places:
            assert within(place, frame) if one in around[node] else apart(place, frame)
        for other, second in boxes[:i]:
            if one in around[other]:
                assert within(second, frame)
            elif other in around[one]:
                assert within(frame, second)
            else:
                assert apart(frame, second)


@settings(max_examples=60, deadline=None)
@given(drawn)
@example(([("open", 0, 0), ("add", 0, 0), ("add", 0, 1)], 2, "LR", "both"))  # an output in the midst of its scope
def test_edges_run_along_the_ranks_and_touch_nothing(case):
    view = view_of(*case)
    found = lay_out(view)
    across = view.rankdir == "LR"
    titles = [title_of(box, found) for box in view.boxes if box.id in found.boxes]
    for edge in view.edges:
        curve = found.edges[edge.id]
        along = [point[0 if across else 1] for point in curve]
        if edge.backward:
            along.reverse()
        assert all(b >= a - 1e-6 for a, b in zip(along[::3], along[3::3], strict=False)), "a curve turns back"
        for end, point in ((edge.tail, curve[0]), (edge.head, curve[-1])):
            at, shape = found.centres[end], found.shapes[end]
            if shape.kind in ("bar", "card"):  # at the ends of the bar
                assert point[1 if across else 0] == pytest.approx(at[1 if across else 0])
                reach = (shape.left, shape.right) if across else (shape.top, shape.bottom)
                assert any(
                    point[0 if across else 1] == pytest.approx(at[0 if across else 1] + r)
                    for r in (-reach[0], reach[1])
                )
        for x, y in samples(curve):
            for node, place in found.nodes.items():
                if node not in (edge.tail, edge.head):
                    assert not (
                        place.x < x - 0.5 < x + 0.5 < place.x + place.width
                        and place.y < y - 0.5 < y + 0.5 < place.y + place.height
                    ), f"{edge.id} runs through {node}"
            assert not any(l < x < r and t < y < b for l, t, r, b in titles), f"{edge.id} strikes a title"


@settings(max_examples=40, deadline=None)
@given(drawn)
def test_an_op_and_its_result_in_one_box_lie_on_one_line(case):
    view = view_of(*case)
    found = lay_out(view)
    cross = 1 if view.rankdir == "LR" else 0
    boxes = {node.id: node.box for node in view.nodes}
    for edge in view.edges:
        if edge.role == "result" and boxes[edge.tail] == boxes[edge.head]:
            assert found.centres[edge.tail][cross] == pytest.approx(found.centres[edge.head][cross], abs=1e-6)


@pytest.mark.parametrize("mode", ["both", "lanes"])
@pytest.mark.parametrize("rankdir", ["LR", "TB"])
def test_a_chain_is_one_straight_line_through_all_scopes(rankdir, mode):
    h = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with tg.scope("a"):
        h = tg.sin(h)
        with tg.scope("b"):
            h = tg.exp(h)
    with tg.scope("c"):
        for _ in range(3):
            h = tg.tanh(h)
    view = tg.draw(tg.exp(h), rankdir=rankdir, mode=mode, seed=np.ones(2)).view
    found = lay_out(view)
    cross = 1 if rankdir == "LR" else 0
    line = {found.centres[node.id][cross] for node in view.nodes if not node.backward}
    assert len({round(at, 6) for at in line}) == 1


def test_constants_and_parameters_stand_one_rank_before_their_user():
    h = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    for i in range(4):
        h = tg.sin(h)
    y = tg.Parameter([1.0, 2.0], name="w") * h + 3.0
    view = tg.draw(y, rankdir="LR").view
    found = lay_out(view)
    middle = {node.name: found.centres[node.id][0] for node in view.wires}
    waiting = [node for node in view.wires if node.role in ("constant", "parameter")]
    ops = sorted(found.centres[node.id][0] for node in view.ops)
    assert [node.name for node in waiting] == ["w", "3"]
    assert ops[-3] < middle["w"] < ops[-2]
    assert ops[-2] < middle["3"] < ops[-1]


@pytest.mark.parametrize("rankdir", ["LR", "TB"])
def test_an_output_stands_behind_its_box_in_line_with_its_op(rankdir):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with tg.scope("a"):
        early, late = tg.sin(x), tg.tanh(tg.tanh(tg.tanh(x)))
    view = tg.draw([early, late], rankdir=rankdir, mode="forward").view
    found, box = lay_out(view), view.boxes[0].id
    across = rankdir == "LR"
    edge = next(edge for edge in view.edges if edge.role == "result")
    frame, card = found.boxes[box], found.nodes[edge.head]
    assert (card.x > frame.x + frame.width) if across else (card.y > frame.y + frame.height)
    assert found.centres[edge.tail][across] == pytest.approx(found.centres[edge.head][across])


def test_forward_is_above_and_every_gradient_under_its_wire(bn):
    view = tg.draw(bn.y, names=bn.names, mode="lanes", rankdir="LR").view
    found = lay_out(view)
    forward, backward = found.boxes["lane_forward"], found.boxes["lane_backward"]
    assert forward.y + forward.height < backward.y < forward.y + forward.height + 20
    assert view.under
    for above, below in view.under:
        assert found.centres[above][0] == pytest.approx(found.centres[below][0])
        assert found.centres[above][1] < found.centres[below][1]
    for edge in view.edges:
        start, end = found.edges[edge.id][0], found.edges[edge.id][-1]
        assert (end[0] < start[0]) == edge.backward


def test_the_same_view_gets_the_same_layout(bn):
    first = lay_out(tg.draw(bn.y, names=bn.names).view)
    second = lay_out(tg.draw(bn.y, names=bn.names).view)
    assert first == second


def test_a_loose_edge_may_run_backward_but_is_drawn():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with tg.scope("outer"):
        a = tg.sin(x)
        with tg.scope("inner"):
            b = tg.exp(a)
        c = b * a
    view = tg.draw(c, rankdir="LR").view
    back = replace(view.edges[0], id="back", tail=view.wires[-1].id, head=view.ops[0].id, loose=True)
    found = lay_out(replace(view, edges=(*view.edges, back)))
    curve = found.edges["back"]
    assert curve[-1][0] < curve[0][0]
    assert [rect.x for rect in found.nodes.values()] == sorted(rect.x for rect in found.nodes.values())


def test_a_circle_of_edges_does_not_hang():
    view = tg.draw(tg.sin(tg.sin(tg.tensor(1.0, requires_grad=True, name="x"))), rankdir="LR").view
    back = replace(view.edges[0], id="back", tail=view.wires[-1].id, head=view.ops[0].id)
    found = lay_out(replace(view, edges=(*view.edges, back)))
    assert set(found.edges) == {edge.id for edge in view.edges} | {"back"}


def test_texts_are_measured():
    assert width("", 10) == 0
    assert width("x̂", 10) == width("x", 10)
    assert width("é", 10) == width("e", 10)
    assert width("均值", 10) == 20
    assert width("😀", 10) >= 10
    assert width("mean", 10, bold=True) > width("mean", 10)


def test_a_thousand_nodes_with_long_edges():
    h = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    past = [h]
    for i in range(64):
        with tg.scope(f"block {i}"):
            h = tg.sin(h * past[-1 - i % 3] + 1.0) * 0.5 + past[max(0, len(past) - 4)]
            for _ in range(2):
                h = tg.tanh(h)
        past.append(h)
    view = tg.draw(h, mode="forward", rankdir="TB", max_nodes=None, values="none").view
    assert len(view.nodes) > 1_000
    found = lay_out(view)
    assert len(found.nodes) == len(view.nodes)


def test_a_deep_chain_needs_no_recursion():
    h = tg.tensor(1.0, requires_grad=True, name="x")
    for _ in range(2_000):
        h = tg.sin(h)
    view = tg.draw(h, rankdir="LR", max_nodes=None, values="none").view
    found = lay_out(view)
    assert len({round(at[1], 6) for at in found.centres.values()}) == 1
    assert sum(isinstance(node, Op) for node in view.nodes) == 2_000
    assert sum(isinstance(node, Wire) for node in view.nodes) == 2_001
