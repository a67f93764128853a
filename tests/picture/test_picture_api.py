"""``draw`` and ``Picture``: words, files, notebooks, immutability."""

import dataclasses
import os
import re
import subprocess
import sys

import graphviz
import numpy as np
import pytest

import tinygraph as tg
from tinygraph.errors import ArgumentError, TinygraphError

# -- what draw takes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "value", "listed"),
    [
        ("mode", "bth", "'both', 'forward'"),
        ("mode", "lanes", "not there yet"),
        ("mode", "backward", "'both', 'forward'"),
        ("rankdir", "RL", "'auto', 'LR', 'TB'"),
        ("values", "all", "'auto', 'stats', 'shape', 'full', 'none'"),
        ("theme", "blue", "'light', 'dark', 'auto'"),
        ("engine", "neato", "'auto', 'dot', 'pygraphviz'"),
        ("precision", -1, "from 0 to 15"),
        ("precision", "2", "from 0 to 15"),
        ("timeout", 0, "above 0"),
        ("timeout", None, "above 0"),
        ("names", ["x"], "locals"),
        ("mode", None, "'both', 'forward'"),
    ],
)
def test_unknown_words(bn, word, value, listed):
    with pytest.raises(ValueError, match=listed) as caught:
        tg.draw(bn.y, **{word: value})
    assert isinstance(caught.value, ArgumentError)
    assert str(caught.value).startswith(f"draw({word}=")


@pytest.mark.parametrize("outputs", [None, 1.0, [], [1.0], np.ones(3), "y"])
def test_draw_takes_tensors_and_graphs_only(outputs):
    with pytest.raises(TypeError, match="give one of them"):
        tg.draw(outputs)


def test_a_tensor_a_list_and_a_graph_are_drawn_alike(bn):
    graph = tg.Graph([bn.y])
    assert tg.draw(bn.y).dot == tg.draw([bn.y]).dot == tg.draw(graph).dot == graph.draw().dot


def test_options_show(bn):
    assert "BatchNorm" in tg.draw(bn.y, title="BatchNorm").dot
    assert "forward value" not in tg.draw(bn.y, legend=False).dot
    assert "label=<" not in tg.draw(bn.y, title="", legend=False).dot.split("node [")[0]
    assert "rankdir=TB" in tg.draw(bn.y, rankdir="TB").dot
    assert "#12161C" in tg.draw(bn.y, theme="dark").dot
    assert tg.draw(bn.y, theme="auto").dot == tg.draw(bn.y).dot


def test_drawing_loads_graphviz_only_for_its_text():
    code = (
        "import sys, tinygraph as tg; p = tg.draw(tg.tensor(1.0)); assert 'graphviz' not in sys.modules; "
        "p.dot; assert 'graphviz' in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


def test_without_the_package_graphviz_the_text_says_what_to_install(bn, monkeypatch):
    picture = tg.draw(bn.y)
    monkeypatch.setitem(sys.modules, "graphviz", None)
    monkeypatch.delitem(sys.modules, "tinygraph.picture.dot", raising=False)
    monkeypatch.delattr(tg.picture, "dot", raising=False)
    with pytest.raises(tg.errors.MissingExtra, match="pip install graphviz"):
        picture.dot


# -- what a picture is --------------------------------------------------------------------------------


def test_a_picture_is_immutable(bn):
    picture = tg.draw(bn.y)
    before = picture.dot
    with pytest.raises(dataclasses.FrozenInstanceError):
        picture.mode = "forward"
    picture.digraph.node("mine")
    bn.gamma.assign([7.0, 7.0, 7.0])
    assert picture.dot == before
    assert picture.digraph.source == before == graphviz.Source(before).source


def test_repr(bn, no_engine):
    picture = tg.draw(bn.y, title="BatchNorm")
    assert repr(picture) == "<Picture BatchNorm: 9 ops, 14 tensors, 5 scopes, mode=both, engine=none>"
    single = tg.draw(tg.tensor(1.0, name="x"))
    assert repr(single) == "<Picture x: 0 ops, 1 tensor, 0 scopes, mode=both, engine=none>"


# -- files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".dot", ".gv", ".svg", ".png", ".pdf", ".PNG"])
def test_save(bn, tmp_path, monkeypatch, suffix, dot):
    monkeypatch.chdir(tmp_path)
    path = tg.draw(bn.y).save(f"bn{suffix}")
    assert path == tmp_path / f"bn{suffix}"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    start = {".dot": b"digraph", ".gv": b"digraph", ".svg": b"<svg", ".pdf": b"%PDF"}.get(suffix, b"\x89PNG")
    assert path.read_bytes().startswith(start)


def test_save_replaces_a_file_only_when_the_new_one_is_whole(bn, tmp_path, no_engine):
    target = tmp_path / "bn.png"
    target.write_bytes(b"old")
    with pytest.raises(TinygraphError):
        tg.draw(bn.y).save(target)
    assert target.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["bn.png"]


def test_a_save_that_cannot_finish_leaves_nothing(bn, tmp_path):
    target = tmp_path / "bn.dot"
    target.mkdir()
    with pytest.raises(OSError, match=r"bn\.dot"):
        tg.draw(bn.y).save(target)
    assert [file.name for file in tmp_path.iterdir()] == ["bn.dot"]


def test_save_creates_no_folder(bn, tmp_path):
    with pytest.raises(FileNotFoundError, match="create it first"):
        tg.draw(bn.y).save(tmp_path / "new" / "bn.dot")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bn", "bn.jpg", "bn.html"])
def test_save_knows_its_suffixes(bn, tmp_path, name):
    with pytest.raises(ValueError, match=r"'\.dot', '\.gv', '\.svg', '\.png', '\.pdf'"):
        tg.draw(bn.y).save(tmp_path / name)


@pytest.mark.parametrize("dpi", [0, -1, "144", 10**6])
def test_dpi(bn, dpi):
    with pytest.raises(ValueError, match="dpi"):
        tg.draw(bn.y).png(dpi=dpi)


# -- notebooks -------------------------------------------------------------------------------------------


def test_notebooks_show_svg(bn, dot):
    bundle = tg.draw(bn.y)._repr_mimebundle_()
    assert list(bundle) == ["text/plain", "image/svg+xml"]
    assert bundle["image/svg+xml"].startswith("<svg")
    ids = re.findall(' id="([^"]*)"', bundle["image/svg+xml"])
    assert all(re.match(r"tg-[0-9a-f]{8}-[a-z]", name) for name in ids)  # several pictures stand in one page
    assert any(name.endswith("-v14") for name in ids)


def test_notebooks_may_ask_for_some_kinds(bn, dot):
    picture = tg.draw(bn.y)
    assert list(picture._repr_mimebundle_(include={"text/plain"})) == ["text/plain"]
    assert list(picture._repr_mimebundle_(exclude={"text/plain"})) == ["image/svg+xml"]


def test_notebooks_that_strip_svg(bn, dot, monkeypatch):
    monkeypatch.setenv("TINYGRAPH_NOTEBOOK", "png")
    assert tg.draw(bn.y)._repr_mimebundle_()["image/png"].startswith("iVBORw0KGgo")


def test_notebooks_never_see_an_exception(bn, no_engine):
    bundle = tg.draw(bn.y)._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert "pip install" in bundle["text/plain"]


def test_notebooks_never_see_an_exception_of_a_broken_engine(bn, fake_dot):
    fake_dot("sys.exit(3)")
    assert "exited with 3" in tg.draw(bn.y)._repr_mimebundle_()["text/plain"]
