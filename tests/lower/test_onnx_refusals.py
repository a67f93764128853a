"""What cannot be exported says so before a file is written."""

import sys

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.primitive import REGISTRY, Domain, Primitive
from tinygraph.errors import ArgumentError, MissingExtra, StaleError, TraceError


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="onnx is not installed")


def test_an_op_of_the_users_has_no_form(onnx, tmp_path):
    from tinygraph.core.tensor import OPS

    try:
        cube = Primitive("my_cube", lambda xp, x: x * x * x, (None,), "elementwise", "x³", "x³.", domain=Domain())
        path = tmp_path / "model.onnx"
        with pytest.raises(ArgumentError, match=r"export_onnx: my_cube\(float64\[2\] x\): this op has no ONNX form"):
            tg.export_onnx(tg.core.primitive.public(cube), path, np.ones(2))
        assert not path.exists()
    finally:
        REGISTRY.pop("my_cube", None)
        OPS.pop("my_cube", None)


def test_dropout_says_to_call_eval(onnx):
    net = tg.nn.Sequential(tg.nn.Linear(2, 2, rng=0), tg.nn.Dropout(0.5, rng=0))
    with pytest.raises(ArgumentError, match=r"random_uniform\(.*draw outside .* or call eval\(\) first"):
        tg.export_onnx(net, None, np.ones((3, 2)))
    assert tg.export_onnx(net.eval(), None, np.ones((3, 2))).graph.output[0].name == "out"


def test_a_draw_that_no_result_needs_does_not_matter(onnx):
    def fn(x):
        tg.random.normal((2,), rng=0)
        return x + 1

    assert [n.op_type for n in tg.export_onnx(fn, None, np.ones(2)).graph.node] == ["Constant", "Add"]


def test_a_graph_takes_no_arguments(onnx):
    graph = tg.trace(tg.exp, np.ones(2))
    with pytest.raises(ArgumentError, match="a graph is traced already; give the path alone"):
        tg.export_onnx(graph, None, np.ones(2))


def test_a_stale_graph(onnx):
    p = tg.Parameter(np.ones(2), name="p")

    def fn(x):
        y = x * p
        p.assign(np.zeros(2))
        return y

    graph = tg.trace(fn, np.ones(2))
    with pytest.raises(StaleError, match=r"export_onnx\(float64\[2\] p\): .*trace again"):
        tg.export_onnx(graph, None)


def test_no_function(onnx):
    with pytest.raises(ArgumentError, match="exports a function"):
        tg.export_onnx(3, None)


def test_a_value_that_is_read(onnx):
    with pytest.raises(TraceError):
        tg.export_onnx(lambda x: x * float(x), None, np.ones(()))


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "tinygraph.lower.onnx_proto", raising=False)
    with pytest.raises(MissingExtra, match=r'pip install "tinygraph\[onnx\]"'):
        tg.export_onnx(tg.exp, None, np.ones(2))


def test_a_path_that_was_forgotten(onnx):
    with pytest.raises(tg.errors.ArgumentError, match="the path, or None, comes before the arguments"):
        tg.export_onnx(lambda x: x, np.ones(2))
