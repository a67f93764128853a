"""The interactive page as text: one file, nothing from outside, user text harmless, the same to the byte."""

import json
import re
from html.parser import HTMLParser
from importlib import resources

import pytest

import tinygraph as tg
from tinygraph.picture import html, svg
from tinygraph.picture.export import record
from tinygraph.picture.theme import DARK, LIGHT

EVIL = "<img src=x onerror=alert(1)>"
DRAWING = '<svg viewBox="0 0 9 9"><g class="graph"/></svg>'


def page(y, theme="light", **options):
    return html.page(tg.draw(y, **options).view, DRAWING, theme)


class Reader(HTMLParser):
    """Collects tags, attributes and the text of the data."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self.inside = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = dict(attributes).get("type") == "application/json"

    def handle_data(self, text):
        self.data += text if self.inside else ""

    def handle_endtag(self, tag):
        self.inside = False


def test_the_page_holds_the_whole_record(bn):
    view = tg.draw(bn.y).view
    assert json.loads(Reader(html.page(view, DRAWING, "light")).data) == record(view)


def test_the_policy_is_strict(bn):
    metas = [attributes for tag, attributes in Reader(page(bn.y)).tags if tag == "meta"]
    policy = next(meta["content"] for meta in metas if "http-equiv" in meta)
    assert policy.startswith(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:;"
    )
    assert metas[0] == {"charset": "utf-8"}


def test_nothing_comes_from_outside(bn):
    for tag, attributes in Reader(page(bn.y)).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img")
        assert not {"src", "href", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "http" not in re.sub(r"http://www\.w3\.org/\d+/\w+|http-equiv", "", page(bn.y))


@pytest.mark.parametrize(
    "name", [EVIL, "</script><script>alert(1)</script>", "{{data}}", "{{title}}", "<!--", "\u2028", "&lt;", "]]>"]
)
def test_names_stay_text(name):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name=name)
    with tg.scope(name):
        y = tg.exp(x)
    text = page(y, title=name)
    read, plain = Reader(text), Reader(page(tg.exp(tg.tensor([1.0, 2.0], requires_grad=True, name="x")), title="t"))
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in plain.tags]
    assert json.loads(read.data)["nodes"][0]["name"] == name
    assert not set("<>&\u2028\u2029") & set(read.data)


@pytest.mark.parametrize("theme", ["light", "dark", "auto"])
def test_themes(bn, theme):
    read = Reader(page(bn.y, theme))
    assert read.tags[0] == ("html", {"lang": "en", "data-theme": theme})
    for colors in (LIGHT, DARK):
        assert all(f"--{role}:{color}" in page(bn.y, theme) for role, color in colors.items())


def test_the_same_to_the_byte(bn):
    assert page(bn.y) == page(bn.y)
    assert "\r" not in page(bn.y)


def test_the_viewer_is_small_and_says_nothing_of_its_places():
    text = resources.files("tinygraph.picture").joinpath("viewer.html").read_text(encoding="utf-8")
    assert len(text) < 23_000
    assert set(re.findall(r"\{\{(\w+)\}\}", text)) == {
        "title", "theme", "policy", "light", "dark", "roles", "picture", "data"
    }  # fmt: skip


def test_a_frame_is_a_sandbox(bn):
    whole = page(bn.y, title='"><b>')
    ((tag, attributes),) = Reader(html.frame(whole, 300)).tags
    assert tag == "iframe"
    assert attributes["sandbox"] == "allow-scripts"
    assert attributes["srcdoc"] == whole
    assert "height:300px" in attributes["style"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_of_a_drawing_has_its_class(bn, dot, theme):
    picture = tg.draw(bn.y, theme=theme)
    from tinygraph.picture import engine

    raw = engine.render(engine.find("dot", "draw", "svg"), picture.dot, "svg").decode()
    text = svg.finish(svg.tidy(raw, "LR"), theme, "p-", classes=True)
    for element in re.findall(r"<(?:path|polygon|ellipse|text)\b[^>]*>", text):
        for attribute, letter in (("fill", "f"), ("stroke", "s")):
            color = re.search(f' {attribute}="(#\\w+)"', element)
            if color:
                role = re.search(rf"tg-{letter}-(\w+)", element)[1]
                assert (DARK if theme == "dark" else LIGHT)[role].lower() == color[1].lower()
    assert all(id.startswith("p-") for id in re.findall(r'\bid="([^"]*)"', text))
    assert "<style" not in text
