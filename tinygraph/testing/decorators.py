"""Whole tests made by one decorator: an ordinary Hypothesis test around the code under test."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError
from .check import Options, compare, compare_equivalent
from .doctor import diagnose_problem
from .extras import need, unwatched
from .kernel import Kernel
from .primitives import check_primitive
from .problem import Problem
from .report import Report
from .shapes import Shapes, parse
from .strategies import problems_for

REGIMES = ("generic", "scale", "offset", "degenerate")


def backward_test(
    reference: Callable[..., Any], /, *, dtype: Any = np.float64, dims: Mapping[str, Any] | None = None,
    domains: Mapping[str, Any] | None = None, regimes: Sequence[str] = REGIMES, layouts: bool = True, wrt: Any = None,
    forward: Callable[..., Any] | None = None, extras: Any = None, saved: Any = None, slack: float = 64.0, samples: int = 8,
    kinks: str = "hull", compute_dtype: Any = None, nondeterministic: bool = False, tolerance: tuple[float, float] | None = None,
    hunt: bool = False, doctor: bool = True, specs: Mapping[str, Any] | None = None, **shapes: Any,
) -> Callable[[Callable[..., Any]], Callable[[], None]]:  # fmt: skip
    """Make a Hypothesis test of a backward: the decorated function's body is the code under test.

    ::

        @backward_test(batch_norm, x="N C", gamma="C", beta="C")
        def test_my_backward(dy, x, gamma, beta):
            return my_fused_backward(dy, x, gamma, beta)

    Each example draws arrays in these shapes (letters are shared sizes) and an upstream gradient in the
    layouts that real callers use, and does what ``check_backward`` does, whose keywords it takes. A
    failure is shrunk to small numbers, and its message names the wrong term. ``regimes``: what is drawn,
    of generic, scale, offset, degenerate, bulk and nonfinite. ``hunt=True`` lets Hypothesis look for
    the largest error. ``doctor=False`` leaves the diagnosis out. Options of Hypothesis are set with its
    own ``@settings`` and ``@example(Problem(…))``, above or below.

    Raises: MissingExtra without Hypothesis; inside the test, GradientMismatch.

    >>> import numpy as np, tinygraph as tg
    >>> from tinygraph.testing import backward_test
    >>> @backward_test(tg.tanh, x="N")
    ... def test_tanh(dy, x):
    ...     return dy * (1 - np.tanh(x) ** 2)
    >>> test_tanh()
    """
    options = Options(wrt, forward, extras, saved, slack, samples, kinks, compute_dtype, nondeterministic, tolerance)
    known = parse("backward_test", reference, shapes, specs)

    def examine(kernel: Kernel, problem: Problem) -> Any:
        return diagnose_problem(reference, kernel, problem, shapes=known, dims=dims, domains=domains)

    def decorate(backward: Callable[..., Any]) -> Callable[[], None]:
        if not callable(backward):
            raise ArgumentError(f"backward_test({backward!r}): decorates a function; write it above a def")

        def check(problem: Problem) -> Report:
            report = compare(
                reference, backward, problem, options, examine if doctor else (lambda kernel, problem: None)
            )
            report.remember()
            return report

        drawn = _problems(reference, known, dtype=dtype, dims=dims, domains=domains, regimes=regimes, layouts=layouts)
        return _hypothesis_test(backward, check, drawn, hunt)

    return decorate


def equivalent_test(
    f: Callable[..., Any], g: Callable[..., Any], /, *, dtype: Any = np.float64, dims: Mapping[str, Any] | None = None,
    domains: Mapping[str, Any] | None = None, regimes: Sequence[str] = REGIMES, slack: float = 64.0, samples: int = 8,
    specs: Mapping[str, Any] | None = None, **shapes: Any,
) -> Callable[[], None]:  # fmt: skip
    """A Hypothesis test that ``g`` is ``f``, forward and backward, up to rounding.

    ``test_fused = equivalent_test(tg.batch_norm, tg.fused.batch_norm, x="N C", gamma="C", beta="C")``

    Both are made of tinygraph ops; the values of ``f`` in wide arithmetic are the truth.

    Raises: MissingExtra without Hypothesis; inside the test, GradientMismatch.

    >>> import tinygraph as tg
    >>> from tinygraph.testing import equivalent_test
    >>> equivalent_test(tg.silu, lambda x: x * tg.sigmoid(x), x="N")()
    """
    known = parse("equivalent_test", f, shapes, specs)
    options = Options(slack=slack, samples=samples)

    def check(problem: Problem) -> Report:
        report = compare_equivalent(f, g, problem, options)
        report.remember()
        return report

    drawn = _problems(f, known, dtype=dtype, dims=dims, domains=domains, regimes=regimes, layouts=False)

    def test_equivalent() -> None:
        """The two functions agree."""

    return _hypothesis_test(test_equivalent, check, drawn, False, f"{_name(f)} and {_name(g)}")


def primitive_test(op: Any, /, *, domains: Mapping[str, Any] | None = None) -> Callable[[], None]:
    """A Hypothesis test of everything that a primitive promises, from its record alone.

    ``test_my_op = primitive_test(my_op)``: its vjp and jvp against complex step, broadcasting, dtypes,
    second order, and that nothing is written to.

    Raises: MissingExtra without Hypothesis; inside the test, GradientMismatch.

    >>> import tinygraph as tg
    >>> from tinygraph.testing import primitive_test
    >>> primitive_test("tanh")()
    """
    hypothesis = need("hypothesis", "testing", "primitive_test")
    seeds = need("hypothesis.strategies", "testing", "primitive_test").integers(0, 2**32 - 1)

    def test_primitive(seed: int) -> None:
        """The laws of one primitive."""
        __tracebackhide__ = True
        check_primitive(op, domains=domains, seed=seed).check()

    return _without_deadline(hypothesis, hypothesis.given(seed=seeds)(test_primitive))  # type: ignore[no-any-return]


def _problems(reference: Callable[..., Any], known: Shapes, **options: Any) -> Any:
    return problems_for(reference, known, **options)


def _hypothesis_test(
    fn: Callable[..., Any], check: Callable[[Problem], Report], drawn: Any, hunt: bool, about: str = ""
) -> Callable[[], None]:
    hypothesis = need("hypothesis", "testing", "backward_test")

    def test(problem: Problem) -> None:
        __tracebackhide__ = True
        with unwatched():
            report = check(problem)
        if hunt and report.entries:
            worst = max(e.ratio for e in report.entries)
            hypothesis.target(float(np.log10(min(max(worst, 1e-6), 1e300))), label="log10 of the rounding units")
        report.check()

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        if isinstance(value := getattr(fn, name, None), str):
            setattr(test, name, value)
    wrapped = _without_deadline(hypothesis, hypothesis.given(problem=drawn)(test))
    _own_digest(wrapped, fn, about)
    return wrapped  # type: ignore[no-any-return]


def _without_deadline(hypothesis: Any, test: Any) -> Any:
    """The current settings without a deadline: as a default, which the user's own ``@settings`` replaces."""
    test._hypothesis_internal_use_settings = hypothesis.settings(deadline=None)
    return test


def _own_digest(test: Any, fn: Callable[..., Any], about: str) -> None:
    """Every test from this factory has the same source; its examples are told apart by its name."""
    handle = getattr(test, "hypothesis", None)
    inner = getattr(handle, "inner_test", None)
    if inner is not None:
        text = f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', '')} {about}"
        inner._hypothesis_internal_add_digest = functools.reduce(
            lambda a, b: (a * 31 + b) % 2**64, text.encode(), 7
        ).to_bytes(8, "big")


def _name(fn: Any) -> str:
    return getattr(inspect.unwrap(fn), "__name__", type(fn).__name__)
