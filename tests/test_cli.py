"""``python -m tinygraph``: what it draws, what it says when it cannot, and what it leaves behind."""

import json
import os
import re
import subprocess
import sys
import warnings
import webbrowser
from pathlib import Path

import pytest

import tinygraph as tg
from tinygraph.cli import demos, main, script
from tinygraph.picture import engine

LAYER = """
import tinygraph as tg
from helper import double
x = tg.tensor([[1.0, -2.0, 0.5]], requires_grad=True)
weight = tg.Parameter([[1.0], [2.0], [3.0]])
with tg.scope("layer"):
    hidden = tg.tanh(double(x))
    y = hidden @ weight
tg.sum(y).backward()
pair = [hidden, y]
graph = tg.Graph([y])
picture = tg.draw(y, title="made before")
number = 3
_private = tg.exp(x)

def build(scale=2.0):
    import late
    return tg.sum(x * scale * late.ONE)

def needs(a, b, c=1, *, d):
    return a

def breaks():
    return double(None) + 1

def nothing():
    pass

if __name__ == "__main__":
    raise SystemExit("this is no program")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with ``layer.py`` and two modules that it imports, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layer.py").write_text(LAYER, encoding="utf-8")
    (tmp_path / "helper.py").write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    (tmp_path / "late.py").write_text("ONE = 1.0\n", encoding="utf-8")
    yield tmp_path
    for name in ("helper", "late", "layer"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(folder, capsys):
    """Run a command in this process: (exit status, what it said, what it complained)."""

    def call(*arguments):
        try:
            status = main(arguments)
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def complaint(run):
    """The one line of a command that fails with exit status 2 and writes nothing."""

    def call(*arguments):
        before = sorted(Path().rglob("*"))
        status, said, complained = run(*arguments)
        assert (status, said) == (2, "")
        assert sorted(Path().rglob("*")) == before
        assert complained.endswith("\n")
        return complained[:-1]

    return call


def write(name, text):
    Path(name).write_text(text, encoding="utf-8")


# -- draw ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["y", "pair", "graph", "build", "_private", "x"])
def test_everything_that_can_be_drawn(run, folder, name):
    status, said, complained = run("draw", f"layer.py:{name}", "-o", "out.dot")
    assert (status, said, complained) == (0, f"{folder / 'out.dot'}\n", "")
    assert (folder / "out.dot").read_text(encoding="utf-8").startswith("digraph")


def test_a_picture_is_written_as_it_is(run, folder):
    assert run("draw", "layer.py:picture", "-o", "out.dot")[0] == 0
    assert "made before" in (folder / "out.dot").read_text(encoding="utf-8")


def test_globals_name_the_wires(run, folder):
    run("draw", "layer.py:y", "-o", "out.dot")
    text = (folder / "out.dot").read_text(encoding="utf-8")
    assert [name for name in ("x", "weight", "hidden", "y") if f'tooltip="{name}: ' not in text] == []


def test_the_only_thing_to_draw_needs_no_name(run, folder):
    write("one.py", "import tinygraph as tg\n_x = tg.tensor([1.0, 2.0], requires_grad=True)\ny = tg.exp(_x)\n")
    assert run("draw", "one.py", "-o", "out.dot")[0] == 0
    assert "exp" in (folder / "out.dot").read_text(encoding="utf-8")


def test_several_files(run, folder):
    status, said, _ = run("draw", "layer.py:y", "-o", "a.svg", "-o", "b.json", "-o", "c.html")
    assert (status, said.split()) == (0, [str(folder / name) for name in ("a.svg", "b.json", "c.html")])
    assert (folder / "a.svg").read_text(encoding="utf-8").startswith("<svg")
    assert json.loads((folder / "b.json").read_text(encoding="utf-8"))
    assert "<svg" in (folder / "c.html").read_text(encoding="utf-8")


def test_options_reach_the_picture(folder, run, monkeypatch):
    seen = {}

    def draw(thing, **options):
        seen.update(options)
        return tg.draw(thing)

    monkeypatch.setattr("tinygraph.cli.draw", draw)
    assert run("draw", "layer.py:y", "-o", "out.dot")[0] == 0
    assert list(seen) == ["names"]
    options = (
        "--mode lanes --theme dark --rankdir TB --values shape --precision 4 --title T --engine builtin --timeout 2.5"
    )
    assert run("draw", "layer.py:y", "-o", "out.dot", *options.split(), "--collapse", "a", "--collapse", "b/*")[0] == 0
    del seen["names"]
    assert seen == {
        "mode": "lanes", "theme": "dark", "rankdir": "TB", "values": "shape", "precision": 4, "title": "T",
        "engine": "builtin", "timeout": 2.5, "collapse": ["a", "b/*"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "meant"), [("all", True), ("none", False), ("2", 2), ("layer*", ["layer*"]), ("layer", ["layer"])]
)
def test_collapse(run, monkeypatch, given, meant):
    seen = {}
    monkeypatch.setattr("tinygraph.cli.draw", lambda thing, **options: seen.update(options) or tg.draw(thing))
    assert run("draw", "layer.py:y", "-o", "out.dot", "--collapse", given, "--max-nodes", "none")[0] == 0
    assert (seen["collapse"], seen["max_nodes"]) == (meant, None)


def test_dots_per_inch(run, folder, monkeypatch):
    if engine.available() is None:
        pytest.skip("needs an engine")
    for dpi in ("48", "96"):
        assert run("draw", "layer.py:y", "-o", f"{dpi}.png", "--dpi", dpi)[0] == 0
    small, large = (int.from_bytes((folder / f"{dpi}.png").read_bytes()[16:20], "big") for dpi in (48, 96))
    assert large == pytest.approx(2 * small, abs=4)


def test_the_file_runs_as_a_module_of_its_own_and_leaves_nothing(run, folder):
    write("nosy.py", "from __future__ import annotations\nimport sys\nARGV, NAME, PATH = list(sys.argv), __name__, sys.path[0]\nprint(ARGV, PATH)\n"
                     "import helper, dataclasses\n@dataclasses.dataclass\nclass A:\n    b: int\n"
                     "import tinygraph as tg\ny = tg.exp(tg.tensor(1.0))\n")  # fmt: skip
    before = list(sys.argv), list(sys.path), sys.dont_write_bytecode
    status, said, _ = run("draw", "nosy.py:y", "-o", "out.dot")
    assert (status, said.splitlines()[0]) == (0, f"{[str(folder / 'nosy.py')]} {folder}")
    assert (sys.argv, sys.path, sys.dont_write_bytecode) == before
    assert script.MODULE not in sys.modules
    assert sorted(path.name for path in folder.iterdir()) == ["helper.py", "late.py", "layer.py", "nosy.py", "out.dot"]


def test_open(run, folder, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    assert run("draw", "layer.py:y", "-o", "a.dot", "-o", "b.svg", "--open")[0] == 0
    assert opened == [(folder / "b.svg").as_uri()]
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder))
    status, said, _ = run("draw", "layer.py:y", "--open")
    assert status == 0
    assert opened[1:] == [Path(said.strip()).as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    status, said, complained = run("draw", "layer.py:y", "-o", "b.svg", "--open")
    assert (status, said) == (2, f"{folder / 'b.svg'}\n")
    assert complained == f"tinygraph draw: --open: no browser starts here; open {folder / 'b.svg'} yourself\n"


def test_warnings_of_tinygraph_are_one_line_and_those_of_the_file_stay(run, folder, monkeypatch):
    write("warns.py", "import warnings\nwarnings.warn('mine')\nfrom layer import y\n")
    monkeypatch.setenv(engine.VARIABLE, "/no/such/dot")
    shown = warnings.showwarning
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        status, said, complained = run("draw", "warns.py:y", "-o", "a.svg")
    assert [str(warning.message) for warning in caught] == ["mine"]
    assert (status, said) == (0, f"{folder / 'a.svg'}\n")
    assert re.fullmatch(
        r"tinygraph: warning: \$TINYGRAPH_DOT is '/no/such/dot': .*; looking elsewhere for dot\n", complained
    )
    assert warnings.showwarning is shown


# -- what a newcomer gets wrong ---------------------------------------------------------------------------

OUT = ("-o", "out.svg")
KINDS = "a Tensor, a list of Tensors, a Graph, a Picture, or a function that returns one of them"
HELP = "see python -m tinygraph draw --help"
OFFER = "layer.py has x, weight, hidden, y, pair, graph, picture"
SUFFIXES = ".dot .gv .svg .png .pdf .html .json"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["draw", "layer.py:y"], "nowhere to write to; add -o picture.svg, or --open to look at it"),
        (["draw", "layr.py:y", *OUT], "no file 'layr.py'; did you mean layer.py?"),
        (["draw", "layer:y", *OUT], "no file 'layer'; did you mean layer.py?"),
        (["draw", "zzz", *OUT], "no file 'zzz'; {here} holds helper.py, late.py, layer.py; give FILE.py:NAME"),
        (["draw", "no/layer.py:y", *OUT], "no file 'no/layer.py'; there is no folder {here}/no; give FILE.py:NAME"),
        (["draw", ".:y", *OUT], ". is a folder; name a file in it, e.g. bn.py:y"),
        (["draw", "layer.py", *OUT],
         "layer.py has 7 things to draw: x, weight, hidden, y, pair, graph, picture; name one: layer.py:picture"),
        (["draw", "layer.py:hiden", *OUT], "layer.py has no 'hiden'; did you mean hidden?"),
        (["draw", "layer.py:qqq", *OUT],
         f"layer.py has no 'qqq'; {OFFER}"),
        (["draw", "layer.py", "y", *OUT], "there is one file and one name; join them with a colon: layer.py:y"),
        (["draw", "layer.py:number", *OUT], f"number is of type int, which cannot be drawn; name {KINDS}; {OFFER}"),
        (["draw", "layer.py:nothing", *OUT], f"nothing() is None, which cannot be drawn; name {KINDS}; {OFFER}"),
        (["draw", "layer.py:needs", *OUT],
         "needs() needs arguments (a, b, d); write a function without any that calls it and returns the result, and name that"),
        (["draw", "layer.py:picture", *OUT, "--max-nodes", "9"],
         "layer.py:picture is a finished Picture, which --max-nodes cannot change; name its Tensor instead"),
        (["draw", "layer.py:y", "-o", "a.jpg"], f"-o a.jpg: there is no format .jpg; choose one of {SUFFIXES}"),
        (["draw", "layer.py:y", "-o", "a"],
         f"-o a: the suffix says the format; choose one of {SUFFIXES}, e.g. a.svg"),
        (["draw", "layer.py:y", "-o", "."], "-o .: that is a folder; add a file name, e.g. picture.svg"),
        (["draw", "layer.py:y", "-o", "no/a.svg"], "-o no/a.svg: there is no folder {here}/no; create it first"),
        (["draw", "layer.py:y", *OUT, "--dpi", "99"],
         "--dpi is for .png, and the other formats have no dots; leave it out, or add -o picture.png"),
        (["draw", "layer.py:y", *OUT, "--precision", "99"],
         "draw(precision=99): decimals are a whole number; give one from 0 to 15"),
        (["draw", "layer.py:y", *OUT, "--mode", "lane"],
         f"argument --mode: invalid choice: 'lane' (choose from both, forward, backward, lanes); {HELP}"),
        (["draw", "layer.py:y", *OUT, "--max-nodes", "many"],
         f"argument --max-nodes: invalid number of nodes value: 'many'; {HELP}"),
        (["draw"], "the following arguments are required: FILE.py:NAME; see python -m tinygraph draw --help"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(complaint, folder, arguments, line):
    said = complaint(*arguments).replace("'both', 'forward', 'backward', 'lanes'", "both, forward, backward, lanes")
    assert said == f"tinygraph draw: {line.replace('{here}', str(folder))}"


def test_the_command_is_missing(complaint):
    assert complaint("layer.py:y", *OUT) == (
        "tinygraph: say what to do with layer.py:y, e.g. python -m tinygraph draw layer.py:y -o picture.svg; "
        "see python -m tinygraph --help"
    )
    assert "choose from" in complaint("drwa", "layer.py:y")


def test_functions_are_offered_where_there_is_no_tensor(complaint):
    write("functions.py", "def main():\n    pass\ndef other(x):\n    pass\ndef build():\n    pass\n")
    assert complaint("draw", "functions.py", *OUT).endswith(
        "functions.py has no Tensor at its top level, but functions: main, build; name one: functions.py:build"
    )


def test_what_stands_below_the_guard_is_not_run(complaint):
    write("guarded.py", "if __name__ == '__main__':\n    y = 1\n")
    assert complaint("draw", "guarded.py", *OUT) == (
        "tinygraph draw: guarded.py has nothing to draw at its top level (what stands below "
        f'if __name__ == "__main__": is not run); add {KINDS}'
    )
    assert complaint("draw", "guarded.py:y", *OUT).endswith(f"guarded.py has no 'y'; define it there: {KINDS}")


def test_a_file_that_ends_the_program(complaint):
    write("ends.py", "import sys\nsys.exit(3)\n")
    assert complaint("draw", "ends.py:y", *OUT).startswith("tinygraph draw: ends.py ended itself with sys.exit(3); put")


def test_an_exception_in_the_file_shows_the_users_frames_only(complaint, folder):
    lines = complaint("draw", "layer.py:breaks", *OUT).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    frames = [line.strip() for line in lines if line.startswith("  File")]
    assert frames == [
        f'File "{folder / "layer.py"}", line {LAYER.splitlines().index("def breaks():") + 2}, in breaks',
        f'File "{folder / "helper.py"}", line 2, in double',
    ]
    assert lines[-1] == "tinygraph draw: helper.py, line 2: TypeError; mend it there, then draw again"


def test_the_users_causes_stay_and_ours_go(complaint, folder):
    write("causes.py", "import tinygraph as tg\ntry:\n    1 / 0\nexcept ZeroDivisionError as e:\n"
                       "    x = tg.tensor([[1.0, 2.0]])\n    x @ x\n")  # fmt: skip
    text = complaint("draw", "causes.py:y", *OUT)
    assert "ZeroDivisionError: division by zero" in text
    assert "matmul: Input operand" not in text  # NumPy's own words, of which ours are the better ones
    assert str(Path(tg.__file__).parent) not in text
    assert text.endswith("tinygraph draw: causes.py, line 6: ShapeError; mend it there, then draw again")


@pytest.mark.parametrize(
    ("content", "last"),
    [
        (b"x = (\n", r"bad\.py, line 1: SyntaxError"),
        (b"import no_such_module\n", r"bad\.py, line 1: ModuleNotFoundError"),
        (b"\xff\xfe", r"bad\.py(, line \d+)?: SyntaxError"),
        (b"x = 1\0\n", r"bad\.py(, line \d+)?: \w+Error"),
        (b"def f():\n    f()\nf()\n", r"bad\.py, line 2: RecursionError"),
    ],
)
def test_a_file_that_does_not_run(complaint, content, last):
    Path("bad.py").write_bytes(content)
    lines = complaint("draw", "bad.py:y", *OUT).splitlines()
    assert re.fullmatch(rf"tinygraph draw: {last}; mend it there, then draw again", lines[-1])
    assert len(lines) < 25


def test_no_engine_for_png(run, folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(engine.VARIABLE, raising=False)
    monkeypatch.setattr(engine, "_FOLDERS", ())
    monkeypatch.setattr(engine, "_pygraphviz", lambda: None)
    status, said, complained = run("draw", "layer.py:y", "-o", "a.dot", "-o", "out.png")
    assert (status, said) == (2, f"{folder / 'a.dot'}\n")  # what could be written is
    assert complained.startswith("tinygraph draw: cannot write 'out.png': PNG needs the Graphviz program")
    assert "save 'out.svg' or 'out.html'" in complained
    assert not (folder / "out.png").exists()


def test_a_file_that_cannot_be_written(run, folder):
    (folder / "a.dot").mkdir()
    assert run("draw", "layer.py:y", "-o", "a.dot")[2].startswith("tinygraph draw: -o a.dot: that is a folder")


def test_control_c(run):
    write("slow.py", "raise KeyboardInterrupt\n")
    assert run("draw", "slow.py:y", *OUT)[0] == 130


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("bn.py", ("bn.py", "")),
        ("bn.py:y", ("bn.py", "y")),
        (r"C:\code\bn.py", (r"C:\code\bn.py", "")),
        (r"C:\code\bn.py:y", (r"C:\code\bn.py", "y")),
        ("bn.py:σ", ("bn.py", "σ")),
        ("bn.py:net.y", ("bn.py:net.y", "")),
        ("a:b/bn.py", ("a:b/bn.py", "")),
    ],
)
def test_file_and_name(target, parts):
    assert script.split(target) == parts


# -- demo, doctor, help -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(demos.DEMOS))
def test_demos(run, folder, name):
    status, said, complained = run("demo", name, "-o", "out.dot")
    assert (status, complained) == (0, "")
    assert said.startswith(f"{folder / 'out.dot'}\n\nTry next:\n")
    text = (folder / "out.dot").read_text(encoding="utf-8")
    assert demos.TITLES[name] in text
    assert "∂" in text


def test_every_hint_of_a_demo_works(run, folder, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda url: True)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder))
    _, said, _ = run("demo", "-o", "out.dot")
    hints = re.findall(r"^  python -m tinygraph (.*)$", said, re.MULTILINE)
    assert len(hints) == 3
    for hint in hints:
        assert run(*hint.replace("YOUR_FILE", "layer").split())[0] == 0


def test_a_demo_without_a_name_is_a_page_of_batch_norm(run, folder):
    status, said, _ = run("demo")
    assert (status, said.splitlines()[0]) == (0, str(folder / "batchnorm.html"))
    assert "BatchNorm" in (folder / "batchnorm.html").read_text(encoding="utf-8")


def test_the_gradients_of_the_demos_are_those_of_the_formulas():
    loss, names = demos.softmax()
    leaves = {t.name: t for t in tg.Graph([loss]).captured}
    p, target = names["p"].numpy(), leaves["target"].numpy()
    assert leaves["logits"].grad.numpy() == pytest.approx((p - target) / len(p))
    assert demos.batchnorm()[0].shape == (4, 3)


def test_the_doctor(run):
    status, said, complained = run("doctor")
    assert (status, complained) == (0, "")
    first = said.splitlines()[0]
    assert re.match(rf"tinygraph {re.escape(tg.__version__)}, Python [\d.]+\S*, NumPy \S+, \w+", first)
    for words in (
        "Engines, in the order of search",
        "builtin",
        "writes svg, html",
        "Fonts",
        "Python packages",
        "numpy",
    ):
        assert words in said


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help(run, arguments):
    status, said, _ = run(*arguments)
    assert status == 0
    assert said.startswith("usage: python -m tinygraph ")
    assert all(word in said for word in ("draw", "demo", "doctor", "start with:"))


@pytest.mark.parametrize("command", ["draw", "demo", "doctor"])
def test_help_of_a_command_is_ascii(run, command):
    status, said, _ = run(command, "--help")
    assert status == 0
    assert said.isascii()
    assert "max-nodes" in said or command == "doctor"


def test_examples_in_the_help_can_be_parsed(run, monkeypatch):
    monkeypatch.setattr("tinygraph.cli.script.running", lambda target: pytest.fail("ran"))
    from tinygraph.cli import _parser

    for command in ("draw", "demo"):
        _, said, _ = run(command, "--help")
        examples = re.findall(r"^  python -m tinygraph (.*)$", said, re.MULTILINE)
        assert len(examples) >= 2
        for example in examples:
            assert _parser().parse_args(example.replace('"', "").split()).command == command


def test_it_runs_as_a_module_in_a_console_of_another_encoding(folder):
    root = str(Path(tg.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "default"}
    environment[engine.VARIABLE] = "/no/such/dot"
    command = [sys.executable, "-m", "tinygraph", "draw", "layer.py:y", "-o", "σ.svg"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="ascii", env=environment, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"{folder / '?.svg'}\n")
    assert done.stderr == (
        "tinygraph: warning: $TINYGRAPH_DOT is '/no/such/dot': there is no such program; looking elsewhere for dot\n"
    )
    assert (folder / "σ.svg").exists()


def test_version(run):
    assert run("--version")[:2] == (0, f"tinygraph {tg.__version__}\n")


@pytest.mark.skipif(os.name == "nt", reason="has no sh")
def test_output_that_nobody_reads_to_its_end_is_no_mistake():
    command = f"{sys.executable} -m tinygraph doctor | head -1"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.startswith("tinygraph ")
    assert done.stderr == ""
