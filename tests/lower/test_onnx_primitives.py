"""Every primitive has an ONNX form with NumPy's values, or is refused with a reason."""

import numpy as np
import pytest
from support.calls import CALLS, REGISTRY, RULED, parametrize
from support.onnx_runs import evaluated, off, ran

import tinygraph as tg
from tinygraph.core.primitive import apply
from tinygraph.errors import ArgumentError
from tinygraph.lower.onnx_ops import REFUSED, RULES
from tinygraph.testing.laws import gradient_of

CASES = [c for c in CALLS if c.op.name not in REFUSED]
# ONNX has no such operator, or the evaluator adds in another order; elsewhere its values are NumPy's own.
ROUNDED = {"expm1", "log1p", "softplus", "einsum", "overlap_add"}
NO_FLOAT64 = {"tan", "arcsin", "arccos", "arctan", "sinh", "cosh"}  # in onnxruntime
BOUNDS = {np.float64: 1e-14, np.float32: 1e-6}


def exported(problem):
    """The call as a model whose inputs are all its arrays, and their values."""
    places = [i for i, x in enumerate(problem.operands) if isinstance(x, np.ndarray)]

    def fn(*arrays):
        operands = list(problem.operands)
        for place, array in zip(places, arrays, strict=True):
            operands[place] = array
        return apply(problem.op, tuple(operands), problem.params)

    arrays = [problem.operands[i] for i in places]
    model = tg.export_onnx(fn, None, *arrays)
    return model, dict(zip([x.name for x in model.graph.input], arrays, strict=True))


def test_the_table_is_complete():
    assert RULES.keys().isdisjoint(REFUSED)
    assert {*RULES, *REFUSED} == set(REGISTRY)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_op_says_why(name):
    op = REGISTRY[name]
    (operands, params), *_ = op.domain.calls
    with pytest.raises(ArgumentError, match=r"export_onnx: random_\w+\(\): ONNX's generator .*; draw outside"):
        tg.export_onnx(lambda: apply(op, *op.bind(operands, params)), None)


@parametrize(CASES)
def test_the_values_are_numpys(call):
    for dtype, bound in BOUNDS.items():
        problem = call.draw(4, dtype)
        model, feeds = exported(problem)
        expected = problem.op.run(problem.operands, problem.params)
        assert off(evaluated(model, feeds)["out"], expected) <= (bound if problem.op.name in ROUNDED else 0.0)
        if dtype == np.float64 and problem.op.name in NO_FLOAT64:
            continue
        assert off(ran(model, feeds)["out"], expected) <= bound


@parametrize([c for c in CASES if c.op.name in NO_FLOAT64])
def test_what_onnxruntime_does_not_have(call):
    model, feeds = exported(call.draw(4))
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
        ran(model, feeds)


@parametrize(RULED)
def test_the_derived_backward_exports(call):
    problem = call.draw(5)
    backward = tg.trace(gradient_of(problem.fn), *problem.arrays, problem.cotangent())
    model = tg.export_onnx(backward, None)
    arrays = [*problem.arrays, problem.cotangent()]
    feeds = dict(zip([x.name for x in model.graph.input], arrays, strict=True))
    for found, expected in zip(evaluated(model, feeds).values(), backward.run(np, *arrays), strict=True):
        assert off(found, expected) <= 1e-14
