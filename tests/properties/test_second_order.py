"""P9: the derivative of a gradient is that of the gradient as a function: no rule freezes its inputs."""

from hypothesis import given
from support import examples, seeds
from support.calls import SMOOTH, parametrize

from tinygraph.testing import laws


@parametrize(SMOOTH)
@given(seed=seeds)
@examples(4)
def test_second_order_is_the_derivative_of_the_first(call, seed):
    laws.second_order(call.draw(seed))
