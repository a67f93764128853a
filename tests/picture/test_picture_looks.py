"""Palettes that everyone can read, and SVG that a web page can hold."""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.core.primitive import REGISTRY
from tinygraph.core.tensor import Node, make
from tinygraph.picture import engine
from tinygraph.picture.theme import DARK, LIGHT

THEMES = pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
FILLS = ("bg", "clus", "inp", "par", "out", "con", "op")
TEXTS = {
    "bg": ("fwd", "bwd", "ink", "mute"),
    "clus": ("fwd", "bwd", "ink", "mute"),
    "con": ("mute",),
    "op": ("ink", "mute"),
}
LINES = ("fwdl", "bwdl", "inpb", "parb", "outb", "conb", "conl", "opb")


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


@THEMES
def test_a_colour_names_its_role(colors):
    assert len({color.lower() for color in colors.values()}) == len(colors) == 20
    assert all(re.fullmatch("#[0-9A-F]{6}", color) for color in colors.values())


@THEMES
@pytest.mark.parametrize("fill", FILLS)
def test_text_stands_out(colors, fill):
    for role in TEXTS.get(fill, ("fwd", "bwd", "ink", "mute")):
        assert contrast(colors[role], colors[fill]) >= 4.5


@THEMES
def test_lines_stand_out(colors):
    for role in LINES:
        assert contrast(colors[role], colors["bg"]) >= 3
        assert contrast(colors[role], colors["clus"]) >= 3


# Machado, Oliveira, Fernandes 2009: what people without one kind of cone see, on linear RGB.
DEFICIENT = {
    "normal": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


def lab(color, vision):
    """CIE L*a*b* of a colour as it is seen."""
    channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(DEFICIENT[vision] @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ seen / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@THEMES
@pytest.mark.parametrize("vision", list(DEFICIENT))
@pytest.mark.parametrize(("one", "other"), [("fwdl", "bwdl"), ("fwd", "bwd")])
def test_forward_and_backward_differ_for_every_kind_of_colour_vision(colors, vision, one, other):
    assert np.linalg.norm(lab(colors[one], vision) - lab(colors[other], vision)) >= 25


def test_plain_green_and_red_would_not_do():
    assert np.linalg.norm(lab("#008000", "protan") - lab("#FF0000", "protan")) < 25


def test_every_primitive_fits_its_circle(dot):
    x = tg.tensor([1.0], name="x")
    faces = [(op, params) for op in REGISTRY.values() if op.name != "identity" for params in ({}, {"axis": (0, 1)})]
    nodes = [Node(op, (x, x), params, None, serial) for serial, (op, params) in enumerate(faces)]
    picture = tg.draw([make(np.ones(2), False, node) for node in nodes])
    assert picture.counts["ops"] == len(faces)
    _, layout, _ = engine.run(engine.available("dot").command("json", None), picture.dot.encode(), 60)
    for node in json.loads(layout)["objects"]:
        if node["name"].startswith("op"):
            widest = max(drawn["width"] for drawn in node["_ldraw_"] if drawn["op"] == "T")
            assert widest < 72 * float(node["width"]), node["tooltip"]


# -- SVG -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["dot", "pygraphviz"])
def svg(request, bn):
    request.getfixturevalue(request.param)
    return tg.draw(bn.y, names=bn.names, engine=request.param).svg()


def test_svg_is_one_element_without_prolog_links_or_point_sizes(svg):
    root = ET.fromstring(svg)
    assert svg.startswith("<svg ")
    assert root.get("width") == "100%"
    assert root.get("height") is None
    assert root.get("viewBox")
    assert "<!DOCTYPE" not in svg
    assert "href" not in svg
    assert "xlink" not in svg
    assert "transparent" not in svg
    assert not [element for element in root.iter() if element.tag.endswith("}a")]


def test_every_id_is_there_once(svg):
    ids = Counter(re.findall(' id="([^"]*)"', svg))
    assert max(ids.values()) == 1
    assert {"v1", "v14", "op1", "op9", "e1", "e1_0", "e9_1", "scope_1", "scope_5"} <= set(ids)


def test_titles_are_readable(svg):
    titles = [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("}title")]
    assert "μ: wire, float64 (3,)" in titles
    assert "sub(x, μ)" in titles
    assert "3 · variance" in titles
    assert any(title.startswith("x−μ → div\n∂ ") for title in titles)
    assert not any("->" in title for title in titles)


def test_text_is_centred_on_its_node(svg):
    root = ET.fromstring(svg)
    group = next(element for element in root.iter() if element.get("id") == "v1")
    places = {(text.get("text-anchor"), text.get("x")) for text in group if text.tag.endswith("}text")}
    assert len(places) == 1
    assert places.pop()[0] == "middle"


def test_the_theme_auto_follows_the_reader_in_every_role(bn, dot):
    svg = tg.draw(bn.y, theme="auto").svg()
    assert "prefers-color-scheme:dark" in svg
    for role, color in DARK.items():
        assert f".tg-f-{role}{{fill:{color}}}" in svg
        assert f".tg-s-{role}{{stroke:{color}}}" in svg
    painted = [e for e in ET.fromstring(svg).iter() if (e.get("fill") or "none") != "none"]
    assert all("tg-f-" in e.get("class", "") for e in painted)


def test_upright_pictures_keep_their_texts_on_their_sides(bn, dot):
    svg = tg.draw(bn.y, rankdir="TB", names=bn.names).svg()
    group = next(e for e in ET.fromstring(svg).iter() if e.get("id") == "v1")
    assert len({t.get("x") for t in group if t.tag.endswith("}text")}) > 1
