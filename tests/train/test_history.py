"""A history comes back from JSON, CSV and a checkpoint as it was, fits on a line, and can be looked at."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples

from tinygraph import checkpoint
from tinygraph.errors import ArgumentError, MissingExtra
from tinygraph.train import History

NAMES = st.text(st.characters(categories=["L", "P", "Zs"]), min_size=1, max_size=5)


@st.composite
def histories(draw):
    n = draw(st.integers(1, 8))
    ends = sorted(draw(st.sets(st.integers(1, n), max_size=n)))

    def curve(length):
        return draw(st.lists(st.floats(), min_size=length, max_size=length))

    return History(
        loss=curve(n),
        learning_rate=curve(n),
        ends=ends,
        train={name: curve(len(ends)) for name in draw(st.sets(NAMES, max_size=2))},
        validation={name: curve(len(ends)) for name in draw(st.sets(NAMES, max_size=2))},
        best_epoch=draw(st.none() | st.integers(1, len(ends))) if ends else None,
        stopped=draw(st.sampled_from(["", "finished", "early", "interrupted", "diverged"])),
    )


def spelt(history):
    return str(vars(history))  # nan is nan


@examples(40)
@given(histories())
def test_it_comes_back(history):
    assert spelt(History.from_json(history.to_json())) == spelt(history)
    assert spelt(History.from_csv(history.to_csv())) == spelt(history)
    assert spelt(History.from_state_dict(history.state_dict())) == spelt(history)
    json.loads(history.to_json(), parse_constant=pytest.fail)
    assert "\n" not in repr(history)


def small():
    return History(
        loss=[2.0, 1.0, 0.5],
        learning_rate=[0.1, 0.1, 0.05],
        ends=[2],
        train={"loss": [0.9], "accuracy": [0.75]},
        validation={"loss": [1.25], "accuracy": [0.5]},
        best_epoch=1,
        stopped="interrupted",
    )


def test_files(tmp_path):
    history = small()
    text = history.to_json(tmp_path / "h.json")
    assert (tmp_path / "h.json").read_text() == text
    assert History.from_json(tmp_path / "h.json") == History.from_json(str(tmp_path / "h.json")) == history
    assert History.from_json(f"\n {text}") == history
    text = history.to_csv(tmp_path / "h.csv")
    assert text == (
        "iteration,epoch,loss,learning_rate,marks,train loss,train accuracy,validation loss,validation accuracy\n"
        "1,1,2.0,0.1,,,,,\n"
        "2,1,1.0,0.1,end best,0.9,0.75,1.25,0.5\n"
        "3,2,0.5,0.05,interrupted,,,,\n"
    )
    assert History.from_csv(tmp_path / "h.csv") == history
    checkpoint.save(tmp_path / "h", history=history)
    assert History.from_state_dict(checkpoint.load(tmp_path / "h")["history"]) == history
    assert History.from_json(History().to_json()) == History.from_csv(History().to_csv()) == History()


def test_a_line():
    assert repr(small()) == (
        "History(1 epoch, 3 iterations, loss 2 → 0.5, train accuracy 0.75, validation accuracy 0.5, best epoch 1, interrupted)"
    )
    assert repr(History()) == "History(0 epochs, 0 iterations)"


@pytest.mark.parametrize("text", ["{}x", '{"speed": 1}', '{"train": 3, "loss": "x", "y": 1}'])
def test_foreign_json(text):
    with pytest.raises(ArgumentError, match=r"from_json: this is no history .*; give what to_json wrote"):
        History.from_json(text)


@pytest.mark.parametrize("text", ["iteration,epoch\n1,2\n", "iteration,a,b,c,d,e\n", "iteration,a,b,c,d\n1,1,x,1,\n"])
def test_foreign_csv(text):
    with pytest.raises(ArgumentError, match=r"from_csv: this is no history .*; give what to_csv wrote"):
        History.from_csv(text)


def test_a_figure(tmp_path):
    pytest.importorskip("matplotlib")
    before = "matplotlib.pyplot" in sys.modules
    figure = small().plot(tmp_path / "h.png")
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    assert ("matplotlib.pyplot" in sys.modules) == before
    loss, accuracy = figure.axes
    assert [panel.get_title() for panel in figure.axes] == ["loss", "accuracy"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in loss.lines}
    assert lines["iteration"] == [[1, 2.0], [2, 1.0], [3, 0.5]]
    assert lines["validation"] == [[2, 1.25]]
    lines = {line.get_label(): line.get_xydata().tolist() for line in accuracy.lines}
    assert lines["train"] == [[1, 0.75]]
    assert lines["best"][0][0] == 1


@pytest.mark.parametrize("history", [History(), History(loss=[np.nan, 1.0], learning_rate=[1.0, 1.0])])
def test_a_figure_of_little(history, tmp_path):
    pytest.importorskip("matplotlib")
    history.plot(tmp_path / "h.svg")
    assert len(history.plot().axes) == 1


def test_a_diverged_loss_is_drawn_by_magnitudes():
    pytest.importorskip("matplotlib")
    for loss, scale in (([2.0, 1.0, np.nan], "linear"), ([1.0, 1e9, np.inf], "log"), ([-1.0, 1e9], "linear")):
        assert History(loss=loss, learning_rate=[1.0] * len(loss)).plot().axes[0].get_yscale() == scale


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r'pip install "tinygraph\[examples\]"'):
        small().plot()
