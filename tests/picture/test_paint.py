"""The built-in painter: the same structure, roles and words as Graphviz's picture, and texts inside their nodes."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygraph as tg
from tinygraph.picture import svg
from tinygraph.picture.layout.measure import width
from tinygraph.picture.layout.page import lay_out
from tinygraph.picture.paint import paint
from tinygraph.picture.theme import DARK, LIGHT

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(params=["LR", "TB"])
def rankdir(request):
    return request.param


def groups(root, kind):
    return [group for group in root.iter("g") if group.get("class", "").split()[:1] == [kind]]


def words(element):
    return [text.text for text in element.iter("text")]


def span(text):
    """The left and right end of a text, by our own table."""
    wide = width(text.text, float(text.get("font-size")), text.get("font-weight") == "bold")
    left = float(text.get("x")) - {"start": 0, "middle": wide / 2, "end": wide}[text.get("text-anchor")]
    return left, left + wide


@pytest.mark.parametrize("mode", ["both", "forward", "lanes", "backward"])
def test_every_id_of_the_view_is_drawn_once(bn, rankdir, mode):
    view = tg.draw(bn.y, names=bn.names, mode=mode, rankdir=rankdir).view
    root = paint(view, LIGHT)
    drawn = Counter(element.get("id") for element in root.iter() if element.get("id"))
    expected = [part.id for part in (*view.nodes, *view.edges, *view.boxes)]
    assert drawn == Counter([*expected, "graph0"])
    for kind, parts in (("node", view.nodes), ("edge", view.edges), ("cluster", view.boxes)):
        assert [group.get("id") for group in groups(root, kind)] == [part.id for part in parts]


def test_the_root_is_like_the_one_of_graphviz(bn):
    root = paint(tg.draw(bn.y).view, LIGHT)
    _, _, wide, high = map(float, root.get("viewBox").split())
    assert root.tag == "svg"
    assert wide > high > 0
    assert root.get("width") == "100%"
    assert root.get("style") == f"max-width:{root.get('viewBox').split()[2]}pt"
    assert root[0].tag is ET.Comment
    assert root[0].text.strip() == "layout: tinygraph builtin"
    assert root.find("g").get("class") == "graph"


def test_titles_are_tooltips_and_both_directions_share_an_edge(bn):
    view = tg.draw(bn.y, names=bn.names).view
    root = paint(view, LIGHT)
    titles = {group.get("id"): group.findtext("title") for group in root.iter("g") if group.get("class") != "graph"}
    for part in (*view.nodes, *view.edges):
        assert titles[part.id] == part.tooltip
    for edge, group in zip(view.edges, groups(root, "edge"), strict=True):
        strokes = [path.get("stroke") for path in group.iter("path")]
        if edge.gradient:
            assert group.get("class") == "edge both"
            assert strokes == [LIGHT["fwdl"], LIGHT["bwdl"]]
            fills = [head.get("fill") for head in group.iter("polygon")]
            assert fills == ["none", LIGHT["fwdl"]]  # hollow for the gradient, filled for the value
        else:
            assert group.get("class") == "edge"
            assert strokes == [LIGHT["conl"] if edge.role == "constant" else LIGHT["fwdl"]]


def test_a_forward_arrow_points_at_the_head_and_a_hollow_one_at_the_tail(bn, rankdir):
    view = tg.draw(bn.y, names=bn.names, rankdir=rankdir).view
    found, root = lay_out(view), paint(view, LIGHT)
    for edge, group in zip(view.edges, groups(root, "edge"), strict=True):
        tips = [tuple(map(float, head.get("points").split()[0].split(","))) for head in group.iter("polygon")]
        ends = [found.edges[edge.id][0], found.edges[edge.id][-1]] if edge.gradient else [found.edges[edge.id][-1]]
        assert tips == [pytest.approx(end, abs=0.01) for end in ends]


def test_all_words_of_the_view_are_on_the_page(bn, rankdir):
    view = tg.draw(bn.y, names=bn.names, title="BatchNorm", rankdir=rankdir).view
    root = paint(view, LIGHT)
    by_id = {group.get("id"): words(group) for group in (*groups(root, "node"), *groups(root, "cluster"))}
    for wire in view.wires:
        shown = [wire.name] if wire.role == "constant" else [wire.name, wire.value, wire.gradient, wire.caption]
        assert sorted(by_id[wire.id]) == sorted(filter(None, shown))
    for op in view.ops:
        assert by_id[op.id] == [op.symbol, op.caption]
    for box in view.boxes:
        assert by_id[box.id] == [box.title]
    heading = words(root)[: 1 + 2 * len(view.legend)]
    assert "BatchNorm" in heading
    assert all(text.lstrip("►◄ ") in heading for _, text in view.legend)


@pytest.mark.parametrize("mode", ["both", "lanes"])
def test_texts_stay_inside_their_nodes_by_the_measured_table(bn, rankdir, mode):
    h = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="Wide name, iii MMM 均值")
    y = tg.matmul(h, h) / tg.Parameter([1e-9, 1e9], name="p") + tg.where(h > 0, h, 0.0)
    for view in (
        tg.draw(bn.y, names=bn.names, mode=mode, rankdir=rankdir).view,
        tg.draw(y, values="full", seed=np.ones((2, 2)), mode=mode, rankdir=rankdir).view,
    ):
        found, root = lay_out(view), paint(view, LIGHT)
        for group in (*groups(root, "node"), *groups(root, "cluster")):
            place = found.nodes.get(group.get("id")) or found.boxes[group.get("id")]
            for text in group.iter("text"):
                left, right = span(text)
                assert place.x <= left + 0.01, text.text
                assert right <= place.x + place.width + 0.01, text.text
                baseline, size = float(text.get("y")), float(text.get("font-size"))
                assert place.y <= baseline - 0.7 * size, text.text
                assert baseline <= place.y + place.height, text.text
        for text in root.iter("text"):
            assert span(text)[0] >= 0
            assert span(text)[1] <= found.width


def test_texts_of_one_wire_do_not_touch_each_other(bn, rankdir):
    view = tg.draw(bn.y, names=bn.names, rankdir=rankdir).view
    for group in groups(paint(view, LIGHT), "node"):
        texts = [(*span(t), float(t.get("y")), float(t.get("font-size"))) for t in group.iter("text")]
        for i, (left, right, y, size) in enumerate(texts):
            for other in texts[:i]:
                beside = right <= other[0] or other[1] <= left
                assert beside or y - 0.72 * size >= other[2] + 0.1 or other[2] - 0.72 * other[3] >= y + 0.1


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30))
def test_user_text_is_only_text(name):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name=name)
    with tg.scope(name or "scope"):
        y = tg.sum(tg.sin(x))
    view = tg.draw(y, title=name).view
    plain = tg.draw(y, names={}, title="t").view
    again = ET.fromstring(svg.finish(paint(view, LIGHT), "light"))
    counts = Counter(element.get("class") for element in again.iter() if element.get("class"))
    assert counts == Counter(e.get("class") for e in paint(plain, LIGHT).iter() if e.get("class"))


def test_a_hostile_name_is_only_text(rankdir):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name=HOSTILE)
    with tg.scope(HOSTILE):
        y = tg.sin(x)
    text = svg.finish(paint(tg.draw(y, title=HOSTILE, seed=np.ones(2), rankdir=rankdir).view, LIGHT), "light")
    assert "<img" not in text
    root = ET.fromstring(text)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
        "svg", "g", "title", "text", "path", "polygon", "ellipse"
    }  # fmt: skip
    assert [t.text for t in root.iter() if t.tag.endswith("text") and t.text == HOSTILE] == [HOSTILE] * 2


def test_all_colours_are_of_the_palette(bn):
    for palette in (LIGHT, DARK):
        for mode in ("both", "lanes"):
            root = paint(tg.draw(bn.y, names=bn.names, mode=mode).view, palette)
            colours = {e.get(a) for e in root.iter() for a in ("fill", "stroke")} - {None, "none"}
            assert colours <= set(palette.values())
            assert {palette["fwdl"], palette["bwdl"], palette["inp"], palette["par"], palette["out"]} <= colours


def test_not_finite_numbers_turn_the_wire(rankdir):
    x = tg.tensor([1.0, 0.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"):
        view = tg.draw(tg.exp(tg.log(x)), rankdir=rankdir, seed=np.ones(2)).view
    broken = [wire.id for wire in view.wires if not wire.finite]
    root = paint(view, LIGHT)
    red = [g.get("id") for g in groups(root, "node") if any(p.get("fill") == LIGHT["bwd"] for p in g.iter("polygon"))]
    assert broken
    assert red == broken


def test_marks_of_a_diff(bn, rankdir):
    view = tg.draw(bn.y, names=bn.names, mode="backward", rankdir=rankdir).view
    uses = [edge.id for edge in view.edges if edge.role == "use"]
    edges = [
        replace(edge, mark="wrong", label="× 0.50") if edge.id == uses[3] else replace(edge, mark="agrees")
        for edge in view.edges
    ]
    marked = replace(view, edges=tuple(edges))
    found, root = lay_out(marked), paint(marked, LIGHT)
    by_id = {group.get("id"): group for group in groups(root, "edge")}
    wrong = by_id[uses[3]].find("path")
    assert (wrong.get("stroke"), wrong.get("stroke-width")) == (LIGHT["bwdl"], "3")
    assert by_id[uses[2]].find("path").get("stroke") == LIGHT["conl"]
    label = by_id[uses[3]].find("text")
    assert (label.text, label.get("fill")) == ("× 0.50", LIGHT["bwd"])
    left, right = span(label)
    top, bottom = float(label.get("y")) - 10, float(label.get("y")) + 1
    for place in found.nodes.values():  # the label touches no node
        assert right < place.x or place.x + place.width < left or bottom < place.y or place.y + place.height < top
    for curve in found.edges.values():  # nor any line
        for (x0, y0), (x1, y1) in zip(curve[::3], curve[3::3], strict=False):
            for k in range(21):
                x, y = x0 + (x1 - x0) * k / 20, y0 + (y1 - y0) * k / 20
                assert not (left < x < right and top < y < bottom)


def test_saved_pills_and_sums_of_the_lower_lane(bn):
    view = tg.draw(bn.y, names=bn.names, mode="lanes", rankdir="LR").view
    by_id = {group.get("id"): group for group in groups(paint(view, LIGHT), "node")}
    saved = [wire for wire in view.wires if wire.role == "saved"]
    assert saved
    assert all(by_id[wire.id].find("path").get("stroke-dasharray") for wire in saved)
    sums = [op for op in view.ops if op.sum]
    assert len(sums) == 2
    assert all(len(by_id[op.id].findall("ellipse")) == 2 for op in sums)
    backward = [op for op in view.ops if op.backward]
    assert all(
        next(
            by_id[op.id].iter(
                "ellipse",
            )
        ).get("stroke")
        == LIGHT["bwdl"]
        for op in sums
    )
    assert len(backward) > len(sums)


def test_a_fold_has_two_borders(bn):
    view = tg.draw(bn.y, names=bn.names, collapse=["variance"]).view
    (fold,) = [node for node in view.nodes if node.id not in {n.id for n in (*view.wires, *view.ops)}]
    (group,) = [g for g in groups(paint(view, LIGHT), "node") if g.get("id") == fold.id]
    assert len(group.findall("path")) == 2
    assert words(group) == [fold.title, fold.caption]


def test_the_same_view_gives_the_same_bytes(bn):
    texts = {svg.finish(paint(tg.draw(bn.y, names=bn.names).view, LIGHT), "light") for _ in range(2)}
    assert len(texts) == 1
    assert not re.search(r"nan|inf[,\" ]|e-\d", "".join(re.findall(r'(?:points|d|x|y)="([^"]*)"', texts.pop())))


def test_the_theme_auto_turns_all_colours(bn):
    text = svg.finish(paint(tg.draw(bn.y, names=bn.names).view, LIGHT), "auto")
    assert "prefers-color-scheme:dark" in text
    root = ET.fromstring(text)
    for element in root.iter():
        if element.get("fill", "none") != "none":
            assert "tg-f-" in element.get("class", "")


def test_a_leaf_alone_and_no_legend():
    root = paint(tg.draw(tg.tensor([1.0], name="x"), legend=False, title="").view, LIGHT)
    assert [group.get("id") for group in groups(root, "node")] == ["v1"]
