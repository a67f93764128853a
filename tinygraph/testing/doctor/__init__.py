"""The backward doctor: which term is wrong, and by what factor."""

from .diagnosis import diagnose, diagnose_problem
from .findings import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "diagnose", "diagnose_problem"]
