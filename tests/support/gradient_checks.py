"""The gradient checks of other packages, each on a forward and a backward written in NumPy.

Each is ``check(forward, backward, arrays, seed)``, raises where it rejects, and has the package's own
tolerances. Packages are imported when a check is called.
"""

from __future__ import annotations

import numpy as np


def torch_gradcheck(forward, backward, arrays, seed, *, fast_mode=False):
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return torch.from_numpy(np.array(forward(*(t.detach().numpy() for t in inputs))))

        @staticmethod
        def backward(ctx, dy):
            return tuple(
                map(torch.from_numpy, _tuple(backward(dy.numpy(), *(t.detach().numpy() for t in ctx.saved_tensors))))
            )

    torch.manual_seed(seed)
    inputs = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    return torch.autograd.gradcheck(Function.apply, inputs, fast_mode=fast_mode)


def torch_fast(forward, backward, arrays, seed):
    return torch_gradcheck(forward, backward, arrays, seed, fast_mode=True)


def jax_check_grads(forward, backward, arrays, seed):
    """In the precision of the arrays; float64 needs ``jax_enable_x64``. Its directions come from a seed of its own."""
    import jax
    from jax.test_util import check_grads

    def call(fn, like, *inputs):
        return jax.pure_callback(lambda *given: fn(*map(np.asarray, given)), like, *inputs)

    @jax.custom_vjp
    def f(*inputs):
        return call(forward, jax.ShapeDtypeStruct(np.shape(forward(*arrays)), arrays[0].dtype), *inputs)

    def pull(inputs, dy):
        like = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in inputs)
        return call(lambda *given: _tuple(backward(*given)), like, dy, *inputs)

    f.defvjp(lambda *inputs: (f(*inputs), inputs), pull)
    with jax.enable_x64(arrays[0].dtype == np.float64):
        check_grads(f, tuple(map(jax.numpy.asarray, arrays)), order=1, modes=("rev",))


def autograd_check_grads(forward, backward, arrays, seed):
    from autograd.extend import defvjp_argnums, primitive
    from autograd.test_util import check_grads

    f = primitive(lambda *inputs: forward(*inputs))
    defvjp_argnums(
        f, lambda argnums, out, inputs, kwargs: lambda dy: [_tuple(backward(dy, *inputs))[i] for i in argnums]
    )
    np.random.seed(seed)
    check_grads(f, tuple(range(len(arrays))), modes=["rev"], order=1)(*arrays)


def sum_against_differences(forward, backward, arrays, seed, *, step=1e-6, atol=1e-5, rtol=1e-3):
    """What is typed most often: the loss y.sum(), and the gradient of the first argument alone."""
    x, *others = (a.copy() for a in arrays)
    found = _tuple(backward(np.ones_like(forward(x, *others)), x, *others))[0]
    expected = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + step
        above = forward(x, *others).sum()
        x[i] = kept - step
        expected[i] = (above - forward(x, *others).sum()) / (2 * step)
        x[i] = kept
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def _tuple(found):
    return tuple(map(np.asarray, found)) if isinstance(found, tuple) else (np.asarray(found),)


def batch_norm(x, gamma, beta):
    """The forward in plain NumPy, in the precision of its arguments."""
    xc = x - x.mean(axis=0)
    return gamma * xc / np.sqrt((xc**2).mean(axis=0) + 1e-5) + beta
