"""``draw`` and ``Picture``: words, files, notebooks, immutability."""

import dataclasses
import os
import re
import subprocess
import sys
import threading

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
        ("mode", "back", "'backward', 'lanes'"),
        ("rankdir", "RL", "'auto', 'LR', 'TB'"),
        ("values", "all", "'auto', 'stats', 'shape', 'full', 'none'"),
        ("theme", "blue", "'light', 'dark', 'auto'"),
        ("engine", "neato", "'auto', 'dot', 'pygraphviz', 'builtin'"),
        ("max_nodes", 0, "from 1 on, or None"),
        ("collapse", -1, "depth"),
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


@pytest.fixture
def no_package(monkeypatch):
    """An installation without the Python package graphviz."""
    monkeypatch.setitem(sys.modules, "graphviz", None)
    for module in ("dot", "statements"):
        monkeypatch.delitem(sys.modules, f"tinygraph.picture.{module}", raising=False)
        monkeypatch.delattr(tg.picture, module, raising=False)


def test_without_the_package_graphviz_the_text_says_what_to_install(bn, no_package):
    picture = tg.draw(bn.y)
    with pytest.raises(tg.errors.MissingExtra, match="pip install graphviz"):
        picture.dot
    assert picture.svg().startswith("<svg")
    assert picture.engine == "builtin"


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
    assert repr(picture) == "<Picture BatchNorm: 9 ops, 14 tensors, 5 scopes, mode=both, engine=builtin>"
    single = tg.draw(tg.tensor(1.0, name="x"))
    assert repr(single) == "<Picture x: 0 ops, 1 tensor, 0 scopes, mode=both, engine=builtin>"


# -- files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".dot", ".gv", ".svg", ".png", ".pdf", ".html", ".json", ".PNG"])
def test_save(bn, tmp_path, monkeypatch, suffix, dot):
    monkeypatch.chdir(tmp_path)
    path = tg.draw(bn.y).save(f"bn{suffix}")
    assert path == tmp_path / f"bn{suffix}"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    start = {
        ".dot": b"digraph",
        ".gv": b"digraph",
        ".svg": b"<svg",
        ".pdf": b"%PDF",
        ".html": b"<!DOCTYPE",
        ".json": b"{",
    }.get(suffix, b"\x89PNG")
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


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_save_writes_through_no_link(bn, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    trap = tmp_path / f".tinygraph-{os.getpid()}-{threading.get_ident()}.tmp"
    trap.symlink_to(precious)
    tg.draw(bn.y).save(tmp_path / "bn.json")
    assert precious.read_bytes() == b"mine"
    assert not trap.is_symlink()


def test_save_creates_no_folder(bn, tmp_path):
    with pytest.raises(FileNotFoundError, match="create it first"):
        tg.draw(bn.y).save(tmp_path / "new" / "bn.dot")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bn", "bn.jpg", "bn.svgz"])
def test_save_knows_its_suffixes(bn, tmp_path, name):
    with pytest.raises(ValueError, match=r"'\.dot', '\.gv', '\.svg', '\.png', '\.pdf', '\.html', '\.json'"):
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


def test_notebooks_never_see_an_exception(bn, no_engine, monkeypatch):
    assert tg.draw(bn.y)._repr_mimebundle_()["image/svg+xml"].startswith("<svg")
    monkeypatch.setenv("TINYGRAPH_NOTEBOOK", "png")
    bundle = tg.draw(bn.y)._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert "pip install" in bundle["text/plain"]


def test_pictures_in_one_notebook_share_no_id(bn):
    looks = [{}, {"mode": "forward"}, {"mode": "lanes"}, {"theme": "dark"}, {"engine": "builtin"}]
    ids = [re.findall(r'\bid="([^"]*)"', tg.draw(bn.y, **look)._repr_mimebundle_()["image/svg+xml"]) for look in looks]
    every = [id for found in ids for id in found]
    assert len(every) == len(set(every)) > 100


def test_a_cell_can_hold_the_interactive_page(bn):
    frame = tg.draw(bn.y).interactive(height=300)
    assert frame._repr_html_().startswith('<iframe sandbox="allow-scripts" srcdoc="&lt;!DOCTYPE html&gt;')
    assert "height:300px" in frame._repr_html_()
    assert repr(frame).startswith("<Picture")
    with pytest.raises(ValueError, match="height is a whole number"):
        tg.draw(bn.y).interactive(height=0)


def test_ipython_shows_the_picture_and_not_its_html(bn):
    formatters = pytest.importorskip("IPython.core.formatters")
    shown, _ = formatters.DisplayFormatter().format(tg.draw(bn.y))
    assert shown["image/svg+xml"].startswith("<svg")
    assert "text/html" not in shown
    shown, _ = formatters.DisplayFormatter().format(tg.draw(bn.y).interactive())
    assert shown["text/html"].startswith("<iframe")


def test_show_opens_a_page_that_stays(bn, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("webbrowser.open", opened.append)
    page = tg.draw(bn.y).show()
    assert opened == [page.as_uri()]
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert tg.draw(bn.y).show() != page  # a name that can be foretold can be taken, on a machine of many users
    if os.name == "posix":
        assert page.stat().st_mode & 0o077 == 0


# -- where engines fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(3)", "builtin (dot exited with 3: it said nothing)"),
        ("time.sleep(60)", "builtin (the engine took longer than 0.3 s)"),
        ("print('garbage')", "builtin (dot wrote no valid SVG)"),
        ("print('<svg><g></svg>')", "builtin (the engine wrote no valid SVG"),
    ],
)
def test_svg_and_html_are_drawn_all_the_same(bn, fake_dot, body, said):
    fake_dot(body)
    picture = tg.draw(bn.y, timeout=0.3)
    assert "<!-- layout: tinygraph builtin -->" in picture.svg().replace("<!--layout", "<!-- layout")
    assert picture.engine.startswith(said)
    assert "<!DOCTYPE html>" in picture.html()


def test_png_says_what_failed(bn, fake_dot):
    fake_dot("time.sleep(60)")
    with pytest.raises(tg.errors.RenderTimeout, match=r"longer than 0\.3 s"):
        tg.draw(bn.y, timeout=0.3).png()
    with pytest.raises(tg.errors.GraphvizNotFound, match=r"save 'picture\.svg' or 'picture\.html'"):
        tg.draw(bn.y, engine="builtin").png()


def test_the_counts_say_what_is_folded(bn):
    picture = tg.draw(bn.y, collapse=["variance"], title="BatchNorm")
    assert picture.folded == {"folds": 1, "nodes": 4}
    assert picture.view.title == "BatchNorm · 1 scope folded (4 nodes)"
    assert picture.counts == {"ops": 7, "tensors": 11, "scopes": 4}
    assert [step["dir"] for step in picture.steps].count("seed") == 1
