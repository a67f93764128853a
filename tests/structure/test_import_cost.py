"""``import tinygraph`` loads NumPy and nothing heavier, and is quick."""

from __future__ import annotations

import subprocess
import sys

# What the standard library and NumPy load themselves is known by importing NumPy first.
MODULES = """
import sys, numpy
before = set(sys.modules)
import tinygraph
new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(*sorted(new - {'numpy'}))
"""
SECONDS = """
import time, numpy
start = time.process_time()
import tinygraph
print(time.process_time() - start)
"""
HEAVY = """
import sys, numpy
before = set(sys.modules)
import tinygraph
print(*sorted({'subprocess', 'xml.etree.ElementTree', 'importlib.metadata', 'asyncio', 'json'} & (set(sys.modules) - before)))
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_it_loads_numpy_only():
    assert run(MODULES) == "tinygraph"


def test_it_leaves_the_heavier_parts_of_the_standard_library_alone():
    assert run(HEAVY) == ""


def test_it_takes_less_than_150_ms_beyond_numpy():
    run(SECONDS)  # compiles the bytecode
    assert min(float(run(SECONDS)) for _ in range(5)) < 0.15


TESTING = """
import sys, tinygraph as tg
before = set(sys.modules)
tg.testing.check_backward
new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(*sorted(new - {'numpy', 'tinygraph'}), 'tinygraph.testing' in before)
"""


def test_testing_comes_on_demand_and_alone():
    assert run(TESTING) == "False"
