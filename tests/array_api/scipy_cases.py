"""SciPy's and scikit-learn's functions on Tensors, in a process of its own: SciPy reads SCIPY_ARRAY_API once.

Prints, as JSON, what became of each: a Tensor and the report on its gradient, a number, or an error.
"""

import json
import os
import warnings

os.environ["SCIPY_ARRAY_API"] = "1"

import numpy as np
from scipy import integrate, ndimage, signal, special, stats
from scipy.cluster import vq
from sklearn import config_context, metrics, preprocessing

import tinygraph as tg

X = np.random.default_rng(0).uniform(0.3, 2.0, (6, 3))
LABELS = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])

CASES = {
    "special.softmax": lambda x: special.softmax(x, axis=1),
    "special.xlogy": lambda x: special.xlogy(x, x + 1),
    "stats.moment": lambda x: stats.moment(x, order=3, axis=0),
    "stats.skew": lambda x: stats.skew(x, axis=0),
    "stats.gmean": lambda x: stats.gmean(x, axis=0),
    "integrate.trapezoid": lambda x: integrate.trapezoid(x, axis=0),
    "mean_squared_error": lambda x: metrics.mean_squared_error(x, 2 * x),
    "accuracy_score": lambda x: metrics.accuracy_score(*map(x.__array_namespace__().asarray, LABELS)),
    "special.logsumexp": lambda x: special.logsumexp(x, axis=1),
    "special.log_softmax": lambda x: special.log_softmax(x, axis=1),
    "stats.zscore": lambda x: stats.zscore(x),
    "integrate.simpson": lambda x: integrate.simpson(x, axis=0),
    "vq.whiten": lambda x: vq.whiten(x),
    "StandardScaler": lambda x: preprocessing.StandardScaler().fit_transform(x),
    "MinMaxScaler": lambda x: preprocessing.MinMaxScaler().fit_transform(x),
    "r2_score": lambda x: metrics.r2_score(x, 2 * x),
    "special.expit": special.expit,
    "special.erf": special.erf,
    "stats.entropy": lambda x: stats.entropy(x),
    "signal.detrend": lambda x: signal.detrend(x, axis=0),
    "ndimage.gaussian_filter": lambda x: ndimage.gaussian_filter(x, 1.0),
}


def outcome(fn):
    x = tg.tensor(X, requires_grad=True, name="x")
    try:
        out = fn(x)
    except Exception as error:
        return {"error": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}
    if not isinstance(out, tg.Tensor):
        return {"type": type(out).__name__, "value": float(out) if np.size(out) == 1 else None}
    weights = np.random.default_rng(1).normal(size=out.shape)
    tg.sum(out * weights).backward()
    return {
        "type": "Tensor", "recorded": out.requires_grad,
        "difference": float(np.abs(out.numpy() - np.asarray(fn(X))).max()),
        "slope": float(np.abs(x.grad.numpy() - slopes(lambda a: np.sum(fn(a) * weights))).max()),
        "check_grad": str(tg.testing.check_grad(fn, X).verdict),
    }  # fmt: skip


def slopes(fn, step=1e-5):
    """Central differences of SciPy's own function of NumPy arrays."""
    units = step * np.eye(X.size).reshape(X.size, *X.shape)
    return np.array([(fn(X + unit) - fn(X - unit)) / (2 * step) for unit in units]).reshape(X.shape)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with config_context(array_api_dispatch=True):
        print(json.dumps({name: outcome(fn) for name, fn in CASES.items()}))
