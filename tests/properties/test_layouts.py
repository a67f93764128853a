"""How an array lies in memory changes neither a value nor a gradient."""

import numpy as np
import pytest
from support.calls import SMOOTH, parametrize

import tinygraph as tg
from tinygraph.testing import layouts


def repeated(a):
    """Stride 0: the first slice of every array, broadcast. Its contiguous copy is the reference."""
    return np.broadcast_to(a[:1] if a.ndim else a, a.shape)


LAYOUTS = {**layouts.LAYOUTS, "repeated": repeated}


@parametrize([c for c in SMOOTH if any(x.size for x in c.draw(0).arrays)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_matter(call, layout):
    problem = call.draw(5)
    laid = [LAYOUTS[layout](x) for x in problem.arrays]
    plain = [np.array(x, order="C") for x in laid]
    g = problem.cotangent()
    # asarray takes an array as it lies; tensor would copy it.
    out, pullback = tg.vjp(problem.fn, *map(tg.asarray, laid))
    expected, expected_pullback = tg.vjp(problem.fn, *plain)
    np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-14, atol=1e-14)
    found = pullback(tg.asarray(LAYOUTS[layout](g)))
    for a, b in zip(found, expected_pullback(np.array(LAYOUTS[layout](g))), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-13, atol=1e-13)
