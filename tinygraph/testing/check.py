"""Checks at one point: a hand-written backward, a derived gradient, two functions that should be one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.graph import argument_names, flatten
from ..core.tensor import Tensor
from ..errors import ArgumentError
from ..transforms import vjp
from .compare import Options, compare
from .derived import draw_upstream
from .kernel import check_order, choose_wrt, plain
from .problem import Problem
from .report import Report

__all__ = ["Options", "assert_backward", "check_backward", "check_equivalent", "compare", "compare_equivalent"]


def check_backward(
    reference: Callable[..., Any],
    backward: Callable[..., Any],
    *arrays: Any,
    dy: Any = None,
    wrt: Any = None,
    forward: Callable[..., Any] | None = None,
    extras: Any = None,
    saved: Any = None,
    slack: float = 64.0,
    samples: int = 8,
    kinks: str = "hull",
    compute_dtype: Any = None,
    nondeterministic: bool = False,
    tolerance: tuple[float, float] | None = None,
    seed: int = 0,
) -> Report:
    """Compare ``backward(dy, *arrays)`` with the derived backward of ``reference`` at one point.

    The error of every element is counted in rounding units, |yours - derived| / (sigma + u · mass),
    where the derived gradient is evaluated in longdouble or decimals; up to ``slack`` of them are
    allowed. The verdict is ``ok``, ``structure``, ``range``, ``unstable`` or ``wrong``.

    ``reference(*arrays)`` is made of tinygraph ops. ``backward`` gets NumPy arrays and returns one
    gradient for each name in ``wrt`` (by default every floating argument): a tuple, a dict, or one
    array. ``dy`` is random by default. ``forward`` is the user's forward, compared first;
    ``extras(**inputs)`` gives keywords for the backward; ``saved(*arrays)`` what it kept from its
    forward, passed after dy. ``compute_dtype``: the arithmetic's precision where it is lower than the
    arrays'; ``nondeterministic``: called twice, and the spread is allowed; ``kinks="exact"`` wants
    the derived convention at ties; ``tolerance=(atol, rtol)`` replaces rounding units.

    Returns a Report, never raises for a wrong backward. Raises: ArgumentError for a wrong call.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import check_backward
    >>> report = check_backward(lambda x: tg.tanh(x), lambda dy, x: dy * (1 - np.tanh(x)), np.array([0.5, -1.0]))
    >>> report.verdict, str(report.diagnosis).splitlines()[0]
    ('wrong', 'dx: 1-h for 1-h² in y = tanh(x)')
    """
    given = plain(arrays)
    options = Options(
        wrt, forward, extras, saved, slack, samples, kinks, compute_dtype, nondeterministic, tolerance, seed
    )
    check_order("check_backward", reference, backward, len(given))
    names = argument_names(reference, len(given))
    upstream = draw_upstream(reference, given, seed) if dy is None else _upstream(dy)
    problem = Problem(dy=upstream, specs=dict(zip(names, given, strict=True)))
    return compare(reference, backward, problem, options)


def assert_backward(reference: Callable[..., Any], backward: Callable[..., Any], *arrays: Any, **options: Any) -> None:
    """``check_backward`` that raises GradientMismatch, with the whole message, unless the verdict is ``ok``.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import assert_backward
    >>> assert_backward(tg.exp, lambda dy, x: dy * np.exp(x), np.array([0.5, -1.0]))
    """
    __tracebackhide__ = True
    check_backward(reference, backward, *arrays, **options).check()


def check_equivalent(
    f: Callable[..., Any], g: Callable[..., Any], *arrays: Any, dy: Any = None, slack: float = 64.0, samples: int = 8
) -> Report:
    """Whether ``g`` is ``f``, forward and backward, up to rounding: fused against composed, compiled against eager.

    Both are made of tinygraph ops; ``f`` is the one that is evaluated in wide arithmetic.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import check_equivalent
    >>> x = np.random.default_rng(0).normal(size=(5, 3))
    >>> check_equivalent(tg.batch_norm, tg.fused.batch_norm, x).ok
    True
    """
    for fn in (f, g):
        if not callable(fn):
            raise ArgumentError(
                f"check_equivalent({fn!r}): compares two functions; write check_equivalent(f, g, *arrays)"
            )
    given = plain(arrays)
    upstream = draw_upstream(f, given, 0) if dy is None else _upstream(dy)
    problem = Problem(dy=upstream, specs=dict(zip(argument_names(f, len(given)), given, strict=True)))
    return compare_equivalent(f, g, problem, Options(slack=slack, samples=samples))


def compare_equivalent(f: Callable[..., Any], g: Callable[..., Any], problem: Problem, options: Options) -> Report:
    """``compare`` with the forward and the derived backward of ``g`` in the place of hand-written ones."""
    names = list(problem.arrays)
    chosen = choose_wrt("check_equivalent", names, list(problem.arrays.values()), None)

    def forward(*inputs: Any) -> Any:
        return tuple(t.numpy() for t in flatten(vjp(g, *inputs)[0])[0])

    def backward(cotangent: Any, *inputs: Any) -> Any:
        cotangents = vjp(g, *inputs)[1](cotangent)
        return tuple(np.array(cotangents[names.index(n)].numpy()) for n in chosen)

    backward.__name__ = backward.__qualname__ = f"the backward of {getattr(g, '__name__', 'g')}"
    backward.derived = True  # type: ignore[attr-defined]
    return compare(f, backward, problem, replace(options, forward=forward))


def _upstream(dy: Any) -> Any:
    """A tuple is one gradient for each output; anything else is an array."""
    several = isinstance(dy, tuple) or (isinstance(dy, list) and any(isinstance(d, (np.ndarray, Tensor)) for d in dy))
    return tuple(plain(dy)) if several else plain([dy])[0]
