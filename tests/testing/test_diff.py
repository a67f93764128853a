"""The diff: the wrong term's path stands out, all else is grey, and each label says what the doctor says."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from support.backwards import batch_norm

import tinygraph as tg
from tinygraph.errors import ArgumentError
from tinygraph.testing import diagnose

SHAPES = batch_norm.SHAPES
MUTANTS = {m.number: m for m in batch_norm.MUTANTS}
FLIPPED = "dx: term through mu multiplied by -1 (it has its sign flipped)"


def diff(number, **options):
    mutant = MUTANTS[number]
    extras = {"extras": mutant.extras} if mutant.extras is not None else {}
    return tg.draw_diff(batch_norm.reference, mutant.backward, **SHAPES, **extras, **options)


def labels(picture):
    """(name of the wire nearest the label on the side of the output, label)."""
    wires = {wire.id: wire.name for wire in picture.view.wires}
    ops = {edge.tail: wires[edge.head] for edge in picture.view.edges if edge.role == "result"}
    return [(wires.get(edge.tail, ops.get(edge.tail)), edge.label) for edge in picture.view.edges if edge.label]


def wrong(picture):
    """The wires that wrong edges touch."""
    wires = {wire.id: wire.name for wire in picture.view.wires}
    edges = [edge for edge in picture.view.edges if edge.mark == "wrong"]
    return {wires[end] for edge in edges for end in (edge.tail, edge.head) if end in wires}


def card(picture, name):
    (found,) = [w for w in picture.view.wires if w.name == name and w.role in ("input", "output")]
    return found


def gradient_edges(picture):
    return [edge for edge in picture.view.edges if edge.backward or edge.gradient]


# -- the show-case: a published layer class with a wrong sign -----------------------------------------


def test_the_wrong_sign_is_thick_and_all_else_grey():
    picture = diff(1)
    assert picture.mode == "backward"
    assert picture.view.title == FLIPPED
    assert labels(picture) == [("∂x 2/2", "× −1")]
    assert wrong(picture) == {"∂xc", "−∂xc", "∂mu", "∂mu/size(x)", "∂x 2/2"}
    assert {edge.mark for edge in gradient_edges(picture)} == {"agrees", "wrong"}


def test_on_the_wires_of_the_forward():
    picture = diff(1, mode="both")
    assert labels(picture) == [("x", "× −1")]
    marked = {(edge.tail, edge.head) for edge in picture.view.edges if edge.mark == "wrong"}
    ids = {wire.name: wire.id for wire in picture.view.wires}
    assert {pair for pair in marked if ids["x"] in pair or ids["mu"] in pair} == marked
    assert len(marked) == 3  # x → mean → mu → sub


def test_in_lanes_the_forward_is_not_in_question():
    picture = diff(1, mode="lanes")
    assert labels(picture) == [("∂x 2/2", "× −1")]
    forward = [edge for edge in picture.view.edges if not edge.backward]
    assert forward
    assert {(edge.mark, edge.label) for edge in forward} == {("", "")}


def test_tooltips_carry_the_line_of_the_finding():
    for mode in ("backward", "lanes", "both"):
        for edge in diff(1, mode=mode).view.edges:
            assert edge.tooltip.endswith(FLIPPED) == (edge.mark == "wrong")
    for edge in diff(20).view.edges:
        assert ("not summed over broadcast axis 0" in edge.tooltip) == (edge.mark == "wrong")


def test_the_card_shows_both_numbers():
    for mode, name in (("backward", "∂x"), ("lanes", "∂x"), ("both", "x")):
        picture = diff(1, mode=mode)
        derived, yours = card(picture, name).gradient.split("\n")
        assert "±" in derived
        assert yours.startswith("yours ")
        assert yours.removeprefix("yours ") != derived.removeprefix("∂ Σ ")
        others = [w for w in picture.view.wires if "yours" in w.gradient]
        assert others == [card(picture, name)]


def test_yours_is_what_the_kernel_gives():
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=s) for s in ((4, 2), 2, 2)]
    seen = []

    def backward(dy, x, gamma, beta):
        dx, dgamma, dbeta = batch_norm.published(dy, x, gamma, beta)
        if np.array_equal(x, arrays[0]):
            seen.append(2 * dgamma)
        return dx, 2 * dgamma, dbeta

    picture = tg.draw_diff(batch_norm.reference, backward, *arrays)
    a, b = seen[0]
    text = f"[{a:.2f}, {b:.2f}]".replace("-", "\u2212")
    assert card(picture, "∂gamma").gradient.split("\n")[1] == f"yours {text}"
    assert picture.view.title == "2 findings: dx, dgamma"
    assert np.array_equal(card(diff_on(arrays, "both"), "x").data, arrays[0])


def diff_on(arrays, mode):
    return tg.draw_diff(batch_norm.reference, batch_norm.published, *arrays, mode=mode)


# -- other faults -------------------------------------------------------------------------------------


def test_a_right_backward_is_grey_all_over():
    for mode in ("backward", "lanes", "both"):
        picture = tg.draw_diff(batch_norm.reference, batch_norm.classic, **SHAPES, mode=mode)
        assert picture.view.title == "agrees on 8 generic probes"
        assert {edge.mark for edge in gradient_edges(picture)} == {"agrees"}
        assert labels(picture) == []
        assert not any("yours" in wire.gradient for wire in picture.view.wires)
        assert ("mute", "grey: agrees") in picture.view.legend
        assert not any("thick" in text for _, text in picture.view.legend)


@pytest.mark.parametrize(
    ("number", "due"),
    [
        (2, [("∂x 2/2", "missing")]),
        (3, [("∂xc 2/2", "missing")]),
        (5, [("∂xc 2/2", "× N")]),
        (15, [("∂xc 2/2", "× N/(N−1)")]),
        (18, [("∂x 2/2", "axis")]),
        (24, [("∂xc 2/2", "proportional")]),
        (34, [("∂xc 2/2", "× N"), ("∂x 2/2", "× −1")]),
        (29, [("∂x", "× 2")]),  # the rest concerns a whole gradient: the last edge to its card
        (10, [("∂x", "× 1/gamma")]),
        (13, [("∂gamma", "other forward"), ("∂x", "other forward")]),
        (20, [("∂gamma", "not summed")]),
        (22, [("∂gamma", "operand")]),
        (23, [("∂beta", "swapped"), ("∂gamma", "swapped")]),
        (25, [("∂gamma", "other values"), ("∂x", "other values")]),
        (27, [("∂beta", "writes"), ("∂gamma", "writes"), ("∂x", "writes")]),
        (28, [("∂x", "transposed")]),
        (30, [("∂x", "precision")]),
        (33, [("∂x", "one index")]),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_what_stands_where(number, due):
    assert labels(diff(number)) == due


@pytest.mark.parametrize("mutant", batch_norm.MUTANTS, ids=lambda m: f"{m.number:02}")
@pytest.mark.parametrize("mode", ["backward", "both"])
def test_every_wrong_batch_norm_is_marked(mutant, mode):
    picture = diff(mutant.number, mode=mode)
    edges = gradient_edges(picture)
    assert {edge.mark for edge in edges} == {"agrees", "wrong"}
    assert any(edge.label for edge in edges)
    assert not any(edge.label for edge in edges if edge.mark != "wrong")
    for leaf in set(SHAPES) - set(mutant.leaves):
        name = leaf if mode == "both" else f"∂{leaf}"
        assert mutant.number == 27 or not any(card(picture, name).id == e.head for e in edges if e.mark == "wrong")


@pytest.mark.parametrize("triple", batch_norm.TRIPLES[::37], ids=str)
def test_each_factor_stands_once(triple):
    picture = tg.draw_diff(batch_norm.reference, triple.backward, **SHAPES)
    due = ["missing" if f == "0" else f"× {f}".replace("-", "−") for f in triple.wrong.values()]
    assert sorted(label for _, label in labels(picture)) == sorted(due)


def test_the_whole_path_where_no_part_of_it_is_its_own():
    """Each edge of the direct term is also one of another term, which agrees."""
    backward = next(t.backward for t in batch_norm.TRIPLES if set(t.wrong) == {"direct"})
    picture = tg.draw_diff(batch_norm.reference, backward, **SHAPES, mode="both")
    assert wrong(picture) == {"x", "xc", "xhat", "gamma·xhat"}


def softmax(x):
    e = tg.exp(x - tg.max(x, axis=1, keepdims=True))
    s = tg.sum(e, axis=1, keepdims=True)
    return e / s


def wrong_axis(dy, x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return p * (dy - (dy * p).sum(axis=0, keepdims=True))


def test_terms_that_cancel_do_not_agree_with_anything():
    """What reaches the maximum is zero, so its terms share no right path with the wrong one."""
    picture = tg.draw_diff(softmax, wrong_axis, x="N C", mode="both")
    assert labels(picture) == [("e", "axis")]
    assert wrong(picture) == {"e", "s"}


def test_a_local_rule_is_wrong_from_its_step_on():
    def layer(x, w):
        return tg.exp(tg.tanh(x * w))

    def backward(dy, x, w):
        h = np.tanh(x * w)
        g = dy * np.exp(h) * (1 - h)
        return g * w, g * x

    picture = tg.draw_diff(layer, backward, x="N", w="N")
    assert picture.view.title == "dx, dw: 1-h for 1-h² in tanh(x * w)"
    assert labels(picture) == [("∂(x·w)", "local rule")]
    assert {"∂(x·w)", "∂x", "∂w"} <= wrong(picture)
    assert card(picture, "∂y").id not in {e.tail for e in picture.view.edges if e.mark == "wrong"}


def test_exchanged_factors_are_two_steps():
    def backward(dy, x):
        return dy * np.sin(x) * np.cos(x) + dy * np.exp(x) * np.exp(x)

    (finding,) = diagnose(lambda x: tg.sin(x) * tg.exp(x), backward, x="N").findings
    assert len(finding._edges) == 2
    picture = tg.draw_diff(lambda x: tg.sin(x) * tg.exp(x), backward, x="N")
    assert {"∂sin(x)", "∂exp(x)"} <= wrong(picture)
    assert labels(picture) == [("∂sin(x)", "local rule")]


def test_unexplained_is_the_last_edge():
    def backward(dy, x, gamma, beta):
        dx, dgamma, dbeta = batch_norm.classic(dy, x, gamma, beta)
        return np.sin(dx) * np.abs(x) ** 0.3, dgamma, dbeta

    picture = tg.draw_diff(batch_norm.reference, backward, **SHAPES)
    assert picture.view.title.startswith("dx: unexplained: ")
    assert labels(picture) == [("∂x", "unexplained")]
    assert [edge.role for edge in picture.view.edges if edge.mark == "wrong"] == ["result"]


def test_a_kernel_that_raises():
    def backward(dy, x):
        raise IndexError("seven")

    picture = tg.draw_diff(tg.exp, backward, x="N")
    assert picture.view.title == "raises IndexError: seven"
    assert labels(picture) == [("∂x", "raises")]
    assert not any("yours" in wire.gradient for wire in picture.view.wires)


def test_nan_turns_the_card():
    picture = tg.draw_diff(tg.exp, lambda dy, x: np.where(np.arange(len(x)) == 0, np.nan, dy * np.exp(x)), x="N")
    assert labels(picture) == [("∂x", "not finite")]
    assert card(picture, "∂x").gradient.endswith("yours NaN×1")
    assert not card(picture, "∂x").finite


def test_another_shape_is_said():
    assert card(diff(20), "∂gamma").gradient.endswith("(9, 13)")


def test_leaves_that_share_a_gradient():
    picture = tg.draw_diff(lambda x, w: x + w, lambda dy, x, w: (dy, -dy), x="N", w="N")
    assert [(e.role, e.label) for e in picture.view.edges if e.mark == "wrong"] == [("same", "× −1")]
    assert "yours" in card(picture, "∂w").gradient


def test_an_argument_that_is_an_output():
    picture = tg.draw_diff(lambda x: (x, tg.exp(x)), lambda dy, x: dy[1] * np.exp(x) - dy[0], x="N")
    assert picture.view.title == FLIPPED.replace("through mu", "direct")
    assert [edge.label for edge in picture.view.edges if edge.mark == "wrong"] == ["× −1"]


def test_of_two_uses_by_one_step_only_the_wrong_one_is_marked():
    picture = tg.draw_diff(lambda x: tg.sin(x) / x, lambda dy, x: dy * np.cos(x) / x, x="N", mode="both")
    assert labels(picture) == [("x", "missing")]
    assert wrong(picture) == {"x"}
    picture = tg.draw_diff(lambda x: x**x, lambda dy, x: dy * x**x, x="N", domains={"x": "positive"}, mode="both")
    assert [edge.label for edge in picture.view.edges if edge.mark == "wrong"] == ["operand"]


def test_integer_arguments_and_several_outputs():
    def scores(x, t):
        return tg.cross_entropy(x, t), tg.sum(x)

    def backward(dy, x, t):
        p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        p[np.arange(len(t)), t] -= 1
        return dy[0] * p / len(t) - dy[1]

    picture = tg.draw_diff(scores, backward, x="N C", t="N", domains={"t": "labels"})
    assert {edge.mark for edge in gradient_edges(picture)} == {"agrees", "wrong"}
    assert "× −1" in dict(labels(picture)).values()


def test_float32_arrays_keep_their_precision():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((16, 3), 3, 3)]
    picture = diff_on(arrays, "both")
    assert labels(picture) == [("x", "× −1")]
    assert card(picture, "x").cotangent.dtype == np.float32


def test_a_graph_that_depends_on_the_values_is_drawn_as_it_was_probed():
    def branching(x):
        return tg.exp(x) if tg.asarray(x)._data[0] > 100 else tg.sin(x)

    picture = tg.draw_diff(branching, lambda dy, x: 2 * dy * np.cos(x), np.array([200.0, 1.0]))
    assert labels(picture) == [("∂x", "× 2")]
    assert picture.view.ops[0].symbol == "cos"


# -- options ----------------------------------------------------------------------------------------


def test_the_options_of_draw_pass_through():
    picture = diff(1, title="mine", legend=False, theme="dark", values="none", engine="builtin")
    assert picture.view.title == "mine"
    assert picture.view.legend == ()
    assert picture.theme == "dark"
    assert {wire.gradient for wire in picture.view.wires} == {""}
    assert "builtin" in picture.svg()
    assert diff(1, rankdir="TB").view.rankdir == "TB"
    assert re.search(r"yours \S+\.\d{4} ± \d\.\d{4}$", card(diff(1, precision=4), "∂x").gradient)


def test_folded_scopes_keep_the_mark_of_what_is_wrong():
    def scoped(x, gamma, beta):
        with tg.scope("centre"):
            mu = tg.mean(x, axis=0)
            xc = x - mu
        with tg.scope("normalise"):
            var = tg.mean(xc**2, axis=0)
            xhat = xc / tg.sqrt(var + 1e-5)
        return gamma * xhat + beta

    picture = tg.draw_diff(scoped, batch_norm.published, **SHAPES, mode="both", collapse=["centre"])
    assert [(e.tail, e.label) for e in picture.view.edges if e.mark == "wrong"] == [(card(picture, "x").id, "× −1")]


def test_a_label_that_is_folded_away_stands_on_what_is_left_of_its_path():
    def scoped(x, gamma, beta):
        with tg.scope("squares"):
            xc = x - tg.mean(x, axis=0)
            squares = xc**2
        var = tg.mean(squares, axis=0)
        return gamma * (xc / tg.sqrt(var + 1e-5)) + beta

    due = {False: ("xc", "missing"), True: ("1 · squares", "missing")}
    for collapse, label in due.items():
        picture = tg.draw_diff(scoped, MUTANTS[3].backward, **SHAPES, mode="both", collapse=collapse)
        names = {node.id: getattr(node, "name", "") or getattr(node, "title", "") for node in picture.view.nodes}
        assert [(names[edge.tail], edge.label) for edge in picture.view.edges if edge.label] == [label]


def test_a_deep_graph_is_folded_and_still_says_it():
    def deep(x):
        mu = tg.mean(x, axis=0)
        for _ in range(100):
            x = tg.tanh(x)
        return x + mu

    def backward(dy, x):
        through_mu, through_all = tg.testing.contributions(deep, x, dy=dy).values()
        return through_mu / 2 + through_all

    with pytest.warns(tg.errors.GraphFoldedWarning, match="draw"):
        picture = tg.draw_diff(deep, backward, x="N C", max_nodes=350)
    assert picture.folded["folds"]
    assert [edge.label for edge in picture.view.edges if edge.label] == ["× 1/2"]


def test_it_is_the_same_every_time():
    assert diff(34).dot == diff(34).dot
    assert diff(1, seed=1).dot != diff(1, seed=2).dot


def test_the_picture_says_it_in_every_format():
    picture = diff(1)
    for text in (picture.dot, picture.svg(), picture.html(), picture.json()):
        assert "× −1" in text


def test_arguments_with_the_names_of_options():
    def product(mode, values):
        return mode * tg.exp(values)

    def backward(dy, mode, values):
        return dy * np.exp(values), -dy * mode * np.exp(values)

    with pytest.raises(ArgumentError, match=r"'mode' is an argument of the reference.* specs=\{'mode'"):
        tg.draw_diff(product, backward, mode="N", values="N")
    picture = tg.draw_diff(product, backward, specs={"mode": "N", "values": "N"}, mode="both")
    assert picture.mode == "both"
    assert labels(picture) == [("values", "× −1")]
    arrays = np.array([1.5, -2.5]), np.array([0.3, 0.7])
    assert labels(tg.draw_diff(product, backward, *arrays)) == [("∂values", "× −1")]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f, b: tg.draw_diff(f, b), "no arguments for the reference"),
        (lambda f, b: tg.draw_diff(f, b, np.ones(3), x="N"), "got arrays and shapes"),
        (lambda f, b: tg.draw_diff(f, b, z="N"), "has no argument 'z'"),
        (lambda f, b: tg.draw_diff(3, b, x="N"), "the reference is a function"),
        (lambda f, b: tg.draw_diff(f, b, x="N", mode="forward"), "choose one of 'backward', 'lanes', 'both'"),
        (lambda f, b: tg.draw_diff(f, b, x="N", theme="pink"), "unknown theme"),
        (lambda f, b: tg.draw_diff(f, b, x="N", wrt="z"), "no floating argument"),
    ],
)
def test_wrong_calls(call, text):
    with pytest.raises(ArgumentError, match=text):
        call(tg.exp, lambda dy, x: dy * np.exp(x))


def test_pictures_know_nothing_of_it():
    code = (
        "import sys, tinygraph as tg; tg.draw(tg.exp(tg.tensor(1.0))).svg(); print('tinygraph.testing' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
