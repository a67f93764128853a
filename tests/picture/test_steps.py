"""Steps are the traversal: forward in program order, the seed, then backward as the engine visits the nodes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import tinygraph as tg
from tinygraph.core.autodiff import sweep
from tinygraph.core.graph import Graph
from tinygraph.picture.rules import Rules
from tinygraph.picture.values import row


def view(bn, **options):
    return tg.draw(bn.y, names=bn.names, **options).view


def test_batch_norm_has_nineteen(bn):
    steps = view(bn).steps
    assert [s.direction for s in steps] == ["forward"] * 9 + ["seed"] + ["backward"] * 9
    assert [s.op for s in steps] == [f"op{i}" for i in range(1, 10)] + [""] + [f"op{i}" for i in range(9, 0, -1)]


def test_the_backward_visits_what_the_engine_visits_in_its_order(bn):
    leaves = [t for t in bn.tensors.values() if t.requires_grad]
    visited = dict.fromkeys(t.node.serial for t, _, _ in sweep({bn.y: bn.seed}, leaves))
    places = {t.node.serial: f"op{i}" for i, t in enumerate(Graph([bn.y]).nodes, start=1)}
    assert [s.op for s in view(bn).steps if s.direction == "backward"] == [places[serial] for serial in visited]


def test_a_step_reads_only_what_is_there(bn):
    steps, wires = view(bn).steps, {w.id: w for w in view(bn).wires}
    there = {w for w in wires if wires[w].role in ("input", "parameter", "constant")}
    for step in steps:
        if step.direction == "forward":
            assert set(step.inputs) <= there
            there |= set(step.outputs)
    arrived = set()
    for step in steps:
        if step.direction == "backward":
            assert set(step.inputs) <= arrived
        arrived |= {c.wire for c in step.contributions}


def test_partial_sums_at_fan_outs_are_shown_until_the_sum_is_whole(bn):
    v = view(bn)
    shown = {}
    for step in v.steps:
        for c in step.contributions:
            shown.setdefault(c.wire, []).append(c.shown)
    for wire in v.wires:
        if wire.gradient:
            assert shown[wire.id][-1] == wire.gradient
    names = {w.id: w.name for w in v.wires}
    sums = {names[w]: [text.split()[1] for text in texts] for w, texts in shown.items() if len(texts) > 1}
    assert sums == {"x−μ": ["1/2", "Σ"], "x": ["1/2", "Σ"]}


def test_contributions_add_up_to_the_gradient(bn):
    parts = {}
    for t, i, part in sweep({bn.y: bn.seed}, list(bn.tensors.values())):
        parts.setdefault(id(t.node.inputs[i]), []).append(part)
    v = view(bn)
    for wire, t in ((w, t) for w in v.wires for t in bn.tensors.values() if w.data is t._data and t.requires_grad):
        if id(t) in parts:
            np.testing.assert_allclose(sum(parts[id(t)]), wire.cotangent, rtol=1e-15)
            assert row(wire.cotangent).text == wire.gradient.removeprefix("∂ ").removeprefix("Σ ")


@st.composite
def programs(draw):
    """A chain of ops in which any earlier result may be used again."""
    x = tg.tensor(draw(st.floats(0.5, 2)), requires_grad=True, name="x")
    made = [x]
    for _ in range(draw(st.integers(1, 8))):
        a, b = (made[draw(st.integers(0, len(made) - 1))] for _ in range(2))
        made.append(draw(st.sampled_from([lambda a, b: a + b, lambda a, b: a * b, lambda a, b: tg.sin(a)]))(a, b))
    return made[-1]


@given(programs())
def test_the_last_sum_shown_is_the_gradient_and_the_edges_are_those_of_the_op(y):
    v = tg.draw(y, seed=1.0, max_nodes=None).view
    last = {c.wire: c.shown for s in v.steps for c in s.contributions}
    assert last == {w.id: w.gradient for w in v.wires if w.gradient}
    edges = {e.id: e for e in v.edges}
    for step in v.steps:
        ends = {edges[e].tail for e in step.edges} | {edges[e].head for e in step.edges}
        assert ends == ({step.op, *step.inputs, *step.outputs} if step.op else set())


def test_a_seeded_output_that_is_used_again_counts_its_seed():
    x = tg.tensor(2.0, requires_grad=True, name="x")
    y = x * x
    z = tg.exp(y)
    y.name, z.name = "y", "z"
    steps = tg.draw([y, z], seed=[1.0, 1.0]).view.steps
    shown = [(c.wire, c.shown) for s in steps if s.direction != "forward" for c in s.contributions]
    assert shown[:3] == [("v2", "∂ 1/2 1"), ("v3", "∂ 1"), ("v2", "∂ Σ 55.6")]


def test_a_graph_too_long_to_step_through_has_no_steps():
    y = tg.tensor(0.5, requires_grad=True)
    for _ in range(5_001):
        y = tg.sin(y)
    assert tg.draw(y, seed=1.0, max_nodes=None).view.steps == ()


# -- the rule of an op ----------------------------------------------------------------------------


def test_rules_are_those_of_the_engine_with_the_names_of_the_picture(bn):
    rules = {op.tooltip.partition("(")[0]: op.rules for op in view(bn).ops}
    assert rules["sqrt"] == ("∂(σ²+ε) = ∂σ/(2·σ)",)
    assert rules["div"] == ("∂(x−μ) = ∂x̂/σ", "∂σ = sum(−∂x̂·x̂/σ)")
    assert rules["mul"] == ("∂γ = sum(∂(γ·x̂)·x̂)", "∂x̂ = ∂(γ·x̂)·γ")
    assert rules["sub"] == ("∂x = ∂(x−μ)", "∂μ = sum(−∂(x−μ))")


def test_every_primitive_can_be_asked_for_its_rule():
    x = tg.tensor([0.2, 0.5], requires_grad=True)
    for fn in (tg.exp, tg.log, tg.tanh, tg.sqrt, tg.sin, tg.abs, tg.sum, tg.mean, tg.cumsum):
        (rule,) = Rules().of(fn(x), "y", ["x"])
        assert rule.startswith("∂x = ")
    assert Rules().of(x, "y", ["x"]) == ()


def test_an_integer_operand_and_a_python_number_have_no_rule():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert Rules().of(x**2, "y", ["x", "2"]) == ("∂x = ∂y·2·x", "")


def test_a_fused_op_has_no_rule_of_primitives():
    x = tg.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    assert Rules().of(tg.fused.batch_norm(x), "y", ["x"]) == ()


def test_a_rule_is_not_tried_on_arrays_that_take_long():
    x = tg.tensor(np.ones((1001, 1000), np.float32), requires_grad=True)
    assert Rules().of(tg.exp(x), "y", ["x"]) == ()
    assert Rules().of(tg.exp(x[:1000]), "y", ["x"]) == ("∂x = ∂y·y",)
