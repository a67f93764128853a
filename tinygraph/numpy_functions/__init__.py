"""NumPy on Tensors: two closed tables, ufunc → ours and function → an adapter with NumPy's signature."""

from . import diagonals, joining, movement, products, questions, reductions, selection
from .table import FUNCTIONS, cast, in_our_words, ours, reduced, refusal, refuse
from .ufuncs import UFUNCS

__all__ = [
    "FUNCTIONS", "UFUNCS", "cast", "diagonals", "in_our_words", "joining", "movement", "ours", "products", "questions", "reduced",
    "reductions", "refusal", "refuse", "selection",
]  # fmt: skip
