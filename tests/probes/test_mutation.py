"""Ways to write to memory between forward and backward: each is refused, or leaves the gradients right.

One line is one probe, run in the names that ``world`` makes. The one stated exception, a view made
before ``tg.asarray`` took the array, has a test of its own.
"""

import contextlib
import copy
import struct

import numpy as np
import pytest

import tinygraph as tg


@tg.fused.replaces(lambda x, y: x * y)
def product(x, y):
    return x * y, (x, y)


@product.backward
def product_backward(g, saved, x, y):
    return g * saved[1], g * saved[0]


def world():
    """A graph over memory of every origin; ``y`` is its loss, ``x`` and ``p`` its leaves."""
    given = np.array([0.5, 1.5, -1.0, 2.0])  # copied by tg.tensor
    rows = [[1.0, 2.0], [3.0, 4.0]]  # a list given to tg.tensor
    owner = np.arange(8.0)
    lent = owner[::2]  # lent to tg.asarray
    raw = np.array([2.0, -1.0, 0.5, 3.0])  # given to ops as they are
    narrow = np.array([2.0])
    wide = np.broadcast_to(narrow, 4)
    frozen = np.array([1.0, 2.0, 3.0, 4.0])
    frozen.flags.writeable = False
    numbers = [1.0, -2.0, 3.0, -4.0]
    index, mask, places = np.array([2, 0, 2]), np.array([True, False, True, True]), [0, 3]
    initial, assigned = np.ones(4), np.array([3.0, 1.0, 4.0, 1.0])
    key = [slice(0, 2)]

    x = tg.tensor(given, requires_grad=True, name="x")
    c = tg.asarray(lent, name="c")
    after = lent[1:]
    p = tg.Parameter(initial, name="p")
    p.assign(assigned)
    m = tg.tensor(rows)
    e = tg.exp(x)
    parts = [e * c, x * x * raw, raw * x, x * wide, frozen @ (x * x), x * numbers, p * x * narrow]
    parts += [x[index] ** 2, x[mask] * p[mask], x[places] ** 3, x[tuple(key)] * m, product(x, raw), product(x, c)]
    parts += [
        tg.where(mask, x * x, raw),
        tg.concatenate([x, raw]) ** 2,
        np.dot(raw, x * x),
        tg.set_at(x, index[:2], raw[:2]),
    ]
    parts += [
        tg.add_at(x, index, raw[:3]) ** 2,
        tg.einsum("i,i->i", x, raw) * x,
        tg.maximum(x, raw) * x,
        tg.take(x, index) ** 2,
    ]
    y = sum(tg.sum(part) for part in parts)
    return {**locals(), "np": np, "tg": tg, "copy": copy, "struct": struct}


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


# Writes to what tinygraph has copied: they go through, and change nothing.
ALLOWED = """
    given[0] = 9
    given[:] = 9
    given *= 0
    given.fill(9)
    given.sort()
    given.partition(1)
    given.put([0, 1], 9)
    given.byteswap(inplace=True)
    given.resize(2, refcheck=False)
    given.flat[0] = 9
    given.real[0] = 9
    given.view()[0] = 9
    np.copyto(given, 9)
    np.putmask(given, given > 0, 9)
    np.place(given, given > 0, [9])
    np.add(given, 1, out=given)
    np.add.at(given, [0, 0], 1)
    np.frombuffer(given)[0] = 9
    np.lib.stride_tricks.as_strided(given, (2,), (8,))[0] = 9
    np.random.default_rng(0).shuffle(given)
    np.random.default_rng(0).random(out=given)
    memoryview(given)[0] = 9.0
    struct.pack_into("d", given, 0, 9.0)
    rows[0][0] = 9
    rows.clear()
    raw[0] = 9
    raw[:] = 9
    raw *= 0
    raw.sort()
    raw.fill(9)
    raw.resize(2, refcheck=False)
    np.copyto(raw, 9)
    np.putmask(raw, raw > 0, 9)
    np.multiply(raw, 0, out=raw)
    memoryview(raw)[0] = 9.0
    narrow[0] = 9
    frozen.flags.writeable = True; frozen[0] = 9
    frozen.setflags(write=True); frozen.sort()
    numbers[0] = 9
    numbers.clear()
    index[0] = 1
    index.sort()
    index.fill(3)
    mask[:] = False
    np.logical_not(mask, out=mask)
    places[0] = 2
    key[0] = slice(2, 4)
    initial[:] = 9
    assigned[:] = 9
    assigned.sort()
    np.array(x.detach())[0] = 9
    np.asarray(x.detach(), copy=True)[0] = 9
    x.numpy().copy()[0] = 9
    x.numpy().shape = (2, 2)
    x.tolist()[0] = 9
    x += 1
    x *= 0
    x **= 2
    x.name = "other"
    lent.shape = (4, 1)
    x.grad = tg.tensor(0.0) * x; x.grad = None
    parts.clear()
    copy.copy(x).name = "z"
"""

# Writes to what tinygraph holds: they raise at once.
REFUSED = """
    lent[0] = 9
    lent[:] = 9
    lent *= 0
    lent.fill(9)
    lent.sort()
    lent.partition(1)
    lent.put([0], 9)
    lent.byteswap(inplace=True)
    lent.resize(2, refcheck=False)
    lent.flat[0] = 9
    lent.real[0] = 9
    lent.T[0] = 9
    lent.view()[0] = 9
    lent.reshape(2, 2)[0] = 9
    lent.setflags(write=True)
    lent.flags.writeable = True
    after[0] = 9
    after.setflags(write=True)
    owner[0] = 9
    owner.fill(9)
    owner.sort()
    owner[1::2][0] = 9
    owner[:2].sort()
    owner.resize(2, refcheck=False)
    owner.resize(2)
    memoryview(owner)[0] = 9.0
    memoryview(lent)[0] = 9.0
    struct.pack_into("d", owner, 0, 9.0)
    np.copyto(lent, 9)
    np.putmask(lent, lent > 0, 9)
    np.place(lent, lent > 0, [9])
    np.add(lent, 1, out=lent)
    np.frombuffer(owner)[0] = 9
    np.lib.stride_tricks.as_strided(owner, (2,), (8,))[0] = 9
    np.nditer(lent, op_flags=["readwrite"])
    np.random.default_rng(0).shuffle(lent)
    np.random.default_rng(0).random(out=owner)
    c.numpy()[0] = 9
    c.numpy().setflags(write=True)
    c.numpy().resize(2, refcheck=False)
    x.numpy()[0] = 9
    x.numpy().base[0] = 9
    x.numpy().setflags(write=True)
    x.numpy().sort()
    x.numpy().resize(2, refcheck=False)
    x.numpy().base.resize(2, refcheck=False)
    x.numpy()[::2][0] = 9
    memoryview(x.numpy())[0] = 9.0
    x.data[0] = 9
    x.data += 1
    x.data.fill(9)
    np.copyto(x.data, 9)
    np.add(1, 1, out=x.data)
    np.asarray(x)[0] = 9
    np.asarray(x.detach())[0] = 9
    np.asarray(c)[0] = 9
    with tg.no_grad(): np.asarray(x)[0] = 9
    with tg.no_grad(): np.array(x, copy=None)[0] = 9
    x.T.numpy()[0] = 9
    x[1:].numpy()[0] = 9
    list(x)[0].numpy()[...] = 9
    tg.reshape(x, (2, 2)).data[0] = 9
    tg.broadcast_to(x, (2, 4)).numpy()[0, 0] = 9
    x.detach().numpy()[0] = 9
    tg.identity(x).numpy()[0] = 9
    x.astype(float).numpy()[0] = 9
    e.numpy()[0] = 9
    e.data *= 0
    y.numpy()[...] = 9
    m.data[0, 0] = 9
    p.numpy()[0] = 9
    p.data -= 0.1
    p.data.sort()
    x[0] = 9
    x[0] += 9
    raw += x
    raw -= x
    np.add(x, 1, out=raw)
    np.exp(x, out=raw)
    np.sum(x, out=raw)
    np.concatenate([x, x], out=np.empty(8))
    np.copyto(raw, x)
    np.add.at(raw, index, x[:3])
    np.add.at(x, index, 1)
    np.put(x, [0], 9)
    np.putmask(x, mask, 9)
    tg.trace(lambda z: (z, c, c.T), 1.0).run(np, 1.0)[1][0] = 9
    tg.trace(lambda z: tg.reshape(c, (2, 2)), 1.0).run(np, 1.0)[0][0] = 9
"""

REFUSALS = (ValueError, TypeError, BufferError, tg.TinygraphError)


def gradients(names):
    names["y"].backward()
    return [names[leaf].grad.tolist() for leaf in ("first", "p")]


@pytest.fixture(scope="module")
def expected():
    names = world()
    names["first"] = names["x"]
    return gradients(names)


def attempt(line, names):
    names["first"] = names["x"]
    exec(line, names)


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
@pytest.mark.parametrize("line", lines(ALLOWED))
def test_what_was_copied_may_be_written(line, expected):
    names = world()
    attempt(line, names)
    assert gradients(names) == expected


@pytest.mark.parametrize("line", lines(REFUSED))
def test_what_is_held_may_not(line, expected):
    names = world()
    with pytest.raises(REFUSALS):
        attempt(line, names)
    assert gradients(names) == expected


def test_there_are_many():
    assert len(lines(ALLOWED)) + len(lines(REFUSED)) >= 40 + 40


# Writes after the backward: what ``.grad`` holds stays.
AFTERWARDS = """
    seed[:] = 9
    seed.sort()
    x.grad.numpy()[0] = 9
    x.grad.data.fill(9)
    x.grad.numpy().base[0] = 9
    x.grad[0] = 9
    np.asarray(x.grad)[0] = 9
    np.add(1, 1, out=x.grad.data)
    y.seed.numpy()[0] = 9
    x.grad + 1
"""


@pytest.mark.parametrize("line", lines(AFTERWARDS))
def test_a_gradient_stays(line):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y, seed = x * 1.0, np.array([3.0, 1.0])
    y.backward(seed)
    with contextlib.suppress(REFUSALS):
        exec(line)
    assert x.grad.tolist() == [3.0, 1.0]
    y.backward(np.ones(2))
    assert x.grad.tolist() == [4.0, 2.0]


# -- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "differentiate",
    [
        lambda w, x, y: y.backward(),
        lambda w, x, y: y.backward(create_graph=True),
        lambda w, x, y: tg.gradients(y, w),
        lambda w, x, y: tg.gradients(y, x),
        lambda w, x, y: tg.gradients(y, [x, w], create_graph=True),
    ],
)
def test_assign_between_forward_and_backward_is_an_error(differentiate):
    w, x = tg.Parameter([1.0, 2.0], name="w"), tg.tensor([3.0, 4.0], requires_grad=True)
    y = tg.sum(w * x)
    w.assign([5.0, 6.0])
    with pytest.raises(
        tg.errors.StaleError, match=r"float64\[2\] w was assigned after mul had read it; run the forward"
    ):
        differentiate(w, x, y)
    assert w.grad is None
    assert x.grad is None
    tg.sum(w * x).backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([5.0, 6.0], [3.0, 4.0])


def test_assign_between_vjp_and_pullback_is_an_error():
    w = tg.Parameter([2.0])
    _, pullback = tg.vjp(lambda x: x * w, np.array([3.0]))
    w.assign([7.0])
    with pytest.raises(tg.errors.StaleError):
        pullback([1.0])


def test_a_buffer_that_was_assigned_is_an_error_too():
    buffer, x = tg.Parameter([1.0], requires_grad=False), tg.tensor([3.0], requires_grad=True)
    y = x * buffer
    buffer.assign([2.0])
    with pytest.raises(tg.errors.StaleError):
        y.backward([1.0])


def test_a_captured_parameter_keeps_its_traced_value():
    w = tg.Parameter([2.0])
    graph = tg.trace(lambda x: x * w, np.array([3.0]))
    w.assign([100.0])
    assert graph.run(np, np.array([3.0]))[0] == 6.0


def test_a_hand_written_kernel_cannot_write_to_its_operands():
    @tg.fused.replaces(lambda x: x * 2)
    def double(x):
        x *= 2
        return x, None

    double.backward(lambda g, saved, x: (2 * g,))
    with pytest.raises(ValueError, match="read-only"):
        double(tg.tensor([1.0], requires_grad=True))


def test_a_hand_written_backward_cannot_write_to_the_cotangent():
    """The cotangent of an addition is one array for both operands."""

    @tg.fused.replaces(lambda x: x * 2)
    def double(x):
        return x * 2, None

    @double.backward
    def _(g, saved, x):
        g *= 2
        return (g,)

    x = tg.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="read-only"):
        (double(x) + x).backward()
    assert x.grad is None


def test_the_stated_exception():
    """A view made before the array was lent still writes: the docstring of ``tg.asarray`` says so."""
    owner = np.ones(2)
    view = owner[:]
    x, c = tg.tensor([1.0, 1.0], requires_grad=True), tg.asarray(owner)
    y = tg.sum(x * c)
    view[0] = 9
    y.backward()
    assert x.grad.tolist() == [9.0, 1.0]
    assert "made *before*" in tg.asarray.__doc__


def test_numpy_itself_writes_past_the_lock_in_one_place():
    """``ufunc.at`` ignored NumPy's read-only flag up to NumPy 2.4; nothing but a copy is safe from that."""
    locked = np.ones(1)
    locked.flags.writeable = False
    try:
        np.add.at(locked, [0], 1)
    except ValueError:
        pytest.skip("this NumPy respects the flag")
    x = tg.tensor(locked)
    np.add.at(locked, [0], 1)
    assert x.item() == 2.0
