"""What a picture says: roles, names, numbers, gradients, scopes, and why there are none."""

from contextlib import ExitStack

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.errors import GraphFoldedWarning
from tinygraph.picture.gradients import reverse
from tinygraph.picture.naming import labels
from tinygraph.picture.values import row


def wires(picture):
    return {wire.name: wire for wire in picture.view.wires}


def notes(picture):
    return [text for role, text in picture.view.legend if role == "mute"]


# -- roles and edges ------------------------------------------------------------------------------


def test_roles_of_batch_norm(bn):
    picture = tg.draw(bn.y, names=bn.names)
    roles = [wire.role for wire in picture.view.wires]
    assert picture.counts == {"ops": 9, "tensors": 14, "scopes": 5}
    assert {role: roles.count(role) for role in set(roles)} == {
        "input": 1, "parameter": 2, "output": 1, "constant": 2, "wire": 8
    }  # fmt: skip
    assert [op.symbol for op in picture.view.ops] == ["mean", "−", "x²", "mean", "+", "√", "÷", "×", "+"]
    assert [op.caption for op in picture.view.ops][:3] == ["axis 0", "sub", "pow"]


def test_names_of_batch_norm(bn):
    names = [wire.name for wire in tg.draw(bn.y, names=bn.names).view.wires]
    assert names == ["x", "μ", "x−μ", "2", "(x−μ)²", "σ²", "ε = 1e−05", "σ²+ε", "σ", "x̂", "γ", "γ·x̂", "β", "y"]


def test_gradients_are_summed_where_a_wire_fans_out(bn):
    seen = wires(tg.draw(bn.y, names=bn.names))
    assert {name for name, wire in seen.items() if wire.gradient.startswith("∂ Σ")} == {"x", "x−μ"}
    assert "div ∂" not in seen["x−μ"].tooltip
    assert [line.split()[0] for line in seen["x−μ"].tooltip.split("\n")[1:]] == ["div", "pow"]


def test_constants_have_no_backward_edge(bn):
    edges = tg.draw(bn.y).view.edges
    assert [edge.gradient for edge in edges if edge.role == "constant"] == [False, False]
    assert all(edge.gradient for edge in edges if edge.role != "constant")


def test_both_uses_of_one_operand_are_drawn():
    x = tg.tensor(3.0, requires_grad=True, name="x")
    picture = tg.draw(x * x, seed=1.0)
    assert [(e.id, e.tail, e.head) for e in picture.view.edges] == [
        ("e1_0", "v1", "op1"), ("e1_1", "v1", "op1"), ("e1", "op1", "v2")
    ]  # fmt: skip
    assert wires(picture)["x"].gradient == "∂ Σ 6"


def test_a_fused_op_has_a_double_border(bn):
    y = tg.fused.batch_norm(bn.x, bn.gamma, tg.Parameter(np.zeros(3), name="β"))
    picture = tg.draw(y, seed=np.ones((4, 3)))
    assert [op.fused for op in picture.view.ops] == [True]
    assert "peripheries=2" in picture.dot
    assert wires(picture)["γ"].gradient


def test_inputs_of_a_trace_are_inputs_even_if_they_are_numbers():
    picture = tg.trace(lambda x, unused: x * 2, 3.0, 4.0).draw()
    assert [(wire.name, wire.role) for wire in picture.view.wires][:3] == [
        ("x", "input"), ("unused", "input"), ("2", "constant")
    ]  # fmt: skip


def test_several_outputs():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    a, b = x * 2, tg.exp(x)
    picture = tg.draw([a, b], seed=[np.ones(2), None])
    assert [wire.role for wire in picture.view.wires].count("output") == 2
    assert wires(picture)["x"].gradient == "∂ [2.00, 2.00]"
    assert wires(picture)["exp(x)"].gradient == ""
    with pytest.raises(TypeError, match="2 outputs"):
        tg.draw([a, b], seed=np.ones(2))


def test_ops_under_identity_are_joined():
    x = tg.tensor(2.0, requires_grad=True, name="x")
    picture = tg.draw(tg.identity(tg.identity(x) * 3), seed=1.0)
    assert picture.counts["ops"] == 1
    assert wires(picture)["x"].gradient == "∂ 3"


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda a, b: a + b - a, "a+b−a"),
        (lambda a, b: a - (b - a), "a−(b−a)"),
        (lambda a, b: a - (b + a), "a−(b+a)"),
        (lambda a, b: (a + b) * a, "(a+b)·a"),
        (lambda a, b: a / (b * a), "a/(b·a)"),
        (lambda a, b: a * (b * a), "a·b·a"),
        (lambda a, b: -(a + b), "−(a+b)"),
        (lambda a, b: a + -b, "a+(−b)"),
        (lambda a, b: (-a) ** 3, "(−a)³"),
        (lambda a, b: a**0.5, "a^0.5"),
        (lambda a, b: a**b, "a^b"),
        (lambda a, b: tg.sqrt(a * b), "√(a·b)"),
        (lambda a, b: tg.sqrt(a) ** 2, "(√a)²"),
        (lambda a, b: tg.exp(a) * b, "exp(a)·b"),
        (lambda a, b: tg.maximum(a, b), "maximum(a, b)"),
        (lambda a, b: (a @ b) * b, "(a@b)·b"),
        (lambda a, b: a.reshape(2, 1) * b, "a·b"),
        (lambda a, b: a * -2.0, "a·(−2)"),
    ],
)
def test_short_expressions(build, name):
    a = tg.tensor([1.0, 2.0], requires_grad=True, name="a")
    b = tg.tensor([3.0, 4.0], requires_grad=True, name="b")
    assert tg.draw(build(a, b)).view.title == name


def test_long_expressions_fall_back_to_the_names_of_the_listing():
    a = tg.tensor([1.0, 2.0], requires_grad=True, name="activation")
    y = (a + 1) * a
    graph = tg.Graph([y])
    assert labels(graph)[y] == graph.names[y]


def test_given_names_with_operators_are_put_in_parentheses():
    a = tg.tensor(1.0, requires_grad=True, name="a b")
    assert tg.draw(a**2).view.title == "(a b)²"


def test_names_skip_what_is_no_tensor_and_own_names_win():
    x = tg.tensor(1.0, requires_grad=True, name="x")
    y = tg.exp(x)
    found = labels(tg.Graph([y]), {"z": x, "numbers": [1, 2], "np": np, "result": y, "later": y})
    assert list(found.values()) == ["x", "result"]


# -- numbers --------------------------------------------------------------------------------------


def test_every_printed_number_is_the_engine_s(bn):
    seen = wires(tg.draw(bn.y, names=bn.names))
    engine = tg.gradients(bn.y, list(bn.tensors.values()), bn.seed)
    for (name, t), gradient in zip(bn.tensors.items(), engine, strict=True):
        assert seen[name].value == row(t.numpy()).text
        assert seen[name].gradient.removeprefix("∂ ").removeprefix("Σ ") == row(gradient.numpy()).text


def test_gradients_agree_with_central_differences(bn):
    def loss(x, gamma, beta):
        centred = x - x.mean(0)
        y = gamma * centred / np.sqrt((centred**2).mean(0) + 1e-5) + beta
        return (y * bn.seed).sum()

    leaves = [bn.tensors[name] for name in ("x", "γ", "β")]
    totals = reverse(tg.Graph([bn.y]), [bn.y]).totals
    point = [t.numpy().copy() for t in leaves]
    for t, array in zip(leaves, point, strict=True):
        for index in np.ndindex(array.shape):
            kept, ends = array[index], []
            for step in (1e-6, -1e-6):
                array[index] = kept + step
                ends.append(loss(*point))
            array[index] = kept
            assert totals[t][index] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


def test_contributions_sum_to_the_gradient(bn):
    graph = tg.Graph([bn.y])
    found = reverse(graph, [bn.y])
    sums = dict.fromkeys(found.totals, 0.0)
    for (t, argument), part in found.parts.items():
        sums[graph.operands(t)[argument]] += part
    del sums[bn.y]
    for t, total in sums.items():
        np.testing.assert_allclose(total, found.totals[t], atol=1e-14)


def test_a_picture_shows_one_pass_and_says_where_grad_holds_more(bn):
    bn.y.backward(bn.seed)
    seen = wires(tg.draw(bn.y, names=bn.names))
    assert ".grad differs" in seen["γ"].tooltip
    assert ".grad differs" not in seen["x̂"].tooltip


def test_drawing_changes_nothing(bn):
    before = bn.gamma.grad.tolist()
    assert tg.draw(bn.y).dot == tg.draw(bn.y).dot
    assert bn.gamma.grad.tolist() == before


def test_an_output_that_is_used_again_counts_its_seed():
    x = tg.tensor(2.0, requires_grad=True, name="x")
    y = x * 3
    picture = tg.draw([y, y * y], seed=[1.0, 1.0])
    assert wires(picture)["x·3"].gradient == "∂ Σ 13"


def test_not_finite_values_are_marked():
    with np.errstate(all="ignore"):
        picture = tg.draw(tg.log(tg.tensor([0.0, 1.0], requires_grad=True, name="x")), seed=np.ones(2))
    assert wires(picture)["log(x)"].value == "−inf×1"
    assert wires(picture)["x"].gradient == "∂ inf×1"
    assert [wire.finite for wire in picture.view.wires] == [False, False]


@pytest.mark.parametrize("data", [np.zeros((0, 3)), 1.5, np.float32(2), [np.nan], [1, 2], np.ones(2, complex)])
@pytest.mark.parametrize("values", ["auto", "stats", "shape", "full", "none"])
def test_any_array_can_be_drawn(data, values):
    graph = tg.trace(lambda x: x * 2, np.asarray(data))
    assert graph.draw(values=values).dot


def test_anomaly_mode_does_not_stop_a_picture():
    x = tg.tensor([0.0, 1.0], requires_grad=True, name="x")
    y = tg.sqrt(x)
    with tg.debug_anomaly():
        assert wires(tg.draw(y, seed=np.ones(2)))["x"].gradient == "∂ inf×1"


# -- why there are no gradients -----------------------------------------------------------------------


def test_without_a_seed():
    x = tg.tensor([1.0], requires_grad=True)
    assert notes(tg.draw(x * 2)) == ["no gradients yet: call backward() or pass seed="]


def test_after_assign(bn):
    bn.gamma.assign([9.0, 9.0, 9.0])
    picture = tg.draw(bn.y)
    assert notes(picture) == ["no gradients: 'γ' was assigned after the forward"]
    assert wires(picture)["γ"].value == "assigned since"
    assert not any(edge.gradient for edge in picture.view.edges)


def test_nothing_recorded():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with tg.no_grad():
        y = x * 2
    for t in (x, y):
        picture = tg.draw(t)
        assert notes(picture) == ["nothing recorded: use tg.trace(fn, *args).draw()"]
        assert picture.counts == {"ops": 0, "tensors": 1, "scopes": 0}


def test_nothing_requires_a_gradient():
    assert notes(tg.trace(lambda x: x * 2, np.ones(3)).draw()) == ["no gradients: nothing here requires one"]


def test_forward_mode_has_no_gradients_and_no_excuses(bn):
    picture = tg.draw(bn.y, mode="forward")
    assert not any(wire.gradient for wire in picture.view.wires)
    assert [role for role, _ in picture.view.legend] == ["fwd"]


def test_a_seed_of_the_wrong_shape(bn):
    with pytest.raises(tg.errors.ShapeError, match="seed="):
        tg.draw(bn.y, seed=np.ones(5))


# -- scopes, direction, size -----------------------------------------------------------------------


def test_scopes_are_boxes_one_for_each_entry():
    x = tg.tensor(1.0, requires_grad=True, name="x")
    y = x
    for _ in range(2):
        with tg.scope("outer"):
            y = tg.exp(y)
            with tg.scope("inner"):
                y = tg.sin(y) * 2
    boxes = tg.draw(y).view.boxes
    assert [(box.title, box.parent) for box in boxes] == [
        ("1 · outer", None), ("inner", 0), ("2 · outer", None), ("inner", 2)
    ]  # fmt: skip


def test_inputs_and_outputs_stay_outside_parameters_and_constants_stand_with_their_first_user(bn):
    seen = wires(tg.draw(bn.y, names=bn.names))
    assert [seen[name].box for name in ("x", "y", "2", "ε = 1e−05", "γ", "β", "μ")] == [None, None, 2, 3, 4, 4, 0]


def test_a_recorded_backward_has_no_boxes():
    x = tg.tensor(2.0, requires_grad=True, name="x")
    with tg.scope("cube"):
        y = x**3
    assert tg.draw(tg.gradients(y, x, create_graph=True)).view.boxes == ()


def test_deep_graphs_run_from_top_to_bottom():
    def chain(n):
        y = tg.tensor(1.0, requires_grad=True)
        for _ in range(n):
            y = tg.sin(y)
        return tg.draw(y).view.rankdir

    assert (chain(11), chain(12)) == ("LR", "TB")


@pytest.mark.parametrize("ops", [10_000, pytest.param(100_000, marks=pytest.mark.deep)])
def test_a_long_graph(ops):
    y = tg.tensor(1.0, requires_grad=True)
    with tg.scope("deep"):
        for _ in range(ops):
            y = tg.sin(y)
    y.backward()
    picture = tg.draw(y, max_nodes=None)
    assert picture.counts["ops"] == ops
    assert picture.dot.count("->") == 2 * ops
    with pytest.warns(GraphFoldedWarning, match=r"drawn with 1 scope folded \(\d+.\d+ nodes\)"):
        folded = tg.draw(y)
    assert folded.counts["ops"] == 0
    assert folded.dot.count("->") == 2


def test_many_nested_scopes():
    y = tg.tensor(1.0, requires_grad=True)
    with ExitStack() as stack:
        for depth in range(2_000):
            stack.enter_context(tg.scope(str(depth)))
        y = tg.sin(y)
    picture = tg.draw(y)
    assert picture.counts["scopes"] == 2_000
    assert picture.dot.count("subgraph") == 2_000
