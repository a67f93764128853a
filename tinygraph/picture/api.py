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
from . import theme, values
from .model import Options, View, view
from .words import ChoiceError, choose

if TYPE_CHECKING:
    import graphviz

MODES = ("both", "forward")
RANKDIRS = ("auto", "LR", "TB")
ENGINES = ("auto", "dot", "pygraphviz")
SUFFIXES = (".dot", ".gv", ".svg", ".png", ".pdf")
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
    title: str | None = None,
    legend: bool = True,
    theme: str = "light",
    engine: str = "auto",
    timeout: float = 30.0,
) -> Picture:
    """A picture of the computation behind ``outputs``: values above the wires, gradients below.

    The gradients are those of one reverse pass, made now, with ``seed`` or with that of the last
    ``backward()``. ``mode="forward"`` leaves them out. ``values`` says what stands for an array:
    "auto", "stats" (min … max), "shape", "full" (up to 6×6) or "none"; ``precision`` is the number
    of decimals. ``names`` names wires that have no name, as ``locals()`` does. ``rankdir`` is "LR",
    "TB", or "auto", which turns deep graphs upright. ``theme`` is "light", "dark", or "auto", an SVG
    that follows the reader's setting. ``engine`` is "auto", "dot" or "pygraphviz"; it has
    ``timeout`` seconds.

    Raises: ValueError for an unknown word; ShapeError for a seed of the wrong shape.

    >>> import tinygraph as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> y = tg.sum(x * x)
    >>> y.backward()
    >>> picture = tg.draw(y, title="squares")
    >>> picture.counts
    {'ops': 2, 'tensors': 3, 'scopes': 0}
    """
    _check(mode, rankdir, values, precision, theme, engine, timeout, names)
    graph, given = _graph(outputs)
    options = Options(mode, rankdir, values, precision, names, seed, title, legend)
    return Picture(view(graph, given, options), mode, theme, engine, timeout)


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """A finished picture: all its numbers were read when it was made, and nothing changes it.

    ``save`` writes it to a file, ``svg()``, ``png()`` and ``pdf()`` return it, a notebook shows it,
    ``dot`` is its text in the language of Graphviz.

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

        return digraph(self.view, theme.palette(self.theme))

    def svg(self) -> str:
        """The picture as SVG, to stand in a web page or in a file.

        Raises: GraphvizNotFound, GraphvizError, RenderTimeout.
        """
        return self._svg("draw the SVG", "picture")

    def png(self, dpi: int = 144) -> bytes:
        """The picture as PNG. Raises: GraphvizNotFound, GraphvizError, RenderTimeout."""
        return self._render("png", "draw the PNG", "picture", _dpi(dpi))

    def pdf(self) -> bytes:
        """The picture as PDF. Raises: GraphvizNotFound, GraphvizError, RenderTimeout."""
        return self._render("pdf", "draw the PDF", "picture")

    def save(self, path: str | os.PathLike[str], dpi: int = 144) -> Path:
        """Write the picture to a file, whose suffix says how: .dot .gv .svg .png .pdf.

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
        """The program that draws this picture, ``dot 2.43.0``; "none" where none is installed."""
        from . import engine as engines  # noqa: PLC0415 -- loads subprocess

        found = engines.available(self.choice)
        return "none" if found is None else found.version

    @property
    def counts(self) -> dict[str, int]:
        """How much there is to see: ops, tensors, scopes."""
        return self.view.counts

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
                bundle["image/svg+xml"] = self._svg("draw the SVG", "picture", f"tg-{self._fingerprint}-")
        except Exception as error:  # a notebook would print a traceback in place of the picture
            bundle["text/plain"] = f"{bundle.get('text/plain', '<Picture>')}\n{error}"
        return {
            kind: data
            for kind, data in bundle.items()
            if (not include or kind in include) and not (exclude and kind in exclude)
        }

    @property
    def _fingerprint(self) -> str:
        return hashlib.sha256(self.dot.encode("utf-8")).hexdigest()[:8]

    def _content(self, suffix: str, target: Path, dpi: int) -> bytes:
        if suffix in (".dot", ".gv"):
            return self.dot.encode("utf-8")
        task = f"write {target.name!r}"
        if suffix == ".svg":
            return f"{self._svg(task, target.stem)}\n".encode()
        return self._render(suffix[1:], task, target.stem, dpi if suffix == ".png" else None)

    def _svg(self, task: str, stem: str, prefix: str = "") -> str:
        from . import svg  # noqa: PLC0415 -- loads an XML parser, which few programs need

        drawn = self._render("svg", task, stem).decode("utf-8", "replace")
        return svg.tidy(drawn, self.theme, self.view.rankdir, prefix)

    def _render(self, format: str, task: str, stem: str, dpi: int | None = None) -> bytes:
        from . import engine as engines  # noqa: PLC0415 -- loads subprocess

        found = engines.find(self.choice, task, format, stem)
        return engines.render(found, self.dot, format, dpi=dpi, timeout=self.timeout)


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


def _check(
    mode: str, rankdir: str, how: str, precision: int, look: str, engine: str, timeout: float, names: Any
) -> None:
    later = ", which is not there yet" if mode in ("lanes", "backward") else ""
    choose("draw", "mode", mode, MODES, later)
    choose("draw", "rankdir", rankdir, RANKDIRS)
    choose("draw", "values", how, values.MODES)
    choose("draw", "theme", look, theme.THEMES)
    choose("draw", "engine", engine, ENGINES)
    if not isinstance(precision, int) or not 0 <= precision <= 15:
        raise ChoiceError(f"draw(precision={precision!r}): decimals are a whole number; give one from 0 to 15")
    if not isinstance(timeout, (int, float)) or not timeout > 0:
        raise ChoiceError(f"draw(timeout={timeout!r}): a time limit is a number of seconds; give one above 0")
    if names is not None and not isinstance(names, Mapping):
        raise ChoiceError(f"draw(names={type(names).__name__}): names map to Tensors; give a dict, e.g. locals()")


def _dpi(dpi: int) -> int:
    if not isinstance(dpi, int) or not 1 <= dpi <= 4800:
        raise ChoiceError(f"png(dpi={dpi!r}): dots per inch are a whole number; give one from 1 to 4800")
    return dpi


def _replace(target: Path, content: bytes) -> None:
    """Write beside the target, then rename: nobody ever sees half a file."""
    scratch = target.with_name(f".tinygraph-{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        scratch.write_bytes(content)
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
