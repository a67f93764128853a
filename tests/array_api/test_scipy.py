"""SciPy and scikit-learn on Tensors, by the array API: which functions differentiate, and how the others refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygraph

pytest.importorskip("scipy", "1.14")
pytest.importorskip("sklearn", "1.6")

DIFFERENTIABLE = "special.softmax special.xlogy stats.moment stats.skew stats.gmean integrate.trapezoid".split()
ASSIGN = "special.logsumexp special.log_softmax stats.zscore vq.whiten StandardScaler MinMaxScaler r2_score".split()
LEAVE = "special.expit special.erf stats.entropy signal.detrend ndimage.gaussian_filter".split()


@pytest.fixture(scope="module")
def outcomes():
    script = Path(__file__).with_name("scipy_cases.py")
    paths = [str(Path(tinygraph.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_it_differentiates(name, outcomes):
    found = outcomes[name]
    assert found.get("type") == "Tensor", found
    assert found["recorded"]
    assert found["difference"] < 1e-14
    assert found["check_grad"] == "ok"
    assert found["slope"] < 1e-8


@pytest.mark.parametrize(("name", "value"), [("mean_squared_error", None), ("accuracy_score", 0.75)])
def test_it_gives_a_float(name, value, outcomes):
    x = np.random.default_rng(0).uniform(0.3, 2.0, (6, 3))
    assert outcomes[name]["type"] == "float"
    assert outcomes[name]["value"] == pytest.approx(np.mean(x**2) if value is None else value, rel=1e-14)


def refused_assignment(found):
    return "TypeError" in found["error"] and "a Tensor never changes; write x = tg.set_at(x, k, v)" in found["text"]


def refused_leaving(found):
    return "GradientError" in found["error"] and "NumPy would lose its gradient" in found["text"]


@pytest.mark.parametrize("name", ASSIGN)
def test_it_assigns_to_items(name, outcomes):
    assert refused_assignment(outcomes[name]), outcomes[name]


@pytest.mark.parametrize("name", LEAVE)
def test_it_would_leave_the_graph(name, outcomes):
    assert refused_leaving(outcomes[name]), outcomes[name]


def test_simpson_assigns_or_leaves(outcomes):
    found = outcomes["integrate.simpson"]  # it follows the standard from SciPy 1.18 on
    assert refused_assignment(found) or refused_leaving(found), found


def test_every_case_is_tested(outcomes):
    named = {*DIFFERENTIABLE, *ASSIGN, *LEAVE, "mean_squared_error", "accuracy_score", "integrate.simpson"}
    assert set(outcomes) == named
