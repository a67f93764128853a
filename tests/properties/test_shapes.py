"""0-d, empty and size-1 operands: values are NumPy's, gradients have the leaf's shape and obey P1."""

import numpy as np
import pytest
from support.calls import REGISTRY, rule_of

import tinygraph as tg
from tinygraph.testing import laws
from tinygraph.testing.primitives import Call

SHAPES = [(), (0,), (1,), (2, 0), (1, 1), (0, 3, 1)]
ELEMENTWISE = [
    Call(op, k, (shape,) * op.arity, {})
    for op in REGISTRY.values()
    if op.kind == "elementwise" and op.arity and any(rule_of(op, i) for i in range(op.arity))
    for k, shape in enumerate(SHAPES)
]
OTHER = [
    Call(REGISTRY[name], k, args, kwargs)
    for k, (name, args, kwargs) in enumerate(
        [
            *((name, (shape,), {"axis": axis}) for name in ("sum", "prod") for shape, axis in [((0,), 0), ((2, 0), 1), ((2, 0), 0), ((0, 2), None), ((1,), -1), ((2, 3), ())]),
            *((name, (shape,), {"axis": axis, "keepdims": True}) for name in ("mean", "max", "min") for shape, axis in [((2, 0), 0), ((1, 1), None), ((), None), ((1,), ()), ((0, 2), 1)]),
            ("cumsum", ((0,),), {}), ("cumsum", ((1,),), {"reverse": True}), ("cumsum", ((2, 0),), {"axis": 0}),
            ("shift", ((1,),), {}), ("shift", ((2, 0),), {}),
            ("matmul", ((2, 0), (0, 3)), {}), ("matmul", ((0, 2), (2,)), {}), ("matmul", ((0,), (0,)), {}),
            ("matmul", ((1,), (1, 1)), {}), ("matmul", ((0, 2, 2), (1, 2, 3)), {}),
            ("einsum", ("ij,jk->ik", (2, 0), (0, 3)), {}), ("einsum", ("i,->i", (1,), ()), {}), ("einsum", (",", (), ()), {}),
            ("reshape", ((0, 3),), {"shape": (3, 0)}), ("reshape", ((),), {"shape": ()}), ("transpose", ((),), {}), ("transpose", ((0, 2),), {}),
            ("broadcast_to", ((1,),), {"shape": (0,)}), ("broadcast_to", ((),), {"shape": (0, 2)}), ("expand_dims", ((),), {"axis": (0, 1)}),
            ("squeeze", ((1, 1),), {}), ("squeeze", ((),), {}), ("flip", ((),), {}), ("flip", ((0,),), {}), ("roll", ((0, 2),), {"shift": 3, "axis": 0}),
            ("pad", ((),), {"pad_width": 0}), ("pad", ((0, 1),), {"pad_width": ((1, 1), (-1, 0))}),
            ("concatenate", ([(0,), (0,)],), {}), ("concatenate", ([(1,)],), {}), ("stack", ([()],), {}), ("stack", ([(0,), (0,)],), {"axis": 1}),
            ("getitem", ((0, 2),), {"key": (slice(None), 1)}), ("getitem", ((3,),), {"key": np.array([], int)}),
            ("getitem", ((3,),), {"key": slice(3, None)}), ("getitem", ((),), {"key": ()}), ("getitem", ((),), {"key": (None, ...)}),
            ("getitem", ((2,),), {"key": np.array([False, False])}), ("getitem", ((2, 2),), {"key": np.zeros((2, 2), bool)}),
            ("spread", ((), (0, 2)), {"axis": (0, 1)}), ("sliding_windows", ((1,),), {"window": 1}),
            ("sliding_windows", ((0, 3),), {"window": 2, "axis": 1}),
        ]
    )
]  # fmt: skip


@pytest.mark.parametrize("call", [*ELEMENTWISE, *OTHER], ids=lambda c: f"{c}-{c.args}".replace(" ", ""))
def test_small_shapes(call):
    problem = call.draw(2)
    expected = problem.op.kernel(np, *problem.operands, **problem.params)
    out = problem.fn(*problem.arrays)
    assert out.shape == np.shape(expected)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-14)
    laws.first_order(problem)
    laws.second_order(problem)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "max", "min"])
def test_a_reduction_over_no_axis_is_the_identity(name, rng):
    x = tg.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    y = getattr(tg, name)(x, axis=())
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    g = rng.normal(size=(2, 3))
    np.testing.assert_array_equal(tg.gradients(y, x, g).numpy(), g)
