"""What Graphviz writes as SVG, made fit for a web page: no prolog, readable titles, centred text, themes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping

from ..errors import GraphvizError
from .theme import DARK, palette

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_SHAPES = ("ellipse", "polygon", "path", "polyline")


def tidy(text: str, rankdir: str) -> ET.Element:
    """Graphviz' SVG without prolog, links and point sizes, with titles that a reader understands.

    Raises: GraphvizError if it is no SVG.

    >>> root = tidy('<svg viewBox="0 0 9 9"><g id="v1" stroke="transparent"/></svg>', "LR")
    >>> root.get("style"), root[0].get("stroke")
    ('max-width:9pt', 'none')
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 -- written by Graphviz a moment ago, from our own text
    except ET.ParseError as error:
        raise GraphvizError(
            f"draw(...).svg: the engine wrote no valid SVG ({error}); choose another engine="
        ) from error
    _strip_namespaces(root)
    _resize(root)
    for group in list(root.iter("g")):
        if group.get("class"):
            _retitle(group)
        if group.get("class") == "node":
            _centre(group, rankdir)
    for element in root.iter():
        if element.get("stroke") == "transparent":
            element.set("stroke", "none")
    return root


def finish(root: ET.Element, theme: str, prefix: str = "", classes: bool = False) -> str:
    """The text of a painted ``<svg>`` element; ``root`` is changed.

    ``prefix`` comes before every id, so that several pictures fit into one page. ``classes`` gives all
    that is coloured the classes ``tg-f-<role>`` (fill) and ``tg-s-<role>`` (stroke), for a page that
    brings its own sheet. The theme "auto" brings one: dark where the reader's system is.

    >>> print(finish(ET.Element("svg", {"id": "v1", "fill": "#FFFFFF"}), "light", "tg3-", classes=True))
    <svg id="tg3-v1" fill="#FFFFFF" class="tg-f-bg" />
    """
    for element in root.iter():
        if "id" in element.attrib:
            element.set("id", prefix + element.attrib["id"])
    if classes or theme == "auto":
        _classify(root, palette(theme))
    if theme == "auto" and not classes:
        sheet = ET.Element("style")
        sheet.text = f"@media (prefers-color-scheme:dark){{{_rules(DARK)}}}"
        root.insert(0, sheet)
    return ET.tostring(root, encoding="unicode")


def _strip_namespaces(root: ET.Element) -> None:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if name.startswith("{")]:
            element.set(name.rpartition("}")[2], element.attrib.pop(name))
    root.set("xmlns", "http://www.w3.org/2000/svg")


def _resize(root: ET.Element) -> None:
    """As wide as the page, but no wider than its own size."""
    root.attrib.pop("height", None)
    width = root.get("viewBox", "0 0 0 0").split()[2]
    root.set("width", "100%")
    root.set("style", f"max-width:{width}pt")


def _retitle(group: ET.Element) -> None:
    """The tooltip as title. Graphviz keeps it in a link in a group of its own around the shapes."""
    tooltip = ""
    for holder in group.findall("g"):
        link = holder.find("a")
        if link is not None:
            tooltip = link.get("title", "")
            place = list(group).index(holder)
            group[place : place + 1] = list(link)
    title = group.find("title")
    if title is not None:
        title.text = tooltip
        if not tooltip.strip():
            group.remove(title)


def _centre(group: ET.Element, rankdir: str) -> None:
    """Anchor text at the middle of its node: Graphviz writes left edges, which overflow in another font."""
    span = list(_across(group))
    if not span or (rankdir == "TB" and group.find("polygon") is not None):
        return  # a wire or a card, whose texts stand on either side of the bar
    middle = f"{(min(span) + max(span)) / 2:.2f}"
    texts = group.findall("text")
    rows = Counter(text.get("y") for text in texts)
    for text in texts:
        if rows[text.get("y")] == 1:
            text.set("text-anchor", "middle")
            text.set("x", middle)


def _across(group: ET.Element) -> Iterator[float]:
    """All x coordinates of the shapes of a node."""
    for shape in group:
        if shape.tag == "ellipse":
            yield float(shape.get("cx", "0"))
        elif shape.tag in _SHAPES:
            yield from map(float, _NUMBER.findall(shape.get("points", shape.get("d", "")))[::2])


def _classify(root: ET.Element, colors: Mapping[str, str]) -> None:
    """A class for every colour: it names the role, which a sheet may paint in another colour."""
    roles = {color.lower(): role for role, color in colors.items()}
    for element in root.iter():
        classes = [element.get("class", "")]
        for attribute, letter in (("fill", "f"), ("stroke", "s")):
            role = roles.get(element.get(attribute, "").lower())
            if role is not None:
                classes.append(f"tg-{letter}-{role}")
        if any(classes):
            element.set("class", " ".join(filter(None, classes)))


def _rules(colors: Mapping[str, str]) -> str:
    return "".join(f".tg-f-{role}{{fill:{color}}}.tg-s-{role}{{stroke:{color}}}" for role, color in colors.items())
