"""Random graphs with shared nodes, fan-out and operands used twice: reverse mode is complex step."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import examples

import tinygraph as tg
from tinygraph.testing import laws
from tinygraph.testing.oracles.derivatives import complex_step
from tinygraph.testing.programs import OPS, Program, first_order, programs, second_order


@given(programs(max_ops=10, inputs=4))
@example(Program((("add", 0, 0),), count=4))
@example(Program((("mul", 0, 0), ("mul", 0, 0), ("add", 1, 0), ("sub", 0, 3), ("matmul", 0, 0)), count=4))
@examples(2000)
def test_first_order(program):
    first_order(program)


@given(programs(max_ops=6, inputs=4))
@examples(600)
def test_second_order(program):
    second_order(program)


@pytest.mark.parametrize("uses", [1, 2, 3, 7])
def test_fan_out(uses):
    """One value used many times, one operand on both sides."""
    body = (("exp", 0, 0), *(("mul", k, k) for k in range(uses)), *(("add", k, 0) for k in range(uses)))
    first_order(Program(body, count=4))


@pytest.mark.deep
@given(programs(max_ops=40, inputs=4))
@examples(100)
def test_long_programs(program):
    first_order(program)


# -- more laws of whole graphs ------------------------------------------------------------------------


@given(programs(max_ops=8, inputs=3))
@examples(200)
def test_jvp_is_complex_step(program):
    """P2."""
    xs = program.inputs
    vs = [program.cotangent(x.shape, 2 + k) for k, x in enumerate(xs)]
    _, got = tg.jvp(program, tuple(xs), tuple(vs))
    laws.near(got.numpy(), complex_step(tg.trace(program, *xs), xs, vs)[0])


@given(programs(max_ops=8, inputs=3))
@examples(200)
def test_a_pullback_is_linear_and_keeps_shapes(program):
    """P5, P6, P7: linear in dy; nothing is written to or shared; a gradient has its leaf's shape and dtype."""
    xs = program.inputs
    kept = [x.copy() for x in xs]
    out, pullback = tg.vjp(program, *xs)
    g, h = (program.cotangent(out.shape, stream) for stream in (5, 6))
    pulled = pullback(g), pullback(h), pullback(g - 3 * h)
    for x, k, a, b, both in zip(xs, kept, *pulled, strict=True):
        np.testing.assert_array_equal(x, k)
        assert (a.shape, a.dtype) == (x.shape, x.dtype)
        assert not np.shares_memory(a.numpy(), x)
        laws.near(both.numpy(), a.numpy() - 3 * b.numpy(), 1e-9)
    assert not any(np.shares_memory(a.numpy(), b.numpy()) for a, b in itertools.combinations(pulled[0], 2))


def evaluated(program, order):
    """The program's value when its instructions are carried out in another order, and its pullback."""

    def run(*inputs):
        first = [*reversed(inputs)]
        places = []
        for n, (_, i, j) in enumerate(program.instructions, start=len(first)):
            places.append([n - 1 - k % n if k >= 0 else ~k % n for k in (i, j)])
        values = dict(enumerate(first))
        for k in order:
            x, y = (values[p] for p in places[k])
            values[len(first) + k] = OPS[program.instructions[k][0]](x, y)
        return values[len(first) + len(order) - 1]

    return tg.vjp(run, *program.inputs)


@given(programs(max_ops=8, inputs=3), st.integers(0, 2**16))
@examples(200)
def test_independent_instructions_commute(program, seed):
    """P8: any order in which operands come before what uses them gives the same value and gradients."""
    count, n = len(program.instructions), program.count
    uses = [
        {m - 1 - k % m if k >= 0 else ~k % m for k in (i, j)} for m, (_, i, j) in enumerate(program.instructions, n)
    ]
    rng, order, done = np.random.default_rng(seed), [], set(range(n))
    while len(order) < count:
        ready = [k for k in range(count) if n + k not in done and uses[k] <= done]
        order.append(int(rng.choice(ready)))
        done.add(n + order[-1])
    value, pullback = evaluated(program, order)
    expected, expected_pullback = tg.vjp(program, *program.inputs)
    np.testing.assert_array_equal(value.numpy(), expected.numpy())
    g = program.cotangent(value.shape)
    for a, b in zip(pullback(g), expected_pullback(g), strict=True):
        laws.near(a.numpy(), b.numpy(), 1e-12)
