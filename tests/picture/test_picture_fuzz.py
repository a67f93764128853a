"""Two thousand random names, drawn by every engine: as many parts as there should be, and each name as written."""

import random
import unicodedata
import xml.etree.ElementTree as ET

import pytest

import tinygraph as tg
from tinygraph.picture import engine
from tinygraph.picture.values import clean

BATCH = 50  # Graphviz takes more than twice as long for twice as many
SPECIAL = list("\"\\<>&;:{}|[]()'`%#/*-=\n\t\x00\x1b\x7f\u202e\u2066\ufffe\ud800�")
WORDS = ["node", "graph", "\\N", "\\G", "&amp;", "&#60;", "<b>", "</b>", "<TABLE>", "->", "--", "]]>", "<!--", "label="]
PLANES = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x400), (0x4E00, 0x4F00), (0x1F300, 0x1F600), (0x0, 0x110000)]


def names(count, seed):
    chance = random.Random(seed)

    def piece():
        kind = chance.random()
        if kind < 0.4:
            return chance.choice(SPECIAL)
        if kind < 0.55:
            return chance.choice(WORDS)
        return chr(chance.randrange(*chance.choice(PLANES)))

    return ["".join(piece() for _ in range(chance.randint(1, 14))) for _ in range(count)]


def drawn(given, how):
    """Every name is that of an input and of the scope that it is used in."""
    results = []
    for name in given:
        with tg.scope(name):
            results.append(tg.neg(tg.tensor([1.0], requires_grad=True, name=name)))
    return tg.draw(results, legend=False, title="", engine=how, mode="forward", max_nodes=None)


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize(("how", "count"), [("dot", 1_200), ("builtin", 800)])
def test_random_names_are_drawn_as_written(how, count):
    if how == "dot" and engine.available("dot") is None:
        pytest.skip("needs the Graphviz program dot")
    for seed in range(count // BATCH):
        given = names(BATCH, seed)
        picture = drawn(given, how)
        root = ET.fromstring(picture.svg())
        assert picture.engine.startswith(how)
        kinds = [e.get("class").split()[0] for e in root.iter() if e.get("class")]
        counted = {kind: kinds.count(kind) for kind in ("node", "edge", "cluster")}
        assert counted == {"node": 3 * BATCH, "edge": 2 * BATCH, "cluster": BATCH}
        ids = [e.get("id") for e in root.iter() if e.get("id")]
        assert len(ids) == len(set(ids))
        shown = {words("".join(e.itertext()).replace("\u00a0", " ")) for e in root.iter() if e.tag.endswith("text")}
        for name in given:
            for line in clean(name, 1000).split("\n"):
                assert words(line.replace("\u00a0", " ")) in shown | {""}, (name, line)


def test_the_names_are_as_wild_as_they_should_be():
    text = "".join(name for seed in range(40) for name in names(BATCH, seed))
    assert set(SPECIAL) <= set(text)
    assert {"Lu", "Lo", "So", "Cc", "Cs", "Co", "Cn"} <= {unicodedata.category(c) for c in text}
