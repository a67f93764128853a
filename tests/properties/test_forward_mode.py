"""P2: jvp is the derivative along the tangents."""

from hypothesis import given
from support import examples, seeds
from support.calls import SMOOTH, parametrize

from tinygraph.testing import laws


@parametrize(SMOOTH)
@given(seed=seeds)
@examples(6)
def test_jvp_is_complex_step(call, seed):
    laws.forward_mode(call.draw(seed))
