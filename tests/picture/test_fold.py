"""Folding: which scopes and chains go, what stays of the edges and steps, what is said, how large is too large."""

import warnings
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygraph as tg
from tinygraph.core.scope import Scope, scope_var
from tinygraph.errors import GraphFoldedWarning, GraphTooLarge
from tinygraph.picture import build, lanes
from tinygraph.picture.fold import fold
from tinygraph.picture.model import Fold, Options, Wire

MODES = st.sampled_from(["both", "forward", "lanes", "backward"])


def view(outputs, mode="both", title=None):
    """What is drawn, not yet folded."""
    outputs = outputs if isinstance(outputs, list) else [outputs]
    seeds = [np.ones(y.shape) for y in outputs]
    options = Options(mode, seed=seeds if len(seeds) > 1 else seeds[0], title=title)
    return (lanes if mode in ("lanes", "backward") else build).view(tg.Graph(outputs), outputs, options)


def folds(seen):
    return {node.title: node for node in seen.nodes if isinstance(node, Fold)}


def quietly(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GraphFoldedWarning)
        return fold(*arguments)


def nested():
    """block/{inner ×2}, then tail; four ops in scopes and one outside."""
    x = tg.tensor(0.5, requires_grad=True, name="x")
    w = tg.Parameter(2.0, name="w")
    with tg.scope("block"):
        h = w * x
        for _ in range(2):
            with tg.scope("inner"):
                h = tg.exp(tg.sin(h))
    with tg.scope("tail"):
        h = tg.cos(h) + 1.0
    return tg.sqrt(h)


def chain(length, x=None):
    h = tg.tensor(0.5, requires_grad=True, name="x") if x is None else x
    for _ in range(length):
        h = tg.sin(h)
    return h


def wide(width):
    x = tg.tensor(0.5, requires_grad=True, name="x")
    return [tg.sin(x) for _ in range(width)]


# -- properties -----------------------------------------------------------------------------------


@st.composite
def programs(draw):
    """A graph of random ops in random nested scopes."""
    leaves = [
        tg.tensor([0.5, 1.0], requires_grad=True, name="x"),
        tg.tensor([1.0, 2.0], requires_grad=True, name="z"),
        tg.Parameter([0.3, 0.7], name="w"),
        tg.tensor(2.0, name="c"),
    ]
    values, made, open_scopes = list(leaves), [], []
    with ExitStack() as stack:
        for _ in range(draw(st.integers(3, 25))):
            change = draw(st.sampled_from(["in", "in", "out", "", ""]))
            if change == "in" and len(open_scopes) < 4:
                open_scopes.append(stack.enter_context(ExitStack()))
                open_scopes[-1].enter_context(tg.scope(draw(st.sampled_from(["a", "b", "c"]))))
            elif change == "out" and open_scopes:
                open_scopes.pop().close()
            a = values[-1 - draw(st.integers(0, min(len(values) - 1, 5)))]
            b = values[draw(st.integers(0, len(values) - 1))]
            kind = draw(st.sampled_from(["sin", "sin", "cos", "add", "mul"]))
            values.append(
                {"sin": tg.sin, "cos": tg.cos}[kind](a) if kind in ("sin", "cos") else getattr(tg, kind)(a, b)
            )
            made.append(values[-1])
    chosen = [made[-1]] + ([made[0]] if draw(st.booleans()) and made[0] is not made[-1] else [])
    return [y for y in chosen if y.requires_grad] or [chosen[0] + leaves[0]]


def collapses(before):
    """All that one may ask for, patterns that match among it."""
    paths = []
    for box in before.boxes:
        paths.append(paths[box.parent] + (box.name,) if box.parent is not None else (box.name,) * (box.kind == "scope"))
    return st.sampled_from([None, True, 0, 1, 2, *(["/".join(path)] for path in paths if path)])


def folded(before, collapse, max_nodes):
    """The folded View, or nothing where even that is too large."""
    try:
        return quietly(before, collapse, max_nodes, True)
    except GraphTooLarge:
        return None


def cyclic(nodes, arrows):
    """Whether the arrows (tail, head) close a cycle."""
    remaining = set(arrows)
    while True:
        heads = {head for _, head in remaining}
        kept = {(tail, head) for tail, head in remaining if tail in heads}
        if kept == remaining:
            return bool(kept)
        remaining = kept


def scope_fold_of(before, after):
    """For each node of ``before`` that went into a folded scope, its fold."""
    ids = {node.id for node in after.nodes if isinstance(node, Fold)}
    homes = {}
    for node in before.nodes:
        box = node.box
        while box is not None:
            if before.boxes[box].id in ids:
                homes[node.id] = before.boxes[box].id
            box = before.boxes[box].parent
    return homes


@settings(deadline=None, max_examples=60)
@given(programs(), MODES, st.data(), st.sampled_from([None, None, 3, 6, 12, 25]))
def test_a_folded_view_is_sound(outputs, mode, data, max_nodes):
    before = view(outputs, mode)
    collapse = data.draw(collapses(before))
    after = folded(before, collapse, max_nodes)
    if after is None:
        assert max_nodes is not None
        return
    ids = [node.id for node in after.nodes]
    made = [node for node in after.nodes if isinstance(node, Fold)]
    kept = {node.id for node in after.nodes if not isinstance(node, Fold)}
    assert len(set(ids)) == len(ids)
    gone = [n for n in before.nodes if n.id not in kept and getattr(n, "role", "") not in ("constant", "saved")]
    assert after.folded == (len(made), len(gone))
    assert max_nodes is None or len(ids) <= max_nodes
    assert {n.id for n in before.nodes if isinstance(n, Wire) and n.role in ("input", "output")} <= kept

    # Boxes: parents first, every index right, each node in the nearest box that is still open.
    assert all(box.parent is None or box.parent < i for i, box in enumerate(after.boxes))
    boxes = {box.id for box in after.boxes}
    where = {node.id: node.box for node in before.nodes}
    for node in after.nodes:
        here = None if node.box is None else after.boxes[node.box].id
        if node.id in kept:
            assert here == (None if where[node.id] is None else before.boxes[where[node.id]].id)
        assert here is None or here in boxes
    assert boxes.isdisjoint(ids)

    # Edges: those between what is visible as they were, the others lead to folds, none is lost.
    assert len({edge.id for edge in after.edges}) == len(after.edges)
    plain = [edge for edge in before.edges if {edge.tail, edge.head} <= kept]
    assert [(e.id, e.tail, e.head, e.role, e.gradient, e.tooltip) for e in plain] == [
        (e.id, e.tail, e.head, e.role, e.gradient, e.tooltip) for e in after.edges if {e.tail, e.head} <= kept
    ]
    bundled = [(e.tail, e.head) for e in after.edges if not {e.tail, e.head} <= kept]
    assert len(set(bundled)) == len(bundled)
    assert {end for ends in bundled for end in ends} <= set(ids)
    homes = scope_fold_of(before, after)
    if not any(node.id.startswith("chain") for node in made):
        assert set(homes) == set(where) - kept
        ends = {(homes.get(e.tail, e.tail), homes.get(e.head, e.head)) for e in before.edges}
        assert {(e.tail, e.head) for e in after.edges} == {(tail, head) for tail, head in ends if tail != head}

    # Cycles: gone without the loose edges, each of which is needed.
    firm = [(e.tail, e.head) for e in after.edges if not e.loose]
    assert not cyclic(ids, firm)
    if mode in ("lanes", "backward"):  # nor against what stands below what, seen as drawn
        spot = {node: node for node in ids} | {lower: upper for upper, lower in after.under}
        drawn = [(e.head, e.tail) if e.backward else (e.tail, e.head) for e in after.edges if not e.loose]
        assert not cyclic(ids, [(spot[tail], spot[head]) for tail, head in drawn if spot[tail] != spot[head]])
    else:
        for edge in after.edges:
            assert not edge.loose or cyclic(ids, [*firm, (edge.tail, edge.head)])

    # Steps: nothing hidden is named, and no contribution to a visible wire is missing.
    edges = {edge.id for edge in after.edges}
    for step in after.steps:
        assert {step.op, *step.inputs, *step.outputs} <= {"", *ids}
        assert set(step.edges) <= edges
        assert {c.edge for c in step.contributions} <= {"", *edges}
    said = [(c.wire, c.text, c.shown) for step in after.steps for c in step.contributions]
    assert said == [(c.wire, c.text, c.shown) for s in before.steps for c in s.contributions if c.wire in kept]
    assert [s.op for s in after.steps if s.op in kept] == [s.op for s in before.steps if s.op in kept]
    assert all(set(pair) <= set(ids) for pair in after.under)
    assert {pair for pair in before.under if set(pair) <= kept} <= set(after.under)

    # The same again is the same, and there is nothing left to fold.
    assert folded(before, collapse, max_nodes) == after
    if not isinstance(collapse, list):
        assert folded(after, collapse, max_nodes) is after


@settings(deadline=None, max_examples=30)
@given(programs(), MODES)
def test_collapse_true_leaves_folds_and_what_stood_in_no_scope(outputs, mode):
    before = view(outputs, mode)
    after = fold(before, True, None)
    scoped = {i for i, box in enumerate(before.boxes) if box.kind == "scope"}
    kept = [node.id for node in after.nodes if not isinstance(node, Fold)]
    assert kept == [node.id for node in before.nodes if node.box not in scoped]
    assert [box.kind for box in after.boxes if box.kind == "scope"] == []
    assert (after is before) == (not scoped)


@settings(deadline=None, max_examples=30)
@given(programs())
def test_a_depth_folds_what_is_nested_deeper(outputs):
    before = view(outputs)
    paths = []
    for box in before.boxes:
        paths.append((paths[box.parent] if box.parent is not None else ()) + (box.id,))
    deepest = max(map(len, paths), default=0)
    for depth in range(4):
        after = fold(before, depth, None)
        assert {box.id for box in after.boxes} == {path[-1] for path in paths if len(path) <= depth}
        assert (after is before) == (deepest <= depth)
    assert fold(before, 0, None) == fold(before, True, None)


# -- which scopes ---------------------------------------------------------------------------------


def test_what_a_folded_scope_says(bn):
    seen = fold(view(bn.y, title="BatchNorm"), ["normalise", "scale and shift"])
    assert seen.title == "BatchNorm · 2 scopes folded (11 nodes)"
    assert seen.folded == (2, 11)
    made = folds(seen)
    assert list(made) == ["4 · normalise", "5 · scale and shift"]
    normalise = made["4 · normalise"]
    assert (normalise.id, normalise.caption, normalise.box) == ("scope_4", "3 ops · 6 nodes", None)
    assert normalise.tooltip == "4 · normalise\n1 add, 1 sqrt, 1 div"
    assert made["5 · scale and shift"].tooltip == "5 · scale and shift\n1 mul, 1 add\nparameters: γ, β"
    assert not normalise.backward


def test_a_fold_tells_what_is_nested_in_it():
    made = folds(fold(view(nested()), True))
    assert made["1 · block"].tooltip == "1 · block\n2 sin, 2 exp, 1 mul\nscopes: inner\nparameters: w"
    assert made["1 · block"].caption == "5 ops · 11 nodes"


def test_edges_across_the_border_lead_to_the_fold(bn):
    before = view(bn.y)
    seen = fold(before, ["variance", "normalise"])
    ends = {(e.tail, e.head): e for e in seen.edges if "scope" in e.tail + e.head}
    names = {wire.id: wire.name for wire in seen.wires} | {op.id: op.symbol for op in seen.ops}
    assert [(names.get(a, a), names.get(b, b)) for a, b in ends] == [
        ("x−mean(x)", "scope_3"), ("scope_3", "scope_4"), ("x−mean(x)", "scope_4"), ("scope_4", "×")
    ]  # fmt: skip
    assert all(edge.gradient and edge.role == "use" and not edge.loose for edge in ends.values())


def test_parallel_edges_become_one():
    x = tg.tensor(0.5, requires_grad=True, name="x")
    with tg.scope("s"):
        y = tg.sin(x) * x + x
    edges = fold(view(tg.exp(y)), True).edges
    assert [(e.id, e.tail, e.head) for e in edges] == [
        ("e1_0", "v1", "scope_1"), ("e4_0", "scope_1", "op4"), ("e4", "op4", "v5")
    ]  # fmt: skip
    assert [line.split()[2] for line in edges[0].tooltip.split("\n") if "→" in line] == ["sin", "mul", "add"]
    x_x = fold(view(x * x), True).edges
    assert [e.id for e in x_x] == ["e1_0", "e1_1", "e1"]  # both uses by a visible op are still drawn


def test_an_edge_has_a_gradient_if_one_of_its_parts_has():
    x, c = tg.tensor(0.5, requires_grad=True, name="x"), tg.tensor(3.0)
    with tg.scope("left"):
        a = tg.cos(x) * c
    with tg.scope("right"):
        y = tg.exp(c * a)
    between = [e for e in fold(view(y), True).edges if (e.tail, e.head) == ("scope_1", "scope_2")]
    assert [(e.gradient, e.role, e.tooltip.split("\n")[0]) for e in between] == [(True, "use", "3 → mul")]


def test_what_stays_open_keeps_its_box(bn):
    before, after = view(bn.y), fold(view(bn.y), ["mean", "variance"])
    boxes = {node.id: before.boxes[node.box].title for node in before.nodes if node.box is not None}
    assert [box.title for box in after.boxes] == ["2 · centre", "4 · normalise", "5 · scale and shift"]
    for node in after.nodes:
        if not isinstance(node, Fold) and node.box is not None:
            assert after.boxes[node.box].title == boxes[node.id]
    inner = fold(view(deeper()), ["first", "second/b"])
    assert [(box.name, box.parent) for box in inner.boxes] == [("second", None), ("a", 0)]
    assert [(n.title, n.box) for n in inner.nodes if isinstance(n, Fold)] == [("1 · first", None), ("b", 0)]


def deeper():
    h = tg.tensor(0.5, requires_grad=True, name="x")
    for name in ("first", "second"):
        with tg.scope(name):
            for inner in "ab":
                with tg.scope(inner):
                    h = chain(3, h)
    return tg.sqrt(h)


def test_patterns_match_paths():
    before = view(nested())
    assert [n.id for n in fold(before, ["block/*"]).nodes if isinstance(n, Fold)] == ["scope_2", "scope_3"]
    assert list(folds(fold(before, ["block", "block/*"]))) == ["1 · block"]
    assert list(folds(fold(before, "t*l"))) == ["2 · tail"]
    assert fold(before, []) is before


def test_a_pattern_may_be_a_name_that_looks_like_one():
    x = tg.tensor(0.5, requires_grad=True, name="x")
    with tg.scope("layer[0]"):
        y = tg.sin(x)
    assert list(folds(fold(view(y), ["layer[0]"]))) == ["1 · layer[0]"]


def test_a_pattern_without_a_scope_lists_the_scopes():
    before = view(nested())
    with pytest.raises(ValueError) as caught:
        fold(before, ["block", "inner"])
    assert (
        str(caught.value) == "draw(collapse='inner'): no scope matches; the scopes are 'block', 'block/inner', 'tail'"
    )
    with pytest.raises(tg.errors.ArgumentError, match=r"no scope matches; the graph has no scopes, make some: with "):
        fold(view(chain(2)), ["a"])


def test_at_most_twenty_scopes_are_listed():
    h = tg.tensor(0.5, requires_grad=True, name="x")
    for i in range(23):
        with tg.scope(f"s{i}"):
            h = tg.sin(h)
    with pytest.raises(ValueError, match=r"'s18', 's19' and 3 more$"):
        fold(view(h), ["nothing"])


@pytest.mark.parametrize(
    ("collapse", "text"),
    [
        (-1, "draw(collapse=-1): a depth is a whole number; give one from 0 on"),
        (1.5, 'draw(collapse=1.5): unknown collapse; give True, False, None, a depth, or a list such as ["a", "b/*"]'),
    ],
)
def test_a_wrong_collapse(collapse, text):
    with pytest.raises(ValueError) as caught:
        fold(view(nested()), collapse)
    assert str(caught.value) == text


@pytest.mark.parametrize("limit", [0, -3, 2.5, True, "400"])
def test_a_wrong_limit(limit):
    with pytest.raises(ValueError, match=r"a limit is a whole number; give one from 1 on, or None$"):
        fold(view(nested()), None, limit)


# -- cycles ---------------------------------------------------------------------------------------


def interleaved(mode="both"):
    """{sub, div} in one entry of a scope, and between them a scope that stays open."""
    x = tg.tensor([1.5, 2.0], requires_grad=True, name="x")
    z = tg.tensor([1.0, 2.0], requires_grad=True, name="z")
    entry = Scope("norm")
    token = scope_var.set(entry)
    centred = x - 1.0
    scope_var.reset(token)
    with tg.scope("variance"):
        v = tg.sqrt(centred * z)
    token = scope_var.set(entry)
    y = centred / v
    scope_var.reset(token)
    return view(y, mode)


def test_an_edge_that_closes_a_cycle_is_loose():
    seen = fold(interleaved(), ["norm"])
    assert [n.id for n in seen.nodes] == ["v1", "scope_1", "v4", "op2", "v5", "op3", "v6", "v7"]
    assert [(e.tail, e.head) for e in seen.edges if e.loose] == [("v6", "scope_1")]


def test_without_a_cycle_nothing_is_loose(bn):
    for collapse in (True, ["variance"], ["centre", "normalise"], ["*"]):
        assert not any(edge.loose for edge in fold(view(bn.y), collapse).edges)
    assert not any(edge.loose for edge in fold(interleaved(), ["variance"]).edges)


def test_an_output_inside_a_folded_scope_stays_and_its_use_is_loose():
    x = tg.tensor(0.5, requires_grad=True, name="x")
    with tg.scope("s"):
        middle = tg.sin(x)
        y = tg.cos(middle)
    seen = fold(view([middle, y]), True)
    assert [(e.tail, e.head, e.role, e.loose) for e in seen.edges] == [
        ("v1", "scope_1", "use", False), ("scope_1", "v2", "result", False),
        ("v2", "scope_1", "use", True), ("scope_1", "v3", "result", False),
    ]  # fmt: skip


def test_both_lanes_loosen_the_same_edges():
    """√ stands right of the fold, and so does its backward: what leads back is loose above and below."""
    seen = fold(interleaved("lanes"), ["norm"])
    ops = {op.id: op.tooltip.partition("(")[0] for op in seen.ops}
    assert ("scope_3", "scope_5") in seen.under
    assert [(e.tail, ops.get(e.head, e.head)) for e in seen.edges if e.loose] == [
        ("v6", "scope_3"),
        ("scope_5", "div0"),
    ]


# -- lanes ----------------------------------------------------------------------------------------


def test_scopes_of_both_lanes_fold_alike(bn):
    seen = fold(view(bn.y, "lanes"), True)
    made = [node for node in seen.nodes if isinstance(node, Fold)]
    forward = [(n.title, n.box) for n in made if not n.backward]
    backward = [(n.title, n.box) for n in made if n.backward]
    assert [title for title, _ in forward] == [title for title, _ in reversed(backward)]
    assert {seen.boxes[box].kind for _, box in forward} == {"forward"}
    assert {seen.boxes[box].kind for _, box in backward} == {"backward"}
    assert [box.kind for box in seen.boxes] == ["backward", "forward"]


def test_each_fold_stands_over_its_backward(bn):
    seen = fold(view(bn.y, "lanes"), True)
    titles = {node.id: node.title for node in seen.nodes if isinstance(node, Fold)}
    pairs = [(titles[a], titles[b]) for a, b in seen.under if a in titles]
    assert len(pairs) == 5
    assert all(a == b for a, b in pairs)
    assert len(seen.under) == 7  # and x over ∂x, y over ∂y


def test_layers_of_one_name_stand_over_their_own_backwards():
    h = tg.tensor(0.5, requires_grad=True, name="x")
    for _ in range(3):
        with tg.scope("layer"):
            h = tg.exp(h + 1.0)  # the gradient of a sum is that of its operand, made one layer before
    seen = fold(view(tg.sqrt(h), "lanes"), True)
    titles = {node.id: node.title for node in seen.nodes if isinstance(node, Fold)}
    pairs = [(titles[a], titles[b]) for a, b in seen.under if a in titles]
    assert pairs == [(f"{i} · layer",) * 2 for i in (1, 2, 3)]


def test_inner_scopes_of_one_name_stand_over_their_own_backwards():
    h = tg.tensor(0.5, requires_grad=True, name="x")
    with tg.scope("outer"):
        for op in (tg.sin, tg.exp):
            with tg.scope("inner"):
                h = op(h)
    seen = fold(view(h, "lanes"), ["outer/inner"])
    said = {node.id: node.tooltip.split("\n")[1] for node in seen.nodes if isinstance(node, Fold)}
    assert [(said[a], said[b]) for a, b in seen.under if a in said] == [("1 sin", "1 cos, 1 mul"), ("1 exp", "1 mul")]


def test_lanes_never_fold():
    x = tg.tensor(0.5, requires_grad=True, name="x")
    with pytest.raises(GraphTooLarge):
        fold(view(x * tg.sin(x), "lanes"), None, 4)


def test_what_is_in_the_backward_of_a_scope(bn):
    made = folds(fold(view(bn.y, "backward"), ["scale*"]))
    assert made["5 · scale and shift"].backward
    assert made["5 · scale and shift"].tooltip.endswith("gradients: ∂β, ∂γ")


# -- steps ----------------------------------------------------------------------------------------


def test_steps_inside_one_fold_become_one(bn):
    seen = fold(view(bn.y), ["normalise"])
    steps = [step for step in seen.steps if step.op == "scope_4"]
    assert [(s.direction, s.text) for s in steps] == [
        ("forward", "4 · normalise: 3 ops forward"), ("backward", "4 · normalise: 3 ops backward")
    ]  # fmt: skip
    names = {wire.id: wire.name for wire in seen.wires}
    assert [names[x] for x in steps[0].inputs] == ["t3", "x−mean(x)"]
    assert [names[x] for x in steps[1].outputs] == ["x−mean(x)", "t3"]
    assert [names[c.wire] for c in steps[1].contributions] == ["x−mean(x)", "t3"]
    assert steps[1].contributions[0].shown.startswith("∂ 1/2 ")


def test_steps_that_are_interrupted_stay_apart():
    steps = fold(interleaved(), ["norm"]).steps
    assert [s.op for s in steps if s.direction == "forward"] == ["scope_1", "op2", "op3", "scope_1"]
    assert {s.text for s in steps if s.op == "scope_1" and s.direction == "forward"} == {"1 · norm: 1 op forward"}


# -- too large ------------------------------------------------------------------------------------


def test_nothing_folds_while_it_fits():
    before = view(nested())
    assert fold(before, None, len(before.nodes)) is before
    assert fold(before, None, None) is before
    assert fold(before, False) is before


def test_the_deepest_scopes_fold_first():
    before = view(nested(), title="net")
    assert len(before.nodes) == 19
    with pytest.warns(GraphFoldedWarning) as caught:
        seen = fold(before, None, 18)
    assert seen.title == "net · 2 scopes folded (8 nodes)"
    (warned,) = caught
    assert str(warned.message) == (
        "draw(max_nodes=18): the graph has 19 nodes, so it is drawn with 2 scopes folded (8 nodes); "
        "to see all of it give max_nodes=None"
    )
    assert warned.filename == __file__
    assert quietly(before, None, 13) == seen
    assert quietly(before, None, 12).title == "net · 2 scopes folded (15 nodes)"


def test_a_scope_of_one_node_stays_open():
    x = tg.tensor(0.5, requires_grad=True, name="x")
    with tg.scope("two"):
        h = tg.sin(tg.cos(x))
    with tg.scope("one"):
        y = tg.exp(h)
    assert list(folds(quietly(view(y), None, 5))) == ["1 · two"]
    assert list(folds(fold(view(y), True))) == ["1 · two", "2 · one"]


def test_what_was_asked_for_does_not_warn_but_the_rest_does():
    before = view(nested())
    assert len(fold(before, ["block"], 9).nodes) == 9  # a warning would be an error
    with pytest.warns(GraphFoldedWarning, match=r"drawn with 2 scopes folded \(15 nodes\)"):
        assert list(folds(fold(before, ["block"], 8))) == ["1 · block", "2 · tail"]


def test_chains_fold_where_there_are_no_scopes():
    with pytest.warns(
        GraphFoldedWarning, match=r"the graph has 2\u00a0001 nodes, .* with 1 chain folded \(1\u00a0999 nodes\)"
    ):
        seen = fold(view(chain(1000), title="deep"), None)
    assert [node.id for node in seen.nodes] == ["v1", "chain_1", "v1001"]
    assert folds(seen)["1\u00a0000 ops"].caption == "1\u00a0999 nodes"
    assert folds(seen)["1\u00a0000 ops"].tooltip == "1\u00a0000 ops\n1\u00a0000 sin"
    assert seen.title == "deep · 1 chain folded (1\u00a0999 nodes)"
    assert [(e.tail, e.head, e.role, e.gradient) for e in seen.edges] == [
        ("v1", "chain_1", "use", True), ("chain_1", "v1001", "result", True)
    ]  # fmt: skip


def test_a_chain_ends_where_a_wire_is_used_twice():
    x = tg.tensor(0.5, requires_grad=True, name="x")
    h = chain(5, x)
    y = chain(4, h * tg.sin(h))
    seen = quietly(view(y, title=""), None, 9)
    assert [(n.title, n.caption) for n in seen.nodes if isinstance(n, Fold)] == [
        ("5 ops", "9 nodes"),
        ("6 ops", "11 nodes"),
    ]
    assert [wire.role for wire in seen.wires] == ["input", "wire", "output"]
    assert seen.title == "2 chains folded (20 nodes)"


def test_where_chains_meet_the_longer_goes_on():
    x, z = (tg.tensor(0.5, requires_grad=True, name=name) for name in "xz")
    seen = quietly(view(chain(2, x) + chain(3, z)), None, 7)
    assert list(folds(seen)) == ["2 ops", "4 ops"]


def test_a_chain_takes_in_what_only_it_uses():
    x = tg.tensor(0.5, requires_grad=True, name="x")
    shared, h = tg.Parameter(2.0, name="shared"), x
    for i in range(3):
        h = h * tg.Parameter(1.0, name=f"w{i}") + 2.0
    y = tg.exp(h * shared)
    seen = quietly(view([y, shared * x]), None, 8)
    assert {wire.name for wire in seen.wires if wire.role != "output"} == {"x", "shared"}
    assert folds(seen)["8 ops"].tooltip.endswith("parameters: w0, w1, w2")


def test_a_chain_stays_inside_one_box():
    h = tg.tensor(0.5, requires_grad=True, name="x")
    h = chain(2, h)
    with tg.scope("s"):
        h = tg.sin(h)
    h = chain(2, h)
    seen = quietly(view(h, title=""), None, 7)
    assert seen.title == "1 scope and 2 chains folded (8 nodes)"
    assert [n.id for n in seen.nodes if isinstance(n, Fold)] == ["chain_1", "scope_1", "chain_2"]


def test_a_chain_ends_before_another_box_and_at_an_output():
    x = tg.tensor(0.5, requires_grad=True, name="x")
    middle = chain(3, x)
    h = chain(3, x)
    with tg.scope("one"):
        last = tg.sin(h)
    seen = quietly(view(last), None, 5)
    assert [n.id for n in seen.nodes] == ["v1", "chain_1", "v4", "op4", "v5"]
    seen = quietly(view([middle, chain(3, middle)]), None, 5)
    assert [n.id for n in seen.nodes] == ["v1", "chain_1", "v4", "chain_2", "v7"]


def test_scopes_that_hold_only_folds_fold_too():
    before = view(deeper())
    assert [n.id for n in quietly(before, ["*/a", "*/b"], 5).nodes] == ["v1", "scope_1", "scope_4", "op13", "v14"]


WAYS_OUT = (
    "\n  max_nodes=None: draws all of it, which may take long{some}"
    '\n  draw(..., max_nodes=None).save("graph.html"): a page to zoom and pan in; needs no Graphviz'
)


@pytest.mark.parametrize("scoped", [False, True])
def test_too_large_a_graph_says_how_to_draw_it(scoped):
    outputs = wide(600)
    with tg.scope("tail"):
        outputs[0] = chain(2, outputs[0]) if scoped else outputs[0]
    with pytest.raises(GraphTooLarge) as caught:
        fold(view(outputs))
    size = (
        "1\u00a0205 nodes (602 ops, 603 tensors), 1\u00a0203" if scoped else "1\u00a0201 nodes (600 ops, 601 tensors)"
    )
    folded = " when all its scopes and chains of ops are folded" if scoped else " and nothing that can be folded"
    assert str(caught.value) == (
        f"draw(max_nodes=400): the graph has {size}{folded}, too many for a picture that can be read; three ways out:\n"
        '  collapse=True: first put "with tg.scope(name):" around larger parts of the code, each becomes one box'
        + WAYS_OUT.format(some="; max_nodes=1203 draws it folded like that" if scoped else "")
    )
    assert isinstance(caught.value, ValueError)
    if scoped:
        assert len(quietly(view(outputs), None, 1203).nodes) == 1203


def test_never_to_fold_may_be_too_large():
    with pytest.raises(GraphTooLarge) as caught:
        fold(view(chain(300)), False)
    assert str(caught.value) == (
        "draw(max_nodes=400): the graph has 601 nodes (300 ops, 301 tensors) and collapse=False, "
        "too many for a picture that can be read; three ways out:\n"
        "  collapse=None: folds scopes, then chains of ops, until it fits" + WAYS_OUT.format(some="")
    )


# -- direction, size ------------------------------------------------------------------------------


def test_a_picture_that_is_no_longer_deep_lies_down_again():
    h = tg.tensor(0.5, requires_grad=True, name="x")
    with tg.scope("deep"):
        h = chain(30, h)
    before = view(h)
    assert before.rankdir == "TB"
    seen = fold(before, True, None, auto=True)
    assert seen.rankdir == "LR"
    assert seen.legend == view(tg.sin(tg.tensor(0.5, requires_grad=True))).legend
    assert fold(before, True, None).rankdir == "TB"


@pytest.mark.parametrize(("length", "rankdir"), [(10, "LR"), (11, "TB")])
def test_a_fold_is_as_deep_as_an_op(length, rankdir):
    h = chain(length)
    with tg.scope("s"):
        y = chain(30, h)
    assert fold(view(y), True, None, auto=True).rankdir == view(tg.sin(h)).rankdir == rankdir


def test_twenty_thousand_nodes_fold_quickly():
    h = tg.tensor(0.5, requires_grad=True, name="x")
    for _ in range(100):
        with tg.scope("outer"):
            for _ in range(10):
                with tg.scope("inner"):
                    h = chain(10, h)
    before = view(h, "forward")
    seen = quietly(before)
    assert len(before.nodes) == 20_001
    assert seen.folded == (100, 19_999)
