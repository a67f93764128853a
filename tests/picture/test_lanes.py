"""The derived backward as a picture: node for node what the engine derives, with its numbers."""

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.graph import Graph, source
from tinygraph.core.scope import TRACE, flags
from tinygraph.picture.lanes import derive
from tinygraph.picture.model import Op, Wire


def lanes(bn, mode="lanes", **options):
    return tg.draw(bn.y, mode=mode, names=bn.names, **options).view


def backward_nodes(y, seed):
    """What an ordinary call of the engine records while everything is traced."""
    leaves = [t for t in Graph([y]).captured if t.requires_grad]
    with flags(add=TRACE):
        found = tg.gradients(y, leaves, tg.tensor(seed))
    forward = set(Graph([y]).nodes)
    return [t for t in Graph(found).nodes if t not in forward]


def test_it_is_the_backward_that_the_engine_records_node_for_node(bn):
    drawn = [op.tooltip.partition("(")[0] for op in lanes(bn).ops if op.backward]
    assert drawn == [t.node.op.name for t in backward_nodes(bn.y, bn.seed)]
    assert len(drawn) == 23


def test_the_forward_lane_is_the_forward_picture(bn):
    upper = [(n.id, n.tooltip) for n in lanes(bn).nodes if isinstance(n, Op) and not n.backward]
    assert upper == [(op.id, op.tooltip) for op in tg.draw(bn.y, mode="forward", names=bn.names).view.ops]


def test_every_number_of_the_lower_lane_is_the_engines(bn):
    found = dict(zip(bn.tensors, tg.gradients(bn.y, list(bn.tensors.values()), tg.tensor(bn.seed)), strict=True))
    wires = {w.name: w for w in lanes(bn).wires if w.backward}
    for name, gradient in found.items():
        label = f"∂({name})" if set(name) & set("−+·²") and name != "σ²" else f"∂{name}"
        if label in wires:
            np.testing.assert_allclose(wires[label].cotangent, gradient.numpy(), rtol=1e-14, atol=1e-14)
    assert {"∂x", "∂γ", "∂β", "∂y", "∂x̂", "∂σ", "∂μ", "∂(x−μ)"} <= set(wires)


def test_the_parts_of_a_sum_are_numbered_and_meet_in_a_plus(bn):
    view = lanes(bn)
    names = [w.name for w in view.wires if w.backward]
    assert [n for n in names if "/2" in n] == ["∂(x−μ) 1/2", "∂(x−μ) 2/2", "∂x 2/2"]
    assert [op.symbol for op in view.ops if op.sum] == ["+", "+"]


def test_a_sum_of_many_names_what_has_arrived():
    x = tg.tensor(2.0, requires_grad=True, name="x")
    y = tg.exp(x) * tg.sin(x) * tg.cos(x)
    names = [w.name for w in tg.draw(y, mode="backward", seed=1.0).view.wires]
    assert [n for n in names if n.startswith("∂x")] == ["∂x 1/3", "∂x 2/3", "∂x 1…2/3", "∂x 3/3", "∂x"]


def test_saved_tensors_are_ghosts_beside_their_users(bn):
    view = lanes(bn)
    ghosts = [w for w in view.wires if w.role == "saved"]
    by_id = {n.id: n for n in view.nodes}
    assert {g.name for g in ghosts} == {"x", "x−μ", "(x−μ)²", "σ", "x̂", "γ"}
    assert all(by_id[g.of].name == g.name and not by_id[g.of].backward for g in ghosts)
    for ghost in ghosts:
        (edge,) = [e for e in view.edges if e.tail == ghost.id]
        assert edge.role == "saved"
        assert by_id[edge.head].backward


def test_no_edge_crosses_from_lane_to_lane(bn):
    view = lanes(bn)
    lane = {n.id: n.backward for n in view.nodes}
    assert all(lane[e.tail] == lane[e.head] == e.backward for e in view.edges)


def test_gradients_stand_under_their_tensors(bn):
    view = lanes(bn)
    names = {n.id: n.name for n in view.nodes if isinstance(n, Wire)}
    pairs = {names[a]: names[b] for a, b in view.under}
    assert pairs["x̂"] == "∂x̂"
    assert pairs["x"] == "∂x"
    assert pairs["y"] == "∂y"


def test_the_lower_lane_alone(bn):
    whole, alone = lanes(bn), lanes(bn, "backward")
    assert [n.id for n in alone.nodes] == [n.id for n in whole.nodes if n.backward]
    assert all(n.backward for n in alone.nodes)
    assert [box.kind for box in alone.boxes] == ["backward"]


def test_a_gradient_that_several_leaves_share_has_a_card_for_each():
    a, b = (tg.tensor([1.0, 2.0], requires_grad=True, name=name) for name in "ab")
    y = a + b
    y.name = "y"
    view = tg.draw(y, mode="backward", seed=np.ones(2)).view
    assert [(w.role, w.name, w.gradient) for w in view.wires] == [
        ("output", "∂y", "[1.00, 1.00]"), ("input", "∂b", "[1.00, 1.00]"), ("input", "∂a", "[1.00, 1.00]"),
    ]  # fmt: skip
    assert {(e.tail, e.role) for e in view.edges} == {("b1", "same")}


def test_without_gradients_the_forward_is_drawn_and_the_legend_says_why(bn):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    view = tg.draw(tg.exp(x), mode="lanes").view
    assert [w.name for w in view.wires] == ["x", "exp(x)"]
    assert ("mute", "no gradients yet: call backward() or pass seed=") in view.legend


def test_the_backward_of_a_product_of_a_tensor_with_itself():
    x = tg.tensor(3.0, requires_grad=True, name="x")
    y = x * x
    view = tg.draw(y, mode="backward", seed=1.0).view
    assert [op.tooltip for op in view.ops] == ["mul(∂(x·x), x)", "mul(∂(x·x), x)", "add(∂x 1/2, ∂x 2/2)"]


def test_the_pass_is_recorded_but_the_users_graph_is_left_alone(bn):
    before = bn.x.grad
    derived = derive(Graph([bn.y]), {source(bn.y): bn.seed})
    assert bn.x.grad is before
    assert all(g.node.scope.of is not None for g in derived.nodes)


@pytest.mark.parametrize("mode", ["lanes", "backward"])
def test_steps_play_the_backward_one_op_at_a_time(bn, mode):
    view = lanes(bn, mode)
    steps = [s for s in view.steps if s.direction == "backward"]
    assert [s.op for s in steps] == [op.id for op in view.ops if op.backward]
    assert [s.direction for s in view.steps].count("seed") == 1
    known = {n.id for n in view.nodes} | {e.id for e in view.edges}
    assert all({*s.inputs, *s.outputs, *s.edges} <= known for s in view.steps)
    shown = [i for s in view.steps for i in (*s.inputs, *s.outputs, *s.edges, s.op)]
    assert {n.id for n in view.nodes} | {e.id for e in view.edges} == set(shown) - {""}


def test_marks_lie_on_the_edges_that_compute_a_contribution(bn):
    from tinygraph.picture.look import look
    from tinygraph.picture.model import Options

    centred = bn.tensors["x−μ"]
    marks = {(centred, 1): ("wrong", "× −1")}
    view = look(Graph([bn.y]), [bn.y], Options(mode="backward", names=bn.names, marks=marks))
    marked = {e.tooltip for e in view.edges if e.mark == "wrong"}
    assert marked == {"∂(x−μ) → neg", "neg → −∂(x−μ)", "−∂(x−μ) → sum", "sum → ∂μ"}
