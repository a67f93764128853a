"""How far compiled results may be from the true ones."""

import numpy as np

UNITS = 32  # rounding units between eager and compiled, as docs say


def within_rounding(got, exact):
    """Arrays against what ``tinygraph.testing.rounding.truth`` says of their graph."""
    for a, e, mass, sigma in zip(got, exact.exact, exact.mass, exact.sigma, strict=True):
        off = np.abs(a - np.asarray(e, np.float64)) / (sigma + exact.u * mass + np.finfo(a.dtype).tiny)
        assert np.max(off, initial=0) <= UNITS
