"""What ``print(tg.trace(…))`` prints, to the byte; and what a traced graph computes.

Renew the files after a wanted change, and look at the difference::

    TINYGRAPH_RENEW=1 python -m pytest tests/golden/test_listing.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygraph as tg

LISTINGS = Path(__file__).with_name("listings")
X = np.array([[4.5, 0.5, 2.0], [1.0, 2.5, -1.0], [-2.0, 4.0, 3.5], [3.0, -1.5, 1.0]])
GAMMA, BETA, SEED = np.array([1.5, 0.5, 1.0]), np.array([0.1, -0.2, 0.3]), np.ones((4, 3))


def affine(params, x):
    for layer in params["layers"]:
        x = tg.tanh(x @ layer["w"] + layer["b"])
    return {"out": x, "scale": params["scale"] * 2}


def params():
    return {
        "layers": [{"w": np.ones((3, 2)), "b": np.zeros(2)}, {"w": np.ones((2, 1)), "b": np.zeros(1)}],
        "scale": 2.0,
    }


def odd_names(a, b, c, d, e):
    for t, name in ((a, "x"), (b, "x"), (c, 'quote " and \\'), (d, "line\nbreak\ttab"), (e, "")):
        t.name = name
    y = a * b + c * d
    y.name = "x"
    z = y * e
    z.name = "γ̂ 层 <b>&amp;"
    return z, z * 2


def many_ops(x, index):
    with tg.scope("outer"), tg.scope("inner"):
        y = tg.concatenate([x[index, None], x[1:, ..., ::2][:2, None]], axis=-1)
        y = tg.pad(tg.transpose(y, (1, 0, 2)), ((0, 0), (1, -1), (0, 0)), 1.5)
    with tg.scope("inner"):
        y = y.astype(np.float32).sum(axis=(0, 2), keepdims=True)
    return tg.where(y > 0, y, 1e-3), tg.argmax(x, axis=0)


def captured():
    w, k = tg.Parameter(GAMMA, name="w"), tg.tensor([1.0, 2.0, 3.0])
    return tg.trace(lambda x: (x * w + k * np.array([1, 2, 3]), w, 5.0), X)


TRACES = {
    "batch_norm": lambda: tg.trace(tg.batch_norm, X, GAMMA, BETA),
    "batch_norm_backward": lambda: tg.trace(tg.vjp_fn(tg.batch_norm), X, GAMMA, BETA, SEED),
    "batch_norm_images": lambda: tg.trace(tg.batch_norm, np.ones((2, 3, 4, 4), np.float32), GAMMA.astype(np.float32)),
    "fused_batch_norm": lambda: tg.trace(tg.fused.batch_norm, X, GAMMA, BETA),
    "pytree": lambda: tg.trace(affine, params(), np.ones((5, 3))),
    "pytree_gradient": lambda: tg.trace(tg.grad(lambda p, x: tg.sum(affine(p, x)["out"])), params(), np.ones((5, 3))),
    "odd_names": lambda: tg.trace(odd_names, 1.0, 2.0, 3.0, 4.0, 5.0),
    "many_ops": lambda: tg.trace(many_ops, np.ones((3, 4)), np.array([0, 2])),
    "captured": captured,
    "static_arguments": lambda: tg.trace(lambda x, kind, flag, n: x * n if flag else x, X, "mean", True, 3),
    "second_derivative": lambda: tg.trace(tg.grad(tg.grad(lambda x: x**3)), 2.0),
    "softmax_cross_entropy": lambda: tg.trace(tg.cross_entropy, X, np.array([0, 2, 1, 1])),
    "nothing": lambda: tg.trace(lambda x: x, X),
}


def everything():
    return {name: f"{make()}\n" for name, make in TRACES.items()}


@pytest.mark.parametrize("name", TRACES)
def test_listing(name):
    path, text = LISTINGS / f"{name}.txt", f"{TRACES[name]()}\n"
    if os.environ.get("TINYGRAPH_RENEW"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TRACES)
def test_one_line_a_node_and_unique_names(name):
    graph = TRACES[name]()
    lines = str(graph).split("\n")
    assert sum(" = " in line for line in lines) == len(graph.nodes)
    assert all(line.isprintable() for line in lines)
    results = [graph.names[t] for t in graph.nodes]
    assert len(set(results)) == len(results)


def test_no_file_is_left_over():
    assert {p.stem for p in LISTINGS.glob("*.txt")} == set(TRACES)


@pytest.mark.parametrize("hash_seed", ["0", "1", "42"])
def test_same_under_every_hash_seed(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == {name: (LISTINGS / f"{name}.txt").read_text("utf-8") for name in TRACES}


# -- what a traced graph computes -----------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in TRACES if n != "odd_names"])
def test_a_replay_gives_the_traced_values(name):
    graph = TRACES[name]()
    found = graph.run(np, *(t.numpy() for t in graph.inputs))
    assert len(found) == len(graph.outputs)
    for array, t in zip(found, graph.outputs, strict=True):
        np.testing.assert_allclose(array, t.numpy(), rtol=1e-6, atol=1e-12)


def test_a_replay_on_other_arrays(rng):
    graph = tg.trace(tg.vjp_fn(tg.batch_norm), X, GAMMA, BETA, SEED)
    x, seed = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    y, (dx, dgamma, dbeta) = tg.vjp_fn(tg.batch_norm)(x, GAMMA, BETA, seed)
    for found, expected in zip(graph.run(np, x, GAMMA, BETA, seed), (y, dx, dgamma, dbeta), strict=True):
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12, atol=1e-12)


def test_a_wide_replay_stays_wide():
    graph = tg.trace(lambda x: x.astype(np.float32) * 2, X)
    assert graph.run(np, X.astype(complex))[0].dtype == complex
    assert graph.run(np, X.astype(np.longdouble))[0].dtype == np.longdouble


def test_constants_can_be_converted():
    graph = tg.trace(lambda x: x * 0.5 + tg.tensor([1.0]), 1.0)
    seen = []
    graph.run(np, 1.0, constant=lambda c: seen.append(np.asarray(c).tolist()) or c)
    assert seen == [0.5, [1.0]]


def test_results_of_a_trace():
    graph = captured()
    assert [t.shape for t in graph.outputs] == [(4, 3), (3,), ()]
    assert len(graph.inputs) == 1
    assert graph.captured[0].name == "w"
    assert repr(graph) == "<Graph: 1 inputs, 3 nodes, 3 outputs>"


def test_a_trace_leaves_its_arguments_alone():
    x = tg.tensor(X, requires_grad=True, name="mine")
    graph = tg.trace(lambda v: tg.sum(v * v), x)
    assert graph.inputs[0] is not x
    assert graph.inputs[0].name == "mine"
    assert x.grad is None


def test_everything_is_recorded_even_inside_no_grad():
    def fn(x):
        with tg.no_grad():
            y = tg.exp(x)
        return y * 2

    graph = tg.trace(fn, 1.0)
    assert [t.node.op.name for t in graph.nodes] == ["exp", "mul"]
    assert not graph.outputs[0].requires_grad


def test_the_structure_of_the_result_is_kept():
    graph = tg.trace(lambda x: {"b": x, "a": (x * 2, [x * 3])}, 1.0)
    assert graph.tree.build(graph.run(np, 2.0)) == {"b": 2.0, "a": (4.0, [6.0])}


def test_a_graph_of_what_stands():
    x = tg.tensor(X, requires_grad=True, name="x")
    assert str(tg.Graph([tg.sum(x * x)], [x])).startswith("graph(x: float64[4,3])\n")
    assert "captured x: float64[4,3]" in str(tg.Graph([tg.sum(x * x)]))


if __name__ == "__main__":
    sys.stdout.buffer.write(json.dumps(everything()).encode())
