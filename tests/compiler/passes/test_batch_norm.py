"""The derived backward of normalisations after all passes is the formula of the textbooks, to the letter.

Renew the listings after a wanted change, and look at the difference::

    TINYGRAPH_RENEW=1 python -m pytest tests/compiler/passes/test_batch_norm.py
"""

import os
from pathlib import Path

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.compiler.graphs import valueless
from tinygraph.compiler.passes import optimise

LISTINGS = Path(__file__).with_name("listings")


def batch_norm(x, gamma, beta, eps=1e-5):
    """From seven primitives, as a beginner writes it."""
    mu = tg.mean(x, axis=0)
    xc = x - mu
    var = tg.mean(xc**2, axis=0)
    xhat = xc / tg.sqrt(var + eps)
    return gamma * xhat + beta


def with_mean_and_var(x, gamma, beta, eps=1e-5):
    return gamma * (x - tg.mean(x, axis=0)) / tg.sqrt(tg.var(x, axis=0) + eps) + beta


def graph_of(fn, *shapes):
    """Forward and derived backward, on ones: the values do not matter."""
    arrays = [np.ones(shape, np.float32) for shape in shapes]
    return valueless(tg.trace(tg.vjp_fn(fn), *arrays, arrays[0]))


GRAPHS = {
    "batch_norm": graph_of(batch_norm, (100, 5), (5,), (5,)),
    "batch_norm_channels": graph_of(tg.batch_norm, (8, 3, 4, 5), (3,), (3,)),
    "batch_norm_without_affine": graph_of(lambda x: batch_norm(x, 1, 0), (100, 5)),
    "softmax": graph_of(lambda x: tg.softmax(x, axis=1), (8, 5)),
    "layer_norm": graph_of(tg.layer_norm, (8, 5), (5,), (5,)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_graph_after_all_passes(name):
    stages = optimise(GRAPHS[name])
    counts = ", ".join(f"{stage.name} {len(stage.graph.nodes)}" for stage in stages)
    text = f"{counts}\n{stages[-1].graph}\n"
    file = LISTINGS / f"{name}.txt"
    if os.environ.get("TINYGRAPH_RENEW"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["batch_norm", "batch_norm_channels", "batch_norm_without_affine"])
def test_two_sums_of_the_cotangent_are_all_that_is_left(name):
    """sum(dy) and sum(dy · x̂): the gradients of beta and gamma, from which dx is made."""
    graph = optimise(GRAPHS[name])[-1].graph
    names = graph.names
    dy = graph.inputs[-1]
    sums = [t for t in graph.nodes if t.node.op.name == "sum"]
    assert len(sums) == 2
    summed = {names[graph.operands(t)[0]]: graph.operands(graph.operands(t)[0]) for t in sums}
    assert names[dy] in summed
    (product,) = [operands for operands in summed.values() if operands]
    assert dy in set(product)


@pytest.mark.parametrize("shape", [(2, 5), (100, 5), (33, 7)])
def test_another_shape_is_the_same_program(shape):
    def ops(graph):
        return [line.split(" = ")[-1] for line in str(graph).splitlines()[1:]]

    here = optimise(graph_of(batch_norm, shape, shape[1:], shape[1:]))[-1].graph
    assert ops(here) == ops(optimise(GRAPHS["batch_norm"])[-1].graph)


def test_written_in_another_way_it_is_no_longer():
    longest = len(optimise(GRAPHS["batch_norm"])[-1].graph.nodes)
    other = optimise(graph_of(with_mean_and_var, (100, 5), (5,), (5,)))[-1].graph
    assert len(other.nodes) <= longest + 1  # a division more, and one the less of the full shape


def test_three_layers_collapse_like_one():
    def network(x, gamma, beta):
        for _ in range(3):
            x = tg.tanh(batch_norm(x, gamma, beta))
        return x

    graph = optimise(graph_of(network, (100, 5), (5,), (5,)))[-1].graph
    assert sum(t.node.op.name == "sum" for t in graph.nodes) == 6
