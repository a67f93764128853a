"""Count what the gradient tests find, and what they raise false alarm about.

    python tests/benchmarks/gradient_testing.py [--seeds 90]

The doctor is asked about every wrong backward of the corpora in ``tests/support/backwards``; right
kernels are checked in 18 regimes of scale and offset; the proof is timed.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import gradient_checks
from support.backwards import batch_norm, others, regimes

from tinygraph.errors import NotAlgebraic
from tinygraph.testing import backward_test, check_backward, diagnose, power, prove

SHAPES = batch_norm.SHAPES


def progress(items: Iterable[Any], what: str) -> Iterable[Any]:
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(list(items), what, leave=False, disable=not sys.stderr.isatty())


def line(what: str, text: str) -> None:
    print(f"  {what:<58} {text}", flush=True)


def first_line(reference: Any, backward: Any, **options: Any) -> str:
    return str(diagnose(reference, backward, **options)).splitlines()[0]


# -- the doctor ------------------------------------------------------------------------------------


def doctor() -> None:
    print("The doctor")
    named, spent = 0, []
    for m in progress(batch_norm.MUTANTS, "mutants"):
        start = time.perf_counter()
        extras = {"extras": m.extras} if m.extras is not None else {}
        named += m.says(first_line(batch_norm.reference, m.backward, **SHAPES, **extras))
        spent.append(time.perf_counter() - start)
    line("wrong BatchNorms named as in the table", f"{named} of {len(batch_norm.MUTANTS)}")
    line("time for one: median, worst", f"{np.median(spent) * 1e3:.0f} ms, {max(spent):.2f} s")
    without = [m for m in batch_norm.MUTANTS if m.extras is None]
    line("of them without running statistics", f"{len(without)}")
    exact = 0
    for t in progress(batch_norm.TRIPLES, "triples"):
        (finding,) = diagnose(batch_norm.reference, t.backward, **SHAPES).findings
        exact += dict(zip(finding.term.split("; "), finding.factor.split("; "), strict=False)) == t.wrong
    line("triples of wrong coefficients named exactly", f"{exact} of {len(batch_norm.TRIPLES)}")
    counts: dict[str, int] = {}
    unexplained = 0
    for case in others.CASES:
        for m in progress(case.mutants, case.name):
            said = first_line(case.reference, m.backward, domains=case.domains or None, wrt=case.wrt, **case.shapes)
            unexplained += "unexplained" in said
            verdict = m.judge(said)
            counts[verdict] = counts.get(verdict, 0) + 1
    total = sum(counts.values())
    line("wrong backwards of seven other graphs: said truly", f"{counts.get('named', 0)} of {total}")
    line("of these honestly unexplained; misnamed", f"{unexplained}; {counts.get('misnamed', 0)}")
    alarms = sum(not diagnose(batch_norm.reference, b, **SHAPES).ok for b in batch_norm.RIGHT.values())
    right = len(batch_norm.RIGHT)
    for case in others.CASES:
        for b in case.right.values():
            right += 1
            alarms += not diagnose(case.reference, b, domains=case.domains or None, wrt=case.wrt, **case.shapes).ok
    line("right backwards with a finding", f"{alarms} of {right}")
    rng = np.random.default_rng(5)
    for rows, columns in ((8, 3), (4, 3), (4, 4), (3, 3), (2, 3)):
        arrays = [rng.normal(size=s) for s in ((rows, columns), columns, columns)]
        line(f"named at the fixed sizes {(rows, columns)}", f"{at(arrays)} of {len(batch_norm.MUTANTS)}")
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((16, 3), 3, 3)]
    line("named in float32, at (16, 3)", f"{at(arrays)} of {len(batch_norm.MUTANTS)}")


def at(arrays: list[Any]) -> int:
    """How many are named at these sizes and in this precision."""
    count = 0
    for m in batch_norm.MUTANTS:
        extras = {"extras": m.extras} if m.extras is not None else {}
        count += m.says(str(diagnose(batch_norm.reference, m.backward, *arrays, **extras)).splitlines()[0])
    return count


# -- the tolerance ---------------------------------------------------------------------------------


def tolerance(seeds: int) -> None:
    print("\nThe tolerance: five right BatchNorms in 18 regimes")
    for dtype in (np.float64, np.float32):
        runs, alarms, worst = 0, 0, 0.0
        for name, draw in progress(regimes.REGIMES.items(), np.dtype(dtype).name):
            for seed in range(seeds):
                dy, *arrays = draw(np.random.default_rng([seed, len(name)]), dtype)
                for backward in batch_norm.STABLE.values():
                    report = check_backward(batch_norm.reference, backward, *arrays, dy=dy)
                    runs += 1
                    alarms += not report.ok
                    worst = max(worst, *(e.ratio for e in report.entries))
        line(f"{np.dtype(dtype).name}: false alarms; worst ratio (limit 64)", f"{alarms} of {runs}; {worst:.1f}")
    for rows in (100, 10_000, 100_000):
        rng = np.random.default_rng(0)
        arrays = [1e6 + rng.normal(size=(rows, 3)), rng.normal(size=3), rng.normal(size=3)]
        report = check_backward(batch_norm.reference, batch_norm.classic, *arrays, seed=1)
        line(f"a two-pass kernel at offset 1e6, {rows} rows: ratio", f"{max(e.ratio for e in report.entries):.1f}")
    unstable = detected = missed = wrong = 0
    for name, draw in regimes.REGIMES.items():
        dy, *arrays = draw(np.random.default_rng(0), np.float64)
        report = check_backward(batch_norm.reference, batch_norm.UNSTABLE, *arrays, dy=dy)
        unstable += report.verdict == "unstable"
        wrong += report.verdict in ("wrong", "structure")
    line("one-pass variance: regimes called unstable; called wrong", f"{unstable}; {wrong}")
    for name, draw in progress(regimes.REGIMES.items(), "faults"):
        dy, *arrays = draw(np.random.default_rng(0), np.float64)
        for m in batch_norm.MUTANTS:
            if m.extras is None and m.number != 30 and material(m, arrays, dy):
                caught = not check_backward(batch_norm.reference, m.backward, *arrays, dy=dy).ok
                detected += caught
                missed += not caught
    line("material faults (1e-6 of the gradient) found in float64", f"{detected} of {detected + missed}")


def material(mutant: Any, arrays: list[Any], dy: Any) -> bool:
    """Whether the wrong formula gives something else here at all, by a millionth of the gradient's size."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = mutant.backward(dy.copy(), *(a.copy() for a in arrays))
        right = batch_norm.staged(dy, *arrays)
    for a, b in zip(found, right, strict=True):
        if np.shape(a) != b.shape or np.abs(a - b).max(initial=0) > 1e-6 * np.abs(b).max(initial=0) > 0:
            return True
    return mutant.number == 27


# -- the proof -------------------------------------------------------------------------------------


def proof() -> None:
    print("\nThe proof")
    for name, backward in batch_norm.STABLE.items():
        result = prove(batch_norm.reference, backward, **SHAPES)
        line(f"{name}: verdict, chance of a false one", f"{result.verdict}, {result.bound:.1e}")
    rejected = exact = refused = 0
    for m in progress(batch_norm.MUTANTS, "proofs"):
        if m.extras is not None:
            continue
        try:
            result = prove(batch_norm.reference, m.backward, **SHAPES)
        except NotAlgebraic:
            refused += 1
            continue
        rejected += result.verdict == "different"
        exact += {leaf for leaf, verdict in result.leaves.items() if verdict == "different"} == set(m.leaves)
    line("wrong BatchNorms rejected; in exactly the wrong arguments", f"{rejected}; {exact}")
    line("not algebraic (float32 inside)", f"{refused}")
    line("time for a trial at N=8, C=3", f"{timed(lambda: one_trial(40)) / 40 * 1e3:.1f} ms")


# -- power -----------------------------------------------------------------------------------------


def worth() -> None:
    print("\nPower: wrong BatchNorms, made from the graph, that a check catches")
    reference = batch_norm.reference
    _, *arrays = regimes.REGIMES["generic"](np.random.default_rng(0), np.float64)

    def differences(backward: Any) -> None:
        gradient_checks.sum_against_differences(backward.forward, backward, arrays, 0)

    found = power(differences, reference, **SHAPES)
    line("finite differences of y.sum()", f"{found.caught} of {found.total}")
    try:
        from hypothesis import Phase, settings
    except ImportError:
        line("backward_test", "not installed")
        return
    quick = settings(phases=[Phase.generate], database=None, deadline=None, derandomize=True)

    def test(backward: Any) -> None:
        quick(
            backward_test(reference, doctor=False, **SHAPES)(lambda dy, x, gamma, beta: backward(dy, x, gamma, beta))
        )()

    found = power(test, reference, **SHAPES)
    line("backward_test; false alarm", f"{found.caught} of {found.total}; {found.false_alarm}")


def one_trial(trials: int) -> None:
    dims = {"N": [8], "C": [3]}
    assert prove(batch_norm.reference, batch_norm.classic, dims=dims, trials=trials, **SHAPES)


def timed(run: Callable[[], None]) -> float:
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return float(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=90, help="draws of every regime for every right kernel")
    arguments = parser.parse_args()
    np.seterr(all="ignore")
    doctor()
    tolerance(arguments.seeds)
    proof()
    worth()


if __name__ == "__main__":
    main()
