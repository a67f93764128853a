"""The public names: complete, documented, and every primitive with what the registry asks of it."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

import tinygraph as tg
from tinygraph.core.primitive import REGISTRY, Each
from tinygraph.functional import COMPOSITES

# Names that other people's checks call.
FROZEN = """
Tensor Parameter Node Graph Picture tensor asarray no_grad debug_anomaly scope trace draw gradients grad value_and_grad
vjp vjp_fn jvp jacobian hessian hvp fused errors random
add sub mul div neg pow sqrt exp log log1p expm1 abs sign sin cos tanh sigmoid softplus maximum minimum where clip
sum mean max min prod var std norm logsumexp matmul einsum reshape transpose broadcast_to expand_dims squeeze concatenate
stack split pad flip roll getitem set_at add_at take sliding_windows cumsum astype identity size mul0 div0 xlogy
batch_norm layer_norm softmax log_softmax cross_entropy relu less less_equal greater greater_equal equal not_equal
""".split()


@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_name_is_there(name):
    assert hasattr(tg, name)
    assert name in tg.__all__


def test_all_is_sorted_and_true():
    assert tg.__all__ == sorted(set(tg.__all__))
    assert all(hasattr(tg, name) for name in tg.__all__)
    assert set(dir(tg)) == {*tg.__all__, *tg._ON_DEMAND}


def test_what_comes_on_demand():
    modules = "array_api checkpoint compiler data distributed lower nn optim testing train".split()
    functions = {
        "compile": tg.compiler, "derive_source": tg.compiler, "draw_diff": tg.testing, "export_onnx": import_module("tinygraph.lower.onnx"),
    }  # fmt: skip
    assert set(tg._ON_DEMAND) == {*modules, *functions}
    assert all(getattr(tg, name) is getattr(module, name) for name, module in functions.items())


@pytest.mark.parametrize("name", [*tg.__all__, *tg._ON_DEMAND])
def test_a_public_name_says_what_it_is(name):
    assert inspect.getdoc(getattr(tg, name)), f"tg.{name} has no docstring"


@pytest.mark.parametrize("op", REGISTRY.values(), ids=REGISTRY)
def test_a_primitive_is_complete(op):
    assert op.doc
    assert op.symbol
    assert op.domain.calls, "property tests would have nothing to draw"
    assert op.kind in ("elementwise", "reduction", "movement", "contraction", "other")
    assert isinstance(op.vjps, (tuple, Each))
    for what, position, rule in op.mistakes:
        assert what
        assert op.vjps[position] is not None
        assert callable(rule)


def test_functions_carry_their_own_names():
    for name in (*COMPOSITES, *(n for n in REGISTRY if not n.startswith("random_"))):
        assert getattr(tg, name).__name__ == name


def test_what_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tg.nonsense
