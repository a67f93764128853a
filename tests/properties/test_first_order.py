"""P1: reverse mode is the cotangent times the Jacobian, for every primitive and every operand."""

from hypothesis import given
from support import examples, seeds
from support.calls import SMOOTH, parametrize

from tinygraph.testing import laws


@parametrize(SMOOTH)
@given(seed=seeds)
@examples(10)
def test_reverse_mode_is_complex_step(call, seed):
    laws.first_order(call.draw(seed))
