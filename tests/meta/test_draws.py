"""What the laws are tried on: operands inside their domain, away from kinks and ties, and every primitive."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import examples, seeds
from support.calls import CALLS, REGISTRY, parametrize

from tinygraph.testing.primitives import MARGIN, spread


def test_every_primitive_has_a_call():
    assert {c.op.name for c in CALLS} == set(REGISTRY)


@parametrize([c for c in CALLS if c.shapes and not any(isinstance(a, (int, float)) for a in c.args)])
@given(seed=seeds)
@examples(5)
def test_draws_are_in_the_domain_and_distinct(call, seed):
    domain, problem = call.op.domain, call.draw(seed)
    drawn = [x for x in problem.arrays if x.shape in call.shapes]
    values = np.concatenate([np.ravel(x) for x in drawn]) if drawn else np.zeros(0)
    if call.op.name != "einsum":  # whose eye is an operand, but not drawn
        assert (min(a for a, _ in domain.ranges) <= values).all()
        assert (values <= max(b for _, b in domain.ranges)).all()
        assert len(np.unique(values)) == len(values)


@given(st.lists(st.sampled_from([-1.5, -0.5, 0.0, 0.3, 1.5]), unique=True), st.integers(1, 50))
@examples(50)
def test_kinks_are_kept_away_from(kinks, count):
    values = spread((np.arange(count) + 0.5) / count, -2, 2, tuple(kinks))
    assert ((values > -2) & (values < 2)).all()
    assert all(abs(v - k) > 0.99 * MARGIN for v in values for k in kinks)


@parametrize([c for c in CALLS if c.shapes])
def test_draws_are_a_function_of_the_seed(call):
    first, again, other = (call.draw(seed) for seed in (3, 3, 4))
    for a, b in zip(first.operands, again.operands, strict=True):
        np.testing.assert_array_equal(a, b)
    if sum(map(np.prod, call.shapes)) > 1 and first.arrays:
        assert any(not np.array_equal(a, b) for a, b in zip(first.arrays, other.arrays, strict=True))
