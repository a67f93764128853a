"""Graphs that nobody draws in a lecture: odd outputs, odd numbers, odd seeds, drawn in odd places."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tinygraph as tg
import tinygraph.picture
from tinygraph.core.graph import Graph
from tinygraph.core.scope import TRACE, flags
from tinygraph.picture.build import Builder
from tinygraph.picture.layout.measure import round_op
from tinygraph.picture.model import MODES, RINGS, SAVED, SUMMED, Op, Options
from tinygraph.picture.values import row


def leaf(values=(1.0, 2.0), name="x"):
    return tg.tensor(values, requires_grad=True, name=name)


def several_outputs():
    x, w = leaf([[1.0, -2.0], [0.5, 3.0]]), tg.Parameter([[0.1, 0.2], [0.3, -0.4]], name="w")
    h = x @ w
    return [tg.sum(h), tg.tanh(h)], [1.5, np.ones((2, 2))]


def an_output_that_is_an_input():
    x = leaf()
    return [x, tg.exp(x)], [[1.0, 1.0], [1.0, 2.0]]


def an_output_that_is_used_again():
    y = tg.exp(leaf())
    return [y, y * y], [[1.0, 3.0], [1.0, 2.0]]


def one_output_twice():
    y = tg.exp(leaf())
    return [y, y], [[1.0, 3.0], [1.0, 2.0]]


def an_output_without_gradient():
    c = tg.tensor([5.0, 6.0], name="c")
    return [leaf() * 2, c * c, tg.argmax(c)], [np.ones(2), np.ones(2), 1]


def leaves_that_share_a_gradient():
    return [leaf(name="a") + leaf(name="b")], [[1.0, 2.0]]


def masks_and_indices():
    x = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    return [tg.where(x > 2, x, 0.0)[tg.tensor([0, 1, 1])] * tg.tensor([1, 2, 3])], [np.ones((3, 3))]


def many_operands():
    leaves = [leaf([float(i), 1.0], f"x{i}") for i in range(20)]
    return [tg.sum(tg.concatenate(leaves) * 2) + tg.sum(tg.stack(leaves))], [1.0]


def nothing_in_it():
    return [tg.sum(leaf(np.zeros((0, 3))) * 2)], [1.0]


def not_finite():
    x = leaf([1.0, np.nan, np.inf, -np.inf, -1.0])
    with np.errstate(all="ignore"):
        return [tg.sqrt(x) * tg.log(x) + x * np.inf - x * np.inf], [np.ones(5)]


def too_large_for_half_precision():
    x = leaf(np.array([1.0, 2.0], np.float16))
    with np.errstate(all="ignore"):
        return [tg.sum(x * 40_000 + x * 40_000)], [1.0]


def fused():
    x, gamma, beta = leaf(np.arange(12.0).reshape(4, 3) ** 1.5), tg.Parameter(np.ones(3)), tg.Parameter(np.zeros(3))
    y = tg.fused.batch_norm(x, gamma, beta)
    return [tg.sum(y * y * y)], [1.0]


def second_order():
    x = leaf(2.0)
    with tg.scope("forward"):
        y = tg.exp(x) * x
    return [tg.gradients(y, x, create_graph=True)], [1.0]


PROGRAMS = [
    several_outputs, an_output_that_is_an_input, an_output_that_is_used_again, one_output_twice,
    an_output_without_gradient, leaves_that_share_a_gradient, masks_and_indices, many_operands, nothing_in_it,
    not_finite, too_large_for_half_precision, fused, second_order,
]  # fmt: skip


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.__name__)
def program(request):
    outputs, seeds = request.param()
    return outputs, seeds[0] if len(seeds) == 1 else seeds


def engines_gradients(outputs, seed):
    """For every Tensor of the graph that requires one its gradient, by one call of the engine."""
    seeds = [seed] if len(outputs) == 1 else seed
    given = [(y, tg.tensor(np.asarray(s, y.dtype))) for y, s in zip(outputs, seeds, strict=True) if y.requires_grad]
    graph = Graph(outputs)
    wrt = [t for t in (*graph.captured, *graph.nodes) if t.requires_grad]
    return dict(zip(wrt, tg.gradients([y for y, _ in given], wrt, [s for _, s in given]), strict=True))


def test_every_number_is_the_engines(program):
    outputs, seed = program
    graph = Graph(outputs)
    before = [(t.grad, t.seed, t.name) for t in (*graph.captured, *graph.nodes)]
    builder = Builder(graph, outputs, Options(seed=seed))
    wires = {wire.id: wire for wire in builder.view().wires}
    for t in (*graph.captured, *graph.nodes):
        assert wires[builder.ids[t]].value == row(t._data).text
    shown = {c.wire: c.shown for step in builder.steps for c in step.contributions}
    for t, gradient in engines_gradients(outputs, seed).items():
        wire = wires[builder.ids[t]]
        np.testing.assert_array_equal(wire.cotangent, gradient.numpy())
        assert wire.gradient.endswith(row(gradient.numpy()).text)
        assert wire.gradient == shown[wire.id]
    assert all(a is b for t, u in zip(before, [(t.grad, t.seed, t.name) for t in (*graph.captured, *graph.nodes)],
                                      strict=True) for a, b in zip(t, u, strict=True))  # fmt: skip


@pytest.mark.parametrize("mode", ["lanes", "backward"])
def test_the_lower_lane_is_what_the_engine_records(program, mode):
    outputs, seed = program
    if outputs[0] is outputs[-1] and len(outputs) > 1:
        outputs, seed = outputs[:1], seed[0]  # else the engine's own sum of the seeds is recorded, too
    forward = set(Graph(outputs).nodes)
    with flags(add=TRACE):
        found = list(engines_gradients(outputs, seed).values())
    recorded = [t.node.op.name for t in Graph(found).nodes if t not in forward]
    view = tg.draw(outputs, mode=mode, seed=seed).view
    assert [op.tooltip.partition("(")[0] for op in view.ops if op.backward] == recorded


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options",
    [
        {"values": "full", "precision": 0, "rankdir": "TB"},
        {"values": "stats", "precision": 15},
        {"values": "shape", "collapse": True, "rankdir": "TB"},
        {"values": "none"},
    ],
    ids=lambda options: options["values"],
)
def test_every_way_to_draw(program, mode, options):
    outputs, seed = program
    picture = tg.draw(outputs, mode=mode, seed=seed, engine="builtin", **options)
    view = picture.view
    nodes, edges = [node.id for node in view.nodes], [edge.id for edge in view.edges]
    assert len({*nodes, *edges}) == len(nodes) + len(edges)
    for edge in view.edges:
        assert {edge.tail, edge.head} <= set(nodes)
    for step in view.steps:
        assert {*step.inputs, *step.outputs, *filter(None, [step.op])} <= set(nodes)
        assert set(step.edges) <= set(edges)
    assert ET.fromstring(picture.svg()).tag.endswith("svg")
    assert all(f"id={name} " in picture.dot for name in nodes)
    told = {SUMMED: any(w.gradient.startswith("∂ Σ") for w in view.wires),
            SAVED: any(w.role == "saved" for w in view.wires),
            RINGS: any(isinstance(n, Op) and n.sum for n in view.nodes)}  # fmt: skip
    assert {line: line in view.legend for line in told} == told
    words = " ".join(text for _, text in view.legend)
    assert ("value" in words or "gradients, " in words) == (options["values"] != "none")


# -- seeds ---------------------------------------------------------------------------------------------


def test_a_remembered_seed_counts_once():
    x = leaf(3.0)
    y = x * x
    y.backward()
    assert tg.draw([y, y]).view.wires[0].gradient == tg.draw(y).view.wires[0].gradient == "∂ Σ 6"
    assert tg.draw([y, y], seed=[1.0, 2.0]).view.wires[0].gradient == "∂ Σ 18"


def test_seeds_of_what_requires_no_gradient_change_nothing():
    x, c = leaf(), tg.tensor([5.0, 6.0])
    y, z = x * 2, c * c
    assert tg.draw([y, z], seed=[np.ones(2), np.ones(2)]).dot == tg.draw([y, z], seed=[np.ones(2), None]).dot
    assert ("mute", "no gradients yet: call backward() or pass seed=") in tg.draw(
        [y, z], seed=[None, np.ones(2)]
    ).view.legend
    with pytest.raises(tg.errors.ShapeError):
        tg.draw([y, z], seed=[np.ones(2), np.ones(3)])


def test_the_seed_of_an_output_that_is_used_again_is_a_part_of_its_gradient():
    outputs, seeds = an_output_that_is_used_again()
    view = tg.draw(outputs, mode="lanes", seed=seeds).view
    names = [wire.name for wire in view.wires if wire.backward and wire.role in ("wire", "output")]
    assert names == ["∂exp(x) 1/3", "∂(exp(x)·exp(x))", "∂exp(x) 2/3", "∂exp(x) 1…2/3", "∂exp(x) 3/3", "∂exp(x)"]
    assert next(step.text for step in view.steps if step.direction == "seed").startswith("the seed: ∂exp(x) 1/3, ")


# -- values ----------------------------------------------------------------------------------------------


def test_a_parameter_assigned_since_shows_its_new_value_nowhere():
    w = tg.Parameter([1.0, 2.0], name="w")
    y = w * 2
    y.backward(np.ones(2))
    before = tg.draw(y)
    said = before.json()
    w.assign([7.0, 8.0])
    assert before.json() == said
    (card,) = [node for node in json.loads(tg.draw(y).json())["nodes"] if node["name"] == "w"]
    assert card["value"] == card["data"] == "assigned since"
    assert "[7. 8.]" not in tg.draw(y).html()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (np.full(100, 1e-6), "1.0e−06 ± 0.0e+00"),
        (np.full((50, 5), np.finfo(float).max), "1.8e+308 ± 0.0e+00"),
        (1e8 + np.tile([-1e-4, 1e-4], 50), "1.0e+08 ± 1.0e−04"),
    ],
)
def test_the_spread_of_many(data, text):
    assert row(data).text == text


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(float).max, reason="long double is double here")
def test_what_is_too_large_for_float64_is_infinite():
    assert row(np.array(["1e4000", "1"], np.longdouble)) == ("inf×1", False)
    assert row(np.longdouble("1e4000")) == ("inf", False)
    assert row(np.array([1, 2], np.longdouble)).text == "[1.00, 2.00]"


def test_a_constant_that_is_not_finite_is_written_as_everywhere():
    x = leaf()
    names = [wire.name for wire in tg.draw(x * float("nan") + tg.tensor(-np.inf, name="i")).view.wires]
    assert names == ["x", "NaN", "x·NaN", "i = −inf", "x·NaN+i"]


# -- looks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", ["auto", "none"])
def test_upright_lanes_strike_no_text(dot, bn, values):
    picture = tg.draw(bn.y, mode="lanes", rankdir="TB", names=bn.names, values=values, engine="dot")
    svg = ET.fromstring(picture.svg())
    space = "{http://www.w3.org/2000/svg}"
    wires = {wire.id for wire in picture.view.wires if wire.role not in ("saved", "constant")}
    groups = [group for group in svg.iter(f"{space}g") if group.get("id") in wires]
    assert len(groups) == len(wires)
    for group in groups:
        bars = [[float(n) for n in re.findall(r"-?[\d.]+", p.get("points"))] for p in group.iter(f"{space}polygon")]
        (bar,) = [points for points in bars if max(points[::2]) - min(points[::2]) < 4]
        assert max(bar[1::2]) - min(bar[1::2]) > 15  # it stands
        left, right = min(bar[::2]), max(bar[::2])
        name, *number = group.iter(f"{space}text")
        assert name.get("text-anchor") != "middle"
        assert float(name.get("x")) < left
        assert len(number) == (values == "auto")
        assert all(float(text.get("x")) > right for text in number)


def test_a_loose_edge_may_take_the_short_way():
    x = leaf()
    with tg.scope("outer"):
        y = tg.exp(x)
        z = y * x
    picture = tg.draw([y, z], seed=[np.ones(2), np.ones(2)], collapse=["outer"])
    (loose,) = [edge for edge in picture.view.edges if edge.loose]
    (line,) = [line for line in picture.dot.splitlines() if "constraint=false" in line]
    assert line.strip().startswith(f"{loose.tail} -> {loose.head} [")


def test_the_legend_forgets_what_is_folded():
    x = leaf()
    with tg.scope("inner"):
        y = tg.exp(x)
        z = y * y
    outputs = tg.sum(z)
    assert SUMMED in tg.draw(outputs, seed=1.0).view.legend
    assert SUMMED not in tg.draw(outputs, seed=1.0, collapse=True).view.legend
    assert {SAVED, RINGS} <= set(tg.draw(outputs, seed=1.0, mode="lanes").view.legend)
    folded = tg.draw(outputs, seed=1.0, mode="lanes", collapse=True).view
    assert RINGS not in folded.legend
    assert (SAVED in folded.legend) == any(wire.role == "saved" for wire in folded.wires)


def test_a_caption_fits_where_the_circle_is_narrow():
    assert round_op(Op("op1", "T", "axes 1,0", False, "", None))
    assert not round_op(Op("op1", "T", "axes 1,0", False, "", None, backward=True))


# -- places ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_where_it_is_drawn_makes_no_difference(mode):
    y = tg.sum(tg.exp(leaf()) * leaf(name="z"))
    due = tg.draw(y, seed=1.0, mode=mode).dot
    with tg.no_grad():
        assert tg.draw(y, seed=1.0, mode=mode).dot == due
    with tg.scope("around"), tg.debug_anomaly():
        assert tg.draw(y, seed=1.0, mode=mode).dot == due
    found = []
    threads = [threading.Thread(target=lambda: found.append(tg.draw(y, seed=1.0, mode=mode).dot)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [due] * 4


def test_drawing_while_a_function_is_traced_leaves_no_trace():
    def plain(x):
        return tg.sum(tg.exp(x) * x)

    def drawn(x):
        y = plain(x)
        for mode in MODES:
            assert tg.draw(y, seed=1.0, mode=mode).dot
        return y

    assert str(tg.trace(drawn, leaf())).partition("(")[2] == str(tg.trace(plain, leaf())).partition("(")[2]


@pytest.mark.parametrize(
    "graph",
    [
        lambda x: tg.trace(lambda p: {"a": tg.sum(p["w"] * p["x"]), "b": [p["x"]]}, {"w": x, "x": x}),
        lambda x: tg.trace(tg.grad(lambda x: tg.sum(tg.sin(x) * x)), x),
        lambda x: tg.trace(lambda v: tg.jvp(lambda x: tg.exp(x) * x, (v,), (v,)), x),
        lambda x: tg.trace(lambda v: tg.hvp(lambda x: tg.sum(tg.exp(x) * x), (v,), (v,)), x),
        lambda x: tg.trace(tg.vjp_fn(lambda x: tg.exp(x) * x), x, x),
    ],
    ids=["dicts", "grad", "jvp", "hvp", "vjp_fn"],
)
@pytest.mark.parametrize("mode", MODES)
def test_traced_functions(graph, mode):
    found = graph(leaf())
    seeds = [np.ones(t.shape) if t.requires_grad else None for t in found.outputs]
    picture = found.draw(mode=mode, seed=seeds if len(seeds) > 1 else seeds[0])
    assert picture.counts["ops"] >= len(found.nodes) * (mode != "backward")
    assert picture.dot


def test_what_comes_by_way_of_an_identity_is_added_up_first():
    graph = tg.trace(lambda v: tg.jvp(lambda x: tg.exp(x) * x, (v,), (v,)), leaf())
    view = graph.draw(mode="backward", seed=[np.ones(2), np.ones(2)]).view
    sums = {edge.tail: edge.head for edge in view.edges if edge.role == "result"}
    names = {wire.id: wire.name for wire in view.wires}
    added = [names[sums[op.id]] for op in view.ops if op.sum and names[sums[op.id]].startswith("∂x")]
    assert added == ["∂x 2…3/5", "∂x 2 of 5", "∂x 3 of 5", "∂x"]
    (card,) = [wire for wire in view.wires if wire.name == "∂x"]
    x = graph.inputs[0]
    np.testing.assert_allclose(card.cotangent, sum(tg.gradients(list(graph.outputs), [x], [np.ones(2)] * 2)).numpy())


def test_random_numbers_are_not_drawn_again():
    rng = np.random.default_rng(0)
    x = leaf()
    y = tg.where(tg.random.uniform((2,), rng=rng) > 0.5, x, 0.0) + tg.random.normal((2,), rng=rng)
    state = rng.bit_generator.state
    for mode in MODES:
        assert tg.draw(y, seed=np.ones(2), mode=mode).json()
    assert rng.bit_generator.state == state


SCRIPT = """
import hashlib, numpy as np, tinygraph as tg
digest = hashlib.sha256()
x, w = tg.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True, name="x"), tg.Parameter(np.eye(2), name="w")
with tg.scope("layer"):
    with tg.scope("inner"):
        h = tg.tanh(x @ w)
    y = h * x + h
z = tg.mean(y * y)
for mode in ("both", "forward", "backward", "lanes"):
    for options in ({}, {"collapse": True}, {"rankdir": "TB"}, {"max_nodes": 20}):
        picture = tg.draw([z, h], seed=[1.0, np.ones((2, 2))], mode=mode, engine="builtin", **options)
        for text in (picture.dot, picture.svg(), picture.html(), picture.json(), repr(picture)):
            digest.update(text.encode())
print(digest.hexdigest())
"""


def test_the_same_bytes_in_every_process():
    found = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }  # fmt: skip
    assert len(found) == 1


def test_draw_is_a_function_whatever_is_imported():
    names = [module.name for module in pkgutil.walk_packages(tinygraph.picture.__path__, "tinygraph.picture.")]
    assert {"tinygraph.picture.dot", "tinygraph.picture.layout.page"} <= set(names)
    for name in names:
        importlib.import_module(name)
    assert tg.draw is tinygraph.picture.draw is Graph.draw
    assert tg.draw(leaf() * 2, engine="builtin").svg()
