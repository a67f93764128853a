"""The main example on a machine without Graphviz."""

import runpy
import sys
from pathlib import Path

from tinygraph.picture import engine

SCRIPT = Path(__file__).parents[2] / "examples" / "batchnorm.py"


def test_without_an_engine_all_but_the_png_is_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(engine.VARIABLE, raising=False)
    monkeypatch.setattr(engine, "_FOLDERS", ())
    monkeypatch.setattr(engine, "_pygraphviz", lambda: None)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--out", str(tmp_path)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == ["batchnorm-lanes.svg", "batchnorm.html", "batchnorm.svg"]
    assert "no picture: tinygraph cannot write 'batchnorm.png'" in capsys.readouterr().out
