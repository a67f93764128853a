"""``draw`` and ``Picture``: a picture of a graph, and the files that it can become."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.graph import Graph
from ..core.tensor import Tensor, describe
from ..errors import DTypeError, RenderError
from .words import ChoiceError, choose

if TYPE_CHECKING:
    import graphviz

    from .model import View
    from .render import Drawing

SUFFIXES = (".dot", ".gv", ".svg", ".png", ".pdf", ".html", ".json")
NOTEBOOK = "TINYGRAPH_NOTEBOOK"


def draw(
    outputs: Tensor | Sequence[Tensor] | Graph,
    *,
    mode: str = "both",
    rankdir: str = "auto",
    values: str = "auto",
    precision: int = 2,
    names: Mapping[str, Any] | None = None,
    seed: Any = None,
    collapse: bool | int | Sequence[str] | None = None,
    max_nodes: int | None = 400,
    title: str | None = None,
    legend: bool = True,
    theme: str = "light",
    engine: str = "auto",
    timeout: float = 30.0,
) -> Picture:
    """A picture of the computation behind ``outputs``: values above the wires, gradients below.

    The gradients are those of one reverse pass, made now, with ``seed`` or with that of the last
    ``backward()``. ``mode`` is "both"; "forward", without gradients; "lanes", the forward above the
    backward that was derived from it, node for node; "backward", the derived one alone. ``values``
    says what stands for an array: "auto", "stats" (min … max), "shape", "full" (up to 6×6) or "none";
    ``precision`` is the number of decimals. ``names`` names wires that have no name, as ``locals()``
    does. ``rankdir`` is "LR", "TB", or "auto", which turns deep graphs upright. ``theme`` is "light",
    "dark", or "auto", an SVG that follows the reader's setting.

    ``collapse`` folds scopes: True all of them, a number those nested deeper, a list of patterns such
    as ``["variance", "layer1/*"]`` those it names, False none. Above ``max_nodes`` ops and Tensors
    scopes fold by themselves, then chains, with a GraphFoldedWarning; None sets no limit.

    ``engine`` is "auto", "dot", "pygraphviz" or "builtin". It has ``timeout`` seconds; then, or if
    there is none, the built-in layout draws SVG and HTML.

    Raises: ValueError for an unknown word; ShapeError for a seed of the wrong shape; GraphTooLarge if
    no folding makes it small enough.

    >>> import tinygraph as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> y = tg.sum(x * x)
    >>> y.backward()
    >>> picture = tg.draw(y, title="squares")
    >>> picture.counts
    {'ops': 2, 'tensors': 3, 'scopes': 0}
    """
    from .look import Options, check, look  # noqa: PLC0415 -- programs that draw nothing start sooner

    options = Options(mode, rankdir, values, precision, names, seed, title, legend, collapse, max_nodes)
    check("draw", options, theme, engine, timeout)
    graph, given = _graph(outputs)
    return Picture(look(graph, given, options), mode, theme, engine, timeout)


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """A finished picture: all its numbers were read when it was made, and nothing changes it.

    ``save`` writes it to a file; ``svg()``, ``html()``, ``json()``, ``png()`` and ``pdf()`` return it; a
    notebook shows it, and ``interactive()`` and ``show()`` the page to step through; ``dot`` is its text
    in the language of Graphviz.

    >>> import tinygraph as tg
    >>> x = tg.tensor(2.0, requires_grad=True, name="x")
    >>> picture = tg.draw(tg.exp(x))
    >>> picture.dot.startswith("digraph")
    True
    """

    view: View
    mode: str
    theme: str
    choice: str
    timeout: float

    @cached_property
    def dot(self) -> str:
        """The picture as DOT text, the same to the byte for the same graph; needs no Graphviz.

        Raises: MissingExtra if the Python package ``graphviz`` is not installed.
        """
        return str(self.digraph.source)

    @property
    def digraph(self) -> graphviz.Digraph:
        """A fresh ``graphviz.Digraph`` to change and extend."""
        from .dot import digraph  # noqa: PLC0415 -- needs the package graphviz
        from .theme import palette  # noqa: PLC0415

        return digraph(self.view, palette(self.theme))

    def svg(self) -> str:
        """The picture as SVG, to stand in a web page or in a file. Needs no Graphviz."""
        return self._drawing.text(self.theme)

    def html(self) -> str:
        """The interactive page: one file that needs nothing else, to pan, zoom, fold, and step through."""
        from . import html  # noqa: PLC0415 -- loads json and the viewer

        return html.page(self.view, self._drawing.text(self.theme, classes=True), self.theme)

    def png(self, dpi: int = 144) -> bytes:
        """The picture as PNG. Raises: GraphvizNotFound, GraphvizError, RenderTimeout."""
        return self._image("png", "draw the PNG", "picture", _dpi(dpi))

    def pdf(self) -> bytes:
        """The picture as PDF. Raises: GraphvizNotFound, GraphvizError, RenderTimeout."""
        return self._image("pdf", "draw the PDF", "picture")

    def json(self) -> str:
        """All that the picture says, as JSON: nodes, edges, scopes, steps, and values up to 1,000 elements."""
        import json  # noqa: PLC0415 -- which few programs need

        from .export import record  # noqa: PLC0415

        return json.dumps(record(self.view), ensure_ascii=False, indent=1)

    def interactive(self, height: int = 520) -> Frame:
        """The interactive page for a notebook's cell, ``height`` pixels high, in a sandbox of its own."""
        from . import html  # noqa: PLC0415 -- loads json and the viewer

        return Frame(html.frame(self.html(), _count("interactive", "height", height, 20_000)), repr(self))

    def show(self) -> Path:
        """Open the interactive page in the web browser, from a temporary file, whose path is returned.

        The file is the user's alone: nobody else on the machine may read it.
        """
        import tempfile  # noqa: PLC0415 -- which few programs need
        import webbrowser  # noqa: PLC0415

        page = self.html().encode()
        with tempfile.NamedTemporaryFile("wb", prefix="tinygraph-", suffix=".html", delete=False) as file:
            file.write(page)
        webbrowser.open(Path(file.name).as_uri())
        return Path(file.name)

    def save(self, path: str | os.PathLike[str], dpi: int = 144) -> Path:
        """Write the picture to a file, whose suffix says how: .dot .gv .svg .png .pdf .html .json.

        The file is there whole or not at all. Returns its absolute path. No folder is created.

        Raises: ValueError for another suffix; FileNotFoundError if the folder does not exist;
        GraphvizNotFound, GraphvizError, RenderTimeout.
        """
        target = Path(path).absolute()
        suffix = choose("save", "suffix", target.suffix.lower(), SUFFIXES)
        if not target.parent.is_dir():
            raise FolderError(f"save({str(path)!r}): there is no folder {str(target.parent)!r}; create it first")
        _replace(target, self._content(suffix, target, _dpi(dpi)))
        return target

    @property
    def engine(self) -> str:
        """What draws this picture, ``dot 2.43.0`` or ``builtin``; once it is drawn, what really did, and why."""
        from . import render  # noqa: PLC0415 -- loads subprocess

        return self._drawing.engine if "_drawing" in self.__dict__ else render.likely(self.choice)

    @property
    def counts(self) -> dict[str, int]:
        """How much there is to see: ops, tensors, scopes."""
        return self.view.counts

    @property
    def folded(self) -> dict[str, int]:
        """How many scopes and chains are folded, and how many nodes they hide."""
        folds, nodes = self.view.folded
        return {"folds": folds, "nodes": nodes}

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The traversal as the page plays it: forward, the seed, backward; none above 5,000 ops."""
        from .export import steps  # noqa: PLC0415 -- which few programs need

        return steps(self.view)

    def __repr__(self) -> str:
        counted = ", ".join(f"{n} {what if n != 1 else what[:-1]}" for what, n in self.counts.items())
        return f"<Picture {self.view.title}: {counted}, mode={self.mode}, engine={self.engine}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows. Never raises: without an engine the text says what to install."""
        bundle: dict[str, Any] = {}
        try:
            bundle["text/plain"] = repr(self)
            if os.environ.get(NOTEBOOK) == "png":
                bundle["image/png"] = base64.b64encode(self.png()).decode("ascii")
            else:
                bundle["image/svg+xml"] = self._drawing.text(self.theme, f"tg-{self._fingerprint}-")
        except Exception as error:  # a notebook would print a traceback in place of the picture
            bundle["text/plain"] = f"{bundle.get('text/plain', '<Picture>')}\n{error}"
        return {
            kind: data
            for kind, data in bundle.items()
            if (not include or kind in include) and not (exclude and kind in exclude)
        }

    @property
    def _fingerprint(self) -> str:
        return hashlib.sha256(f"{self.view}{self.theme}{self.choice}".encode("utf-8", "replace")).hexdigest()[:8]

    def _content(self, suffix: str, target: Path, dpi: int) -> bytes:
        if suffix in (".dot", ".gv"):
            return self.dot.encode("utf-8")
        if suffix in (".svg", ".html", ".json"):
            text = {".svg": self.svg, ".html": self.html, ".json": self.json}[suffix]()
            return f"{text}\n".encode()
        return self._image(suffix[1:], f"write {target.name!r}", target.stem, dpi if suffix == ".png" else None)

    @cached_property
    def _drawing(self) -> Drawing:
        from . import render  # noqa: PLC0415 -- loads subprocess and an XML parser

        return render.draw(self.view, self.choice, self.theme, self.timeout)

    def _image(self, format: str, task: str, stem: str, dpi: int | None = None) -> bytes:
        from . import render  # noqa: PLC0415 -- loads subprocess

        return render.image(
            self.view, self.choice, self.theme, self.timeout, task=task, format=format, stem=stem, dpi=dpi
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """What ``Picture.interactive`` returns: a notebook shows the page, a terminal one line."""

    page: str
    text: str

    def _repr_html_(self) -> str:
        return self.page

    def __repr__(self) -> str:
        return self.text


class FolderError(RenderError, FileNotFoundError):
    """A picture is to be saved in a folder that does not exist."""


def _graph(outputs: Any) -> tuple[Graph, Sequence[Tensor]]:
    """The graph to draw, and its outputs as the user holds them."""
    if isinstance(outputs, Graph):
        return outputs, outputs.outputs
    given = [outputs] if isinstance(outputs, Tensor) else outputs
    if not isinstance(given, (list, tuple)) or not given or not all(isinstance(t, Tensor) for t in given):
        raise DTypeError(f"draw({describe(outputs)}): draws a Tensor, a list of Tensors, or a Graph; give one of them")
    return Graph(given), given


def _dpi(dpi: int) -> int:
    return _count("png", "dpi", dpi, 4_800)


def _count(call: str, parameter: str, value: int, most: int) -> int:
    if not isinstance(value, int) or not 1 <= value <= most:
        raise ChoiceError(f"{call}({parameter}={value!r}): {parameter} is a whole number; give one from 1 to {most}")
    return value


def _replace(target: Path, content: bytes) -> None:
    """Write beside the target, then rename: nobody ever sees half a file."""
    scratch = target.with_name(f".tinygraph-{os.getpid()}-{threading.get_ident()}.tmp")
    scratch.unlink(missing_ok=True)  # left by a process of the same number that was killed
    try:
        with scratch.open("xb") as file:  # never through a link that somebody else has put there
            file.write(content)
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
