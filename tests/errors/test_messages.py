"""What tinygraph says to a wrong call: each line of ``calls.txt``, and its text in ``messages.txt``.

Renew the texts after a wanted change, and read each as a newcomer::

    TINYGRAPH_RENEW=1 python -m pytest tests/errors
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest

import tinygraph as tg

HERE = Path(__file__).parent
CALLS = [line for line in (HERE / "calls.txt").read_text("utf-8").splitlines() if line and not line.startswith("#")]
MESSAGES = HERE / "messages.txt"
BUILTINS = (ValueError, TypeError, IndexError, AttributeError, RuntimeError)


def product(x, backward):
    op = tg.fused.replaces(lambda a, b: a * b)(lambda a, b: (a * b, None))
    op.backward(lambda g, saved, a, b: backward(g, a))
    return op(x, 2.0)


def names():
    x = tg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True, name="x")
    w = tg.Parameter([1.0, 2.0], name="w")
    stale = tg.sum(w * 2)
    w.assign([3.0, 4.0])
    return {
        "np": np,
        "tg": tg,
        "x": x,
        "y": x * 2,
        "loss": tg.sum(x * x),
        "w": w,
        "stale": stale,
        "b": np.arange(4.0),
        "s": tg.tensor(2.0, name="s"),
        "n": tg.tensor([1, 2], name="n"),
        "k": tg.tensor([1.0, 2.0], name="k"),
        "raw": np.zeros((2, 3)),
        "empty": tg.tensor(np.zeros((0, 3)), name="empty"),
        "one_cotangent_too_few": tg.sum(product(x, lambda g, a: (g,))),
        "bare_cotangent": tg.sum(product(x, lambda g, a: g)),
        "flat_cotangent": tg.sum(product(x, lambda g, a: (g.ravel(), None))),
    }


def said(call):
    """``ShapeError (ValueError): the text`` of what a call raises."""
    with pytest.raises(Exception) as caught:
        exec(call, names())
    error = caught.value
    builtin = next(b for b in BUILTINS if isinstance(error, b))
    kind = type(error).__name__
    return kind if type(error) is builtin else f"{kind} ({builtin.__name__})", str(error)


def recorded():
    blocks = MESSAGES.read_text("utf-8").split("\n\n") if MESSAGES.exists() else []
    return {call: text for call, _, text in (block.strip("\n").partition("\n") for block in blocks)}


def shown(call):
    kind, text = said(call)
    return f"    {kind}: {text}"


def test_renew():
    if os.environ.get("TINYGRAPH_RENEW"):
        text = "\n\n".join(f"{call}\n{shown(call)}" for call in CALLS)
        MESSAGES.write_text(text + "\n", encoding="utf-8", newline="\n")
    assert list(recorded()) == CALLS


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("call", CALLS)
def test_text(call):
    assert shown(call) == recorded()[call]


@pytest.mark.parametrize("call", CALLS)
def test_form(call):
    """``op(float64[2,3] x, float32[4]): what is wrong; how to mend it``, in a class of ours that is also NumPy's."""
    with pytest.raises(tg.TinygraphError) as caught:
        exec(call, names())
    assert isinstance(caught.value, BUILTINS)
    text = str(caught.value)
    if isinstance(caught.value, tg.errors.DialectError):
        assert re.fullmatch(r"Tensor has no attribute '\w+': (write|see) .+", text)
        return
    head, what, mend = re.fullmatch(r"(.+?): (.+); (.+)", text).groups()
    assert re.fullmatch(r"[\w.]+( of <lambda>)?( \w+ )?(\(.*\))?|<lambda>|backward of <lambda>|set item \(.*\)", head)
    assert not what[0].isupper() or what.startswith(("NumPy", "Integers", "True"))
    assert not mend[0].isupper()
    assert len(text) < 260


def test_there_are_many():
    assert len(CALLS) == len(set(CALLS)) >= 200
