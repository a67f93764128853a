"""Hand-written kernels in a module of their own, without tinygraph: what a reproduction imports."""

import numpy as np


def my_fused_backward(dy, x, gamma, beta):
    """BatchNorm's backward with the sign of the mean term flipped."""
    xc = x - x.mean(axis=0)
    std = np.sqrt((xc**2).mean(axis=0) + 1e-5)
    xhat = xc / std
    d = dy * gamma / std
    dx = d + d.mean(axis=0) - xhat * (d * xhat).mean(axis=0)
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def contiguous_only(dy, x):
    """Right only where dy is contiguous: it reads memory, not elements."""
    flat = np.lib.stride_tricks.as_strided(dy, (dy.size,), (dy.itemsize,)) if dy.size else dy.ravel()
    return 2 * flat.reshape(dy.shape) * x
