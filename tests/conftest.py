"""Hypothesis profiles, marks, and what every test must leave behind: nothing."""

from __future__ import annotations

import importlib.util
import os
import zlib

# One process for each core, see below: each with a BLAS of one thread. NumPy reads this once.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tinygraph.core.scope import GRAD, mode, scope_var

# A law says how many examples it wants by ``support.examples(n)``: CI runs as many, a plain ``pytest`` 30 of
# 100, ``deep`` 50 times as many.
DEEP = 5000
settings.register_profile("plain", derandomize=True, deadline=None, max_examples=30, print_blob=True)
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100, print_blob=True)
settings.register_profile("dev", deadline=None, max_examples=100)
settings.register_profile(
    "deep", deadline=None, max_examples=DEEP, suppress_health_check=[HealthCheck.too_slow], database=None
)
PROFILE = "deep" if os.environ.get("TINYGRAPH_DEEP") else os.environ.get("HYPOTHESIS_PROFILE", "plain")
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Without ``-n``, a process for each core; one where pytest-xdist is not installed, and for a debugger or benchmarks.

    Coverage has decided by now how it counts: with ``--cov`` say ``-n auto`` too.
    """
    option = config.option
    if "PYTEST_XDIST_WORKER" in os.environ or hasattr(config, "workerinput"):  # a worker has none of its own
        return
    alone = option.usepdb or option.collectonly or any(getattr(option, o, 0) for o in ("benchmark_only", "cov_source"))
    if getattr(option, "numprocesses", 0) is None and not alone:
        option.numprocesses = os.cpu_count()


DOCTEST_NEEDS = {"tinygraph.lower.onnx.export_onnx": "onnx"}


def pytest_collection_modifyitems(config, items):
    left_out = {}
    if settings().max_examples < DEEP:
        left_out["deep"] = "deep: runs with --hypothesis-profile=deep or TINYGRAPH_DEEP=1"
    if PROFILE == "plain" and not config.option.markexpr:
        left_out["slow"] = "slow: runs in CI, which sets HYPOTHESIS_PROFILE=ci, and with -m slow"
    for item in items:
        needs = DOCTEST_NEEDS.get(item.name)
        if needs and not importlib.util.find_spec(needs):
            item.add_marker(pytest.mark.skip(reason=f"{needs} is not installed"))
        for mark, reason in left_out.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def rng(request):
    """A generator seeded by the name of the test."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True)
def _nothing_leaks():
    """A test that leaves a scope or a recording mode behind fails, and does not spoil the next one."""
    yield
    scope, bits = scope_var.get(), mode.get()
    scope_var.set(None)
    mode.set(GRAD)
    assert scope is None, f"scope {scope.path} was left open"
    assert bits == GRAD, f"recording mode {bits} was left set"
