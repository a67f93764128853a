"""A compiled function does what the function does, state included: the graph that was captured says it all."""

import sys

import numpy as np
import pytest
from support import interpreter

import tinygraph as tg
from tinygraph.compiler import compile
from tinygraph.errors import ArgumentError, DTypeError, TraceError

BACKEND = sys.modules[interpreter.__name__]


def compiled(fn):
    return compile(fn, backend=BACKEND, exact=True)


def same(a, b):
    return np.array_equal(np.asarray(a.numpy()), np.asarray(b.numpy()), equal_nan=True) and a.dtype == b.dtype


def network(rng=0, **options):
    return tg.nn.mlp(4, [6, 5], 3, rng=rng, **options)


def batches(count=5, n=8):
    rng = np.random.default_rng(7)
    return [(rng.normal(size=(n, 4)), rng.integers(0, 3, n)) for _ in range(count)]


def step_of(net, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss = tg.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


OPTIMIZERS = {
    "sgd": lambda p: tg.optim.SGD(p, lr=0.1),
    "nesterov": lambda p: tg.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adagrad": lambda p: tg.optim.AdaGrad(p, lr=0.1),
    "rmsprop": lambda p: tg.optim.RMSProp(p, lr=0.01),
    "adam": lambda p: tg.optim.Adam(p, lr=0.01),
    "adamw": lambda p: tg.optim.AdamW(p, lr=tg.optim.Cosine(0.01, 4)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("options", [{}, {"batch_norm": True, "dropout": 0.3}], ids=["plain", "bn and dropout"])
def test_a_training_step_is_that_of_the_eager_engine(name, options):
    runs = []
    for wrap in (lambda f: f, compiled):
        net = network(**options)
        optimizer = OPTIMIZERS[name](net.parameters())
        step = wrap(step_of(net, optimizer))
        losses = [step(x, y) for x, y in batches()]
        runs.append((losses, net.state_dict(), optimizer.state_dict(), [p.grad for p in net.parameters()], step))
    (losses, state, inner, grads, _), (fast, fast_state, fast_inner, fast_grads, made) = runs
    assert all(map(same, losses, fast))
    assert all(np.array_equal(state[k], fast_state[k]) for k in state)
    assert all(np.array_equal(inner[k], fast_inner[k]) for k in inner)
    assert all(map(same, grads, fast_grads))
    assert "1 program" in repr(made)


def test_gradients_add_up_where_nobody_clears_them():
    def run(wrap):
        w = tg.Parameter(np.ones(3), name="w")

        def add(x):
            tg.sum(w * x).backward()

        add = wrap(add)
        for k in range(4):
            add(np.full(3, float(k)))
        return w.grad, add

    plain, (fast, add) = run(lambda f: f)[0], run(compiled)
    assert same(plain, fast)
    assert "2 programs" in repr(add)  # the first call finds no gradient


def test_what_is_assigned_is_read_by_what_follows():
    def run(wrap):
        w = tg.Parameter(np.array([1.0, 2.0]))

        def twice(x):
            w.assign(w * x)
            first = w + 1
            w.assign(w * x)
            return first, w + 1

        twice = wrap(twice)
        return [twice(np.array(k)) for k in (2.0, 3.0)], w

    (plain, w), (fast, v) = run(lambda f: f), run(compiled)
    assert all(same(a, b) for p, f in zip(plain, fast, strict=True) for a, b in zip(p, f, strict=True))
    assert same(w, v)


def test_a_mode_that_changes_is_seen():
    net = network(batch_norm=True, dropout=0.5)
    run = compiled(lambda x: net(x))
    x = batches()[0][0]
    run(x)
    net.eval()
    expected = net(x)
    assert same(run(x), expected)
    assert same(run(x), expected)
    net.train()
    run(x)
    assert "2 programs" in repr(run)


def test_draws_stay_random_and_are_those_of_the_eager_engine():
    def draw(rng):
        return lambda x: x + tg.random.normal((3,), rng=rng)

    plain, fast = draw(np.random.default_rng(5)), compiled(draw(np.random.default_rng(5)))
    assert all(same(plain(np.zeros(3)), fast(np.zeros(3))) for _ in range(4))


def test_a_number_is_given_anew_and_promotes_nothing():
    scale = compiled(lambda x, by: x * by)
    x = np.ones(3, np.float32)
    assert [scale(x, by).tolist() for by in (2.0, 3.0, 4.5)] == [[2.0] * 3, [3.0] * 3, [4.5] * 3]
    assert scale(x, 7.5).dtype == np.float32
    assert "1 program" in repr(scale)
    assert scale(x, 2).dtype == np.float32  # an int is another kind
    assert "2 programs" in repr(scale)


def test_shapes_dtypes_and_structures_are_kinds_of_their_own():
    total = compiled(lambda tree: tg.sum(tree["a"]) + tree["b"][0])
    for shape, dtype in (((2,), "f8"), ((3,), "f8"), ((2,), "f4"), ((2,), "f8")):
        assert total({"a": np.ones(shape, dtype), "b": [np.ones((), dtype)]}).item() == shape[0] + 1
    assert "3 programs" in repr(total)


def test_words_and_flags_are_part_of_the_program():
    choose = compiled(lambda x, how="up", twice=False: (x + 1 if how == "up" else x - 1) * (2 if twice else 1))
    x = np.ones(2)
    assert [choose(x).tolist(), choose(x, "down").tolist(), choose(x, how="up", twice=True).tolist()] == [
        [2, 2], [0, 0], [4, 4],
    ]  # fmt: skip
    assert choose(x, "down").tolist() == [0, 0]


def test_results_keep_their_structure_and_what_is_no_tensor():
    both = compiled(lambda x: {"y": (x, [x * 2, None]), "word": "w", "flag": True})
    for _ in range(2):
        found = both(np.ones(2))
        assert found["word"] == "w"
        assert found["flag"] is True
        assert found["y"][1][1] is None
        assert found["y"][0].tolist() == [1, 1]


def test_a_result_shares_no_memory_and_has_no_history():
    same_again = compiled(lambda x: (x, x))
    x = np.ones(3)
    for _ in range(2):
        a, b = same_again(x)
        x[0] += 1
        assert a.tolist() == b.tolist()
        assert a.tolist()[0] == x[0] - 1
        assert a.node is None


def test_second_order_is_compiled_too():
    def f(x):
        return tg.sum(tg.tanh(x) ** 3)

    fast, x = compiled(tg.grad(lambda x: tg.sum(tg.grad(f)(x) ** 2))), np.array([0.3, -0.7])
    fast(x)
    assert same(fast(x), tg.grad(lambda x: tg.sum(tg.grad(f)(x) ** 2))(x))


def test_a_compiled_function_inside_another_is_recorded():
    inner = compiled(lambda x: x * 2)
    outer = compiled(lambda x: inner(x) + 1)
    assert [outer(np.ones(2)).tolist() for _ in range(2)] == [[3, 3]] * 2
    assert repr(inner) == "<compiled <lambda>: 0 programs>"
    assert str(tg.trace(inner, np.ones(2))) == str(tg.trace(inner.fn, np.ones(2)))


def test_an_error_is_that_of_the_function_and_leaves_nothing_behind():
    def f(x):
        return x @ x

    fast = compiled(f)
    with pytest.raises(tg.errors.ShapeError, match="matmul"):
        fast(np.ones((2, 3)))
    assert fast(np.eye(2)).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x if x[0] > 0 else -x,
        lambda x: x * float(x[0]),
        lambda x: x * x.numpy(),
        lambda x: x * np.asarray(x),
        lambda x: x[x > 0],
        lambda x: x * x[0].item(),
    ],
)
def test_a_value_that_is_read_is_refused(read):
    with pytest.raises(TraceError, match="traced"):
        compiled(read)(np.array([1.0, -2.0]))


def test_a_parameter_that_is_read_is_refused():
    w = tg.Parameter(np.ones(2))
    with pytest.raises(TraceError):
        compiled(lambda x: x * w.numpy())(np.ones(2))


def test_a_gradient_that_would_be_lost_is_refused():
    with pytest.raises(ArgumentError, match="vjp_fn"):
        compiled(lambda x: x * 2)(tg.tensor(np.ones(2), requires_grad=True))
    with tg.no_grad():
        assert compiled(lambda x: x * 2)(tg.tensor(np.ones(2), requires_grad=True)).tolist() == [2, 2]
    w = tg.tensor(np.ones(2), requires_grad=True)

    def step(x):
        tg.sum(w * x).backward()

    with pytest.raises(TraceError, match="Parameter"):
        compiled(step)(np.ones(2))


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(ArgumentError, match="hashed"):
        compiled(lambda x, s: x)(np.ones(2), {1, 2})
    with pytest.raises(DTypeError, match="return Tensors"):
        compiled(lambda x: object())(np.ones(2))


def test_before_the_first_call_there_is_nothing_to_see():
    with pytest.raises(ArgumentError, match="call it once"):
        compiled(lambda x: x).source


def test_unknown_backends_are_refused():
    with pytest.raises(ArgumentError, match="numba"):
        compile(lambda x: x, backend="cuda")
    with pytest.raises(ArgumentError, match="compiles a function"):
        compile(3)


def test_it_decorates_functions_and_methods():
    class Layer:
        def __init__(self):
            self.w = tg.Parameter(np.array(2.0))

        @compile(backend=BACKEND)
        def __call__(self, x):
            return self.w * x

    layer, other = Layer(), Layer()
    other.w.assign(5.0)
    assert [layer(np.array(3.0)).item() for _ in range(2)] == [6, 6]
    assert other(np.array(3.0)).item() == 15


def test_explain_and_draw_show_every_stage(capsys):
    f = compiled(lambda x: (x * 1 + 0.5) * 2)
    f(np.ones(3))
    f.explain()
    said = capsys.readouterr().out
    assert "trace" in said
    assert "3 nodes" in said
    for stage in range(len(f.stages)):
        assert f.draw(stage).svg()
    with pytest.raises(ArgumentError, match="trace"):
        f.draw("nothing")
