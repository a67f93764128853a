"""Whole tests made by one decorator: an ordinary Hypothesis test around the code under test."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any

import numpy as np

from ..errors import ArgumentError, GradientMismatch
from .check import Options, compare, compare_equivalent
from .doctor import diagnose_problem
from .extras import need, unwatched
from .kernel import Kernel, check_call, choose_wrt
from .primitives import check_primitive, find
from .problem import Problem
from .report import Report
from .shapes import parameters, parse
from .strategies import problems_for, trial

REGIMES = ("generic", "scale", "offset", "degenerate")


def backward_test(
    reference: Callable[..., Any], /, *, dtype: Any = np.float64, dims: Mapping[str, Any] | None = None,
    domains: Mapping[str, Any] | None = None, regimes: Sequence[str] = REGIMES, layouts: bool = True, wrt: Any = None,
    forward: Callable[..., Any] | None = None, extras: Any = None, saved: Any = None, slack: float = 64.0, samples: int = 8,
    kinks: str = "hull", compute_dtype: Any = None, nondeterministic: bool = False, tolerance: tuple[float, float] | None = None,
    hunt: bool = False, doctor: bool = True, specs: Mapping[str, Any] | None = None, **shapes: Any,
) -> Callable[[Callable[..., Any]], Callable[..., None]]:  # fmt: skip
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
    own ``@settings`` and ``@example(Problem(…))``, above or below. A method gets ``self`` first.

    Raises: MissingExtra without Hypothesis; ArgumentError where the function cannot be a backward of the
    reference; inside the test, GradientMismatch, or ArgumentError where no example could be compared.

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

    def decorate(fn: Callable[..., Any]) -> Callable[..., None]:
        if not callable(fn):
            raise ArgumentError(f"backward_test({fn!r}): decorates a function; write it above a def")
        backward = MethodType(fn, fn) if _is_method(fn) else fn
        check_call("backward_test", reference, backward, list(known.args), extras, saved)
        tried = trial(reference, known, dtype=dtype, dims=dims, domains=domains)
        choose_wrt("backward_test", list(known.args), tried, wrt)

        def check(problem: Problem, *owner: Any) -> Report:
            kernel = MethodType(fn, *owner) if owner else fn
            report = compare(reference, kernel, problem, options, _calmly(examine) if doctor else lambda k, p: None)
            report.remember()
            return report

        drawn = problems_for(
            reference, known, dtype=dtype, dims=dims, domains=domains, regimes=regimes, layouts=layouts
        )
        return _hypothesis_test(fn, check, drawn, hunt)

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

    for fn in (f, g):
        if not callable(fn):
            raise ArgumentError(f"equivalent_test({fn!r}): compares two functions of tinygraph ops; give functions")
        trial(fn, known, op="equivalent_test", dtype=dtype, dims=dims, domains=domains)

    def check(problem: Problem) -> Report:
        report = compare_equivalent(f, g, problem, options)
        report.remember()
        return report

    drawn = problems_for(
        f, known, op="equivalent_test", dtype=dtype, dims=dims, domains=domains, regimes=regimes, layouts=False
    )

    def test_equivalent() -> None:
        """The two functions agree."""

    return _hypothesis_test(test_equivalent, check, drawn, False, f"{_name(f)} and {_name(g)}")


def primitive_test(op: Any, /, *, domains: Mapping[str, Any] | None = None) -> Callable[[], None]:
    """A Hypothesis test of everything that a primitive promises, from its record alone.

    ``test_my_op = primitive_test(my_op)``: its vjp and jvp against complex step, broadcasting, dtypes,
    second order, and that nothing is written to. ``op`` is a Primitive, its function or its name.

    Raises: MissingExtra without Hypothesis; ArgumentError for what is no primitive; inside the test,
    GradientMismatch.

    >>> import tinygraph as tg
    >>> from tinygraph.testing import primitive_test
    >>> primitive_test("tanh")()
    """
    hypothesis = need("hypothesis", "testing", "primitive_test")
    seeds = need("hypothesis.strategies", "testing", "primitive_test").integers(0, 2**32 - 1)
    known = find("primitive_test", op, domains)[0]

    def test_primitive(seed: int) -> None:
        """The laws of one primitive."""
        __tracebackhide__ = True
        check_primitive(known, domains=domains, seed=seed).check()

    return _whole(_run(hypothesis, test_primitive, seed=seeds), _Tally("primitive_test"))


# -- one test ---------------------------------------------------------------------------------------------


def _hypothesis_test(
    fn: Callable[..., Any], check: Callable[..., Report], drawn: Any, hunt: bool, about: str = ""
) -> Callable[..., None]:
    """The test of what ``check`` reports on the problems drawn; settings, examples and marks of ``fn`` go with it."""
    hypothesis = need("hypothesis", "testing", "backward_test")
    tally = _Tally(_name(fn))

    def judge(problem: Problem, *owner: Any) -> None:
        with unwatched():
            report = check(problem, *owner)
            tally.add(report)
            if hunt and report.entries:
                worst = max(e.ratio for e in report.entries)
                hypothesis.target(float(np.log10(min(max(worst, 1e-6), 1e300))), label="log10 of the rounding units")
            report.check()

    def of_function(problem: Problem) -> None:
        judge(problem)

    def of_method(self: Any, problem: Problem) -> None:
        judge(problem, self)

    test: Callable[..., None] = of_method if _is_method(fn) else of_function
    _dress(test, fn)
    run = _run(hypothesis, test, problem=drawn)
    _own_digest(run, fn, about)
    return _whole(run, tally)


def _run(hypothesis: Any, test: Callable[..., None], **drawn: Any) -> Any:
    """The Hypothesis test. It has no deadline, as a default which the user's own ``@settings`` replaces."""
    run = hypothesis.given(**drawn)(test)
    if not hasattr(run, "_hypothesis_internal_settings_applied"):
        run._hypothesis_internal_use_settings = hypothesis.settings(deadline=None)
    return run


def _whole(run: Any, tally: _Tally) -> Callable[..., None]:
    """The Hypothesis test, and afterwards whether it compared anything; a failure is the message, without our frames."""

    def whole(*owner: Any) -> None:
        __tracebackhide__ = True
        tally.start()
        try:
            run(*owner)
        except GradientMismatch as error:
            found = error
        else:
            return tally.judge()
        raise found.with_traceback(None)

    functools.update_wrapper(whole, run, updated=())
    whole.__dict__ = run.__dict__  # one for both: settings, examples, seeds and marks from above reach ``run``
    whole.__signature__ = inspect.signature(run)  # type: ignore[attr-defined]
    return whole


class _Tally:
    """How many examples of a run were compared: a test that compares none can't fail."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.start()

    def start(self) -> None:
        """A new run."""
        self.compared, self.skipped, self.why, self.example = 0, 0, "", "x"

    def add(self, report: Report) -> None:
        """One example more."""
        if not report.skipped:
            self.compared += 1
            return
        self.skipped, self.why = self.skipped + 1, report.skipped
        self.example = next(iter(getattr(report.problem, "arrays", ())), "x")

    def judge(self) -> None:
        """The run is over."""
        if self.skipped and not self.compared:
            raise ArgumentError(
                f"{self.name}: none of {self.skipped} examples was compared: {self.why}; give domains= that the "
                f"reference can take, e.g. domains={{{self.example!r}: 'positive'}}"
            )


def _is_method(fn: Any) -> bool:
    return inspect.isfunction(fn) and parameters(fn)[0][:1] == ["self"]


def _dress(test: Any, fn: Any) -> None:
    """Give a test the name of what it tests, and what other decorators have left there: settings, examples, marks."""
    test.__name__ = test.__qualname__ = "test_backward"
    if getattr(fn, "__name__", "").isidentifier():
        test.__name__, test.__qualname__ = fn.__name__, getattr(fn, "__qualname__", fn.__name__)
        test.__doc__ = fn.__doc__
    if isinstance(module := getattr(fn, "__module__", None), str):
        test.__module__ = module
    if inspect.isfunction(fn):
        test.__dict__.update({k: v for k, v in vars(fn).items() if k not in ("__wrapped__", "__signature__")})


def _calmly(doctor: Callable[[Kernel, Problem], Any]) -> Callable[[Kernel, Problem], Any]:
    """The doctor, without an opinion where the test's body refuses the probes with ``assume``."""
    errors = need("hypothesis.errors", "testing", "backward_test")

    def examine(kernel: Kernel, problem: Problem) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", errors.HypothesisDeprecationWarning)  # of assume() outside a run
                return doctor(kernel, problem)
        except errors.UnsatisfiedAssumption:
            return None

    return examine


def _own_digest(test: Any, fn: Callable[..., Any], about: str) -> None:
    """Every test from this factory has the same source; its examples are told apart by its name."""
    text = f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', '')} {about}"
    number = functools.reduce(lambda a, b: (a * 31 + b) % 2**64, text.encode(), 7)
    test.hypothesis.inner_test._hypothesis_internal_add_digest = number.to_bytes(8, "big")


def _name(fn: Any) -> str:
    return getattr(inspect.unwrap(fn), "__name__", type(fn).__name__)
