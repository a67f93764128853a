"""User text reaches a picture as text: it adds no node, no edge, no markup, and is drawn as written."""

import dataclasses
import shutil
import xml.etree.ElementTree as ET

import graphviz
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygraph as tg
from tinygraph.core.primitive import REGISTRY, apply
from tinygraph.picture.statements import statement
from tinygraph.picture.values import LABEL, TITLE, clean

HOSTILE = [
    '"];evil[label="pwn',
    '"]; evil -> pwn; x [label="',
    "a\\",
    "\\",
    "\\\\",
    "a\\\\\\",
    '\\"',
    '\\\\"',
    "node",
    "graph",
    "subgraph",
    "digraph",
    "strict",
    "edge",
    "\\N",
    "\\G",
    "\\E \\T \\H \\L",
    "a\\nb\\lc\\rd",
    "two\nlines",
    "\n",
    "&#92;N",
    "<b>x</b>",
    "<x>",
    "<",
    ">",
    "</TABLE>>",
    "<<TABLE>",
    "<BR/>",
    "&alpha;",
    "&amp;",
    "&",
    "&#x41;",
    "]]>",
    "<!-- x",
    "a:b",
    "v1:w:e",
    "{a|b}",
    "<p0>",
    "x;y",
    "// x",
    "/* x",
    "# x",
    "%n %s {x}",
    "'",
    '"',
    "nul\x00bell\x07del\x7f",
    "\u202eabc\u2066",
    "\ufffe\uffff",
    "\ud800",
    "tab\there",
    " ",
    "-1",
    "1.5",
    "日本語 中文 عربى",
    "𝔵🙂",
    "x" * 20_000,
    "<script>alert(1)</script>",
    "javascript:alert(1)",
]


def drawn(text, **options):
    """A graph whose tensor, scope, op and title are all called ``text``."""
    op = dataclasses.replace(
        REGISTRY["mul"], name=text, symbol=text, kernel=lambda xp, x, y, *, key: x * y, numpy=None,
        pullback=lambda node, g, record: (g, g),
    )  # fmt: skip
    x = tg.tensor([1.0, 2.0], requires_grad=True, name=text)
    with tg.scope(text):
        y = apply(op, (x, tg.exp(x)), {"key": text})
    return tg.draw(y, seed=[1.0, 1.0], title=text, **options)


def parts(svg):
    """How many nodes, edges and boxes an SVG holds, and its lines of text."""
    root = ET.fromstring(svg)
    kinds = [e.get("class", "").split()[0] for e in root.iter() if e.tag.endswith("}g") and e.get("class")]
    texts = ["".join(e.itertext()).replace("\u00a0", " ").strip() for e in root.iter() if e.tag.endswith("}text")]
    return {kind: kinds.count(kind) for kind in ("node", "edge", "cluster")}, texts


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:20]))
def test_hostile_names_are_drawn_as_written(name, dot):
    counts, texts = parts(drawn(name).svg())
    assert counts == {"node": 5, "edge": 5, "cluster": 1}
    lines = [" ".join(line.split()) for line in clean(name).split("\n")]
    shown = [" ".join(text.split()) for text in texts]
    for line in filter(None, lines):
        # as name of a wire, as symbol and caption of an op
        assert shown.count(line) >= 2 + (len(name) <= LABEL), (line, shown)
    for line in clean(name, TITLE).split("\n"):
        assert " ".join(line.split()) in {*shown, ""}


@pytest.mark.parametrize("name", ['"];evil[label="pwn', "\\N", "<b>x</b>", "&alpha;", "a\\", "日本語"])
def test_hostile_names_are_drawn_as_written_by_pygraphviz(name, pygraphviz):
    counts, texts = parts(drawn(name, engine="pygraphviz").svg())
    assert counts == {"node": 5, "edge": 5, "cluster": 1}
    assert texts.count(name) >= 3


@given(st.text(st.characters(exclude_categories=[]), max_size=60))
@settings(deadline=None)
def test_any_name_leaves_the_statements_as_they_are(name):
    counts = drawn(name).counts
    assert counts == {"ops": 2, "tensors": 3, "scopes": 1}
    text = drawn(name).dot
    lines = text.split("\n")
    assert len(lines) == len(drawn("x").dot.split("\n"))
    assert sum(" -> " in line.split("[")[0] for line in lines) == 5
    assert all(balanced(line) for line in lines)


def balanced(line):
    """Whether the quotes of a line of DOT close, outside HTML-like labels."""
    inside, escaped, depth = False, False, 0
    for c in line:
        if inside:
            inside = escaped or c != '"'
            escaped = c == "\\" and not escaped
        elif c in "<>":
            depth += 1 if c == "<" else -1 if not line.startswith("->") else 0
        elif c == '"' and depth <= 0:
            inside = True
    return not inside


@given(st.text(max_size=30))
@settings(deadline=None, max_examples=15)
def test_any_name_is_understood_by_dot(name):
    if shutil.which("dot") is None:
        pytest.skip("needs the Graphviz program dot")
    assert parts(drawn(name).svg())[0] == {"node": 5, "edge": 5, "cluster": 1}


@given(st.dictionaries(st.sampled_from(["label", "tooltip", "id", "color"]), st.text(max_size=20).map(graphviz.nohtml)))
def test_statements_are_those_of_the_package(attributes):
    drawn = graphviz.Digraph()
    escaped = {name: graphviz.escape(value) for name, value in attributes.items()}
    escaped["shape"] = "plain"
    drawn.node("v1", _attributes=escaped)
    drawn.edge("v1:w:e", "op1", _attributes=escaped)
    assert drawn.body == [statement("v1", escaped), statement("v1:w:e -> op1", escaped)]


def test_nothing_that_reads_files_or_runs_scripts_is_written(bn):
    text = tg.draw(bn.y, theme="auto").dot
    for word in ("URL", "href", "image", "stylesheet", "dpi", "record", "xlabel", "comment", "script"):
        assert word not in text
