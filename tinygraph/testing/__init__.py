"""Check, diagnose, prove and measure hand-written backwards.

``check_backward`` compares a backward that someone typed with the derived one, in rounding units;
``diagnose`` says which term of it is wrong and by what factor; ``prove`` shows that it is exactly the
derived one; ``power`` says what your present check is worth; ``draw_diff`` draws what is wrong. ``backward_test`` makes a whole Hypothesis
test of it. Only the decorators and the strategies need Hypothesis: ``pip install "tinygraph[testing]"``.
"""

from .adapters import from_jax, from_numba, from_torch
from .check import assert_backward, check_backward, check_equivalent
from .decorators import backward_test, equivalent_test, primitive_test
from .diff import draw_diff
from .doctor import Diagnosis, Finding, diagnose
from .grad import check_grad
from .mutants import Mutant
from .paths import contributions
from .power import PowerReport, power
from .primitives import check_primitive
from .problem import Problem
from .programs import Program, programs
from .prove import Proof, prove
from .report import Entry, Report
from .rounding import rounding_bound
from .strategies import arrays, problems

__all__ = [
    "Diagnosis", "Entry", "Finding", "Mutant", "PowerReport", "Problem", "Program", "Proof", "Report", "arrays",
    "assert_backward", "backward_test", "check_backward", "check_equivalent", "check_grad", "check_primitive",
    "contributions", "diagnose", "draw_diff", "equivalent_test", "from_jax", "from_numba", "from_torch", "power", "primitive_test",
    "problems", "programs", "prove", "rounding_bound",
]  # fmt: skip
