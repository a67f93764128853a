"""The oracles themselves: complex step against high-precision differences of the same forward."""

import numpy as np
import pytest
from hypothesis import given
from support import examples, seeds
from support.calls import SMOOTH, parametrize

from tinygraph.testing import laws
from tinygraph.testing.oracles.derivatives import WIDE, cauchy, complex_step, richardson


@pytest.mark.skipif(not WIDE, reason="long double is no wider than double here")
@parametrize([c for c in SMOOTH if c.op.domain.analytic])
@given(seed=seeds)
@examples(4)
def test_complex_step_is_richardson(call, seed):
    problem = call.draw(seed)
    graph, xs = problem.trace(), problem.arrays
    vs = problem.directions(xs)
    (stepped,) = complex_step(graph, xs, vs)
    (differences,) = richardson(lambda *p: [problem.fn(*p).numpy()], xs, vs)
    laws.near(stepped, differences)


def test_cauchy_gives_any_order():
    import tinygraph as tg

    graph = tg.trace(tg.sin, np.array(0.3))
    for order, expected in enumerate((np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x))):
        (found,) = cauchy(graph, [np.array(0.3)], [np.array(1.0)], order)
        laws.near(found, expected(0.3))
