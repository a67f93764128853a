"""P2: jvp is the derivative along the tangents."""

from hypothesis import given
from support import examples, laws, seeds
from support.calls import SMOOTH, parametrize


@parametrize(SMOOTH)
@given(seed=seeds)
@examples(6)
def test_jvp_is_complex_step(call, seed):
    laws.forward_mode(call.draw(seed))
