"""The public suite, where a checkout is named: no test of what Tensors have fails, but for NumPy's own.

``git clone https://github.com/data-apis/array-api-tests``, ``git submodule update --init`` there, and
``TINYGRAPH_ARRAY_API_TESTS=<that folder>``; it needs pytest-json-report and ndindex.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from array_api.aat_allow import is_ours

HERE = Path(__file__).parent
CHECKOUT = os.environ.get("TINYGRAPH_ARRAY_API_TESTS")
OPTIONS = (
    "-q -p aat_allow -p no:cacheprovider -o xfail_strict=false --derandomize --disable-deadline --max-examples=20 "
    "--disable-extension linalg fft"
).split()


@pytest.mark.slow
@pytest.mark.skipif(not CHECKOUT, reason="TINYGRAPH_ARRAY_API_TESTS names no checkout of array-api-tests")
def test_nothing_fails():
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, "--xfails-file", HERE / "xfails.txt", "array_api_tests/"],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "ARRAY_API_TESTS_MODULE": "tinygraph.array_api"},
    )  # fmt: skip
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", run.stdout.strip().splitlines()[-1])}
    assert counts.get("passed", 0) > 800, run.stdout + run.stderr
    assert not {"failed", "error", "errors"} & set(counts), run.stdout
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("array_api_tests/test_has_names.py::test_has_names[elementwise-add]", True),
        ("array_api_tests/test_has_names.py::test_has_names[array_method-__xor__]", True),
        ("array_api_tests/test_has_names.py::test_has_names[array_method-__isub__]", False),
        ("array_api_tests/test_has_names.py::test_has_names[array_method-__setitem__]", False),
        ("array_api_tests/test_has_names.py::test_has_names[linalg-cross]", False),
        ("array_api_tests/test_signatures.py::test_extension_func_signature[fft.fft]", False),
        ("array_api_tests/test_array_object.py::test_setitem_masking", False),
        ("array_api_tests/test_linalg.py::test_matmul", True),
        ("array_api_tests/test_special_cases.py::test_binary[__floordiv__(x1_i is NaN) -> NaN]", True),
        ("array_api_tests/test_special_cases.py::test_iop[__ifloordiv__(x1_i is NaN) -> NaN]", False),
    ],
)
def test_the_allow_list(test, expected):
    assert is_ours(test) is expected
