"""Exported models, run by onnx's reference evaluator and by onnxruntime."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from onnx.reference import ReferenceEvaluator  # noqa: E402


def evaluated(model, feeds):
    """Every output by name, computed by NumPy one node after the other."""
    names = [output.name for output in model.graph.output]
    with np.errstate(all="ignore"):
        return dict(zip(names, ReferenceEvaluator(model).run(names, feeds), strict=True))


def loaded(model):
    """The model in onnxruntime; a skip where it is not installed."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def ran(model, feeds):
    """Every output by name, computed by onnxruntime."""
    names = [output.name for output in model.graph.output]
    return dict(zip(names, loaded(model).run(names, feeds), strict=True))


def lacks_a_kernel(error):
    """Whether onnxruntime says that an operator is fine, but not for this dtype."""
    return "NOT_IMPLEMENTED" in str(error)


def off(found, expected):
    """The largest difference, relative to the scale of what is expected; infinite for another shape or dtype, or a nan."""
    found, expected = np.asarray(found), np.asarray(expected)
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return np.inf
    if expected.dtype.kind in "biu":
        return 0.0 if np.array_equal(found, expected) else np.inf
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(found.astype(np.float64) - expected)[~same].max()
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    scale = finite.max() if finite.size else 0.0
    return float(difference / scale) if np.isfinite(difference) and scale else np.inf
