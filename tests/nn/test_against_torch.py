"""PyTorch's layers as oracles: forward, backward, running statistics, evaluation, state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples, seeds

import tinygraph as tg
from tinygraph import nn

torch = pytest.importorskip("torch")
TOLERANCE = 1e-12


def close(ours, theirs, tolerance=TOLERANCE):
    ours = ours.numpy() if hasattr(ours, "numpy") else np.asarray(ours)
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    scale = max(1.0, np.abs(theirs).max(initial=0))
    assert np.abs(ours - theirs).max(initial=0) <= tolerance * scale


def both(mine, other, x, g):
    """Forward and backward of both, with the same values; compares outputs and all gradients."""
    t = tg.tensor(x, requires_grad=True)
    u = torch.tensor(x.copy(), requires_grad=True)
    mine.zero_grad()
    other.zero_grad()
    y, z = mine(t), other(u)
    close(y, z)
    y.backward(g)
    z.backward(torch.tensor(g))
    close(t.grad, u.grad)
    for (name, p), (theirs, q) in zip(mine.named_parameters(), other.named_parameters(), strict=True):
        assert name == theirs
        close(p.grad, q.grad)


def same_state(mine, other):
    ours, theirs = mine.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        close(ours[name], value)


@st.composite
def batch_norms(draw):
    rng = np.random.default_rng(draw(seeds))
    channels = draw(st.integers(1, 4))
    space = draw(st.sampled_from([(), (3,), (1,), (2, 3)]))
    least = 1 if np.prod(space, dtype=int) > 1 else 2
    batches = [(draw(st.integers(least, 6)), channels, *space) for _ in range(3)]
    ordered = draw(st.sampled_from([np.asarray, np.asfortranarray, lambda x: x[..., ::-1]]))
    options = {
        "eps": draw(st.sampled_from([1e-5, 1e-3, 0.1])),
        "momentum": draw(st.sampled_from([0.1, 0.5, 1.0, 0.0, None])),
        "affine": draw(st.booleans()),
        "track_running_stats": draw(st.booleans()),
    }
    offset, scale = draw(st.sampled_from([0.0, 3.0, -10.0])), draw(st.sampled_from([0.1, 1.0, 5.0]))
    return (
        [ordered(rng.normal(offset, scale, shape)) for shape in batches],
        options,
        draw(st.sampled_from(["composed", "fused"])),
    )


@examples(60)
@given(batch_norms())
def test_batch_norm(case):
    batches, options, impl = case
    channels, ndim = batches[0].shape[1], batches[0].ndim
    mine = nn.BatchNorm(channels, **options, impl=impl)
    other = (torch.nn.BatchNorm2d if ndim == 4 else torch.nn.BatchNorm1d)(channels, **options, dtype=torch.float64)
    rng = np.random.default_rng(channels)
    if options["affine"]:
        state = mine.state_dict() | {"weight": rng.normal(1, 1, channels), "bias": rng.normal(size=channels)}
        mine.load_state_dict(state)
        other.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    for x in batches[:2]:
        both(mine, other, x, rng.normal(size=x.shape))
        same_state(mine, other)
    mine.eval(), other.eval()
    both(mine, other, batches[2], rng.normal(size=batches[2].shape))
    same_state(mine, other)


def copied(mine, other):
    """Their weights in our layer: the names, shapes and dtypes are theirs."""
    mine.load_state_dict({name: value.numpy() for name, value in other.state_dict().items()})
    return mine, other


F64 = {"dtype": torch.float64}
LAYERS = {
    "linear": (lambda: (nn.Linear(3, 5), torch.nn.Linear(3, 5, **F64)), (4, 3)),
    "linear of a stack": (lambda: (nn.Linear(3, 5, bias=False), torch.nn.Linear(3, 5, False, **F64)), (2, 4, 3)),
    "convolution": (lambda: (nn.Conv2d(4, 6, 3), torch.nn.Conv2d(4, 6, 3, **F64)), (2, 4, 6, 5)),
    "strided": (
        lambda: (nn.Conv2d(4, 6, (3, 2), (2, 3), (1, 2)), torch.nn.Conv2d(4, 6, (3, 2), (2, 3), (1, 2), **F64)),
        (2, 4, 6, 5),
    ),
    "grouped": (
        lambda: (nn.Conv2d(4, 6, 3, padding=1, groups=2), torch.nn.Conv2d(4, 6, 3, padding=1, groups=2, **F64)),
        (2, 4, 6, 5),
    ),
    "max pool": (lambda: (nn.MaxPool2d(2), torch.nn.MaxPool2d(2)), (2, 3, 6, 5)),
    "max pool, padded": (lambda: (nn.MaxPool2d(3, 2, 1), torch.nn.MaxPool2d(3, 2, 1)), (2, 3, 6, 5)),
    "mean pool": (lambda: (nn.AvgPool2d((2, 3), 1, 1), torch.nn.AvgPool2d((2, 3), 1, 1)), (2, 3, 6, 5)),
    "layer norm": (lambda: (nn.LayerNorm(5), torch.nn.LayerNorm(5, **F64)), (2, 3, 5)),
    "layer norm of two axes": (lambda: (nn.LayerNorm((3, 5)), torch.nn.LayerNorm((3, 5), **F64)), (2, 3, 5)),
    "softplus": (lambda: (nn.Softplus(), torch.nn.Softplus(threshold=1e9)), (2, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, rng):
    make, shape = LAYERS[name]
    mine, other = copied(*make())
    x = rng.normal(size=shape)
    both(mine, other, x, rng.normal(size=mine(x).shape))


sizes = st.integers(1, 3)
pairs = st.tuples(sizes, sizes)


@examples(60)
@given(st.data())
def test_convolution(data):
    groups, inputs, outputs = data.draw(sizes), data.draw(sizes), data.draw(sizes)
    kernel, stride, padding = data.draw(pairs), data.draw(pairs), data.draw(st.tuples(*[st.integers(0, 2)] * 2))
    rest = (groups * inputs, groups * outputs, kernel, stride, padding)
    mine, other = nn.Conv2d(*rest, groups=groups), torch.nn.Conv2d(*rest, groups=groups, **F64)
    rng = np.random.default_rng(data.draw(seeds))
    space = [data.draw(st.integers(max(1, k - 2 * p), 6)) for k, p in zip(kernel, padding, strict=True)]
    x = rng.normal(size=(data.draw(st.integers(0, 3)), groups * inputs, *space))
    copied(mine, other)
    both(mine, other, x, rng.normal(size=mine(x).shape))


@examples(40)
@given(st.data())
def test_pools(data):
    kernel, stride = data.draw(pairs), data.draw(st.none() | pairs)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    rng = np.random.default_rng(data.draw(seeds))
    x = rng.normal(size=(2, data.draw(sizes), *(data.draw(st.integers(k, 6)) for k in kernel)))
    for pool in ("MaxPool2d", "AvgPool2d"):
        mine, other = (getattr(where, pool)(kernel, stride, padding) for where in (nn, torch.nn))
        both(mine, other, x, rng.normal(size=mine(x).shape))


@pytest.mark.parametrize("impl", ["composed", "fused"])
def test_batch_norm_in_float32(impl, rng):
    mine = nn.BatchNorm(3, impl=impl, dtype=np.float32)
    other = torch.nn.BatchNorm1d(3)
    x = rng.normal(3, 2, (64, 3)).astype(np.float32)
    close(mine(x), other(torch.tensor(x)), 1e-5)
    for name, value in other.state_dict().items():
        close(mine.state_dict()[name], value, 1e-6)


def test_both_refuse_one_value_per_channel():
    for layer, x in ((nn.BatchNorm(2), np.ones((1, 2))), (torch.nn.BatchNorm1d(2), torch.ones(1, 2))):
        with pytest.raises(ValueError):
            layer(x)
