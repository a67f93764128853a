"""P5: a pullback is linear in its cotangent."""

from hypothesis import given
from support import examples, seeds
from support.calls import RULED, parametrize

from tinygraph.testing import laws


@parametrize(RULED)
@given(seed=seeds)
@examples(5)
def test_a_pullback_is_linear(call, seed):
    laws.linear(call.draw(seed))
