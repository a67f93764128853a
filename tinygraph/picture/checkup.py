"""What this machine can draw: engines, formats, fonts and packages, and the command for what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from ..errors import RenderError
from .engine import Engine, package, render, run, search

FORMATS = ("svg", "png", "pdf")
TRIAL = "digraph { tinygraph }"
LIMIT = 5.0  # seconds for one trial

# By purpose: the distribution, the module to look for, what pip installs to get it.
_PACKAGES = {
    "needed": (("numpy", "numpy", "numpy"), ("graphviz", "graphviz", "graphviz")),
    "graphviz": (("pygraphviz", "pygraphviz", '"tinygraph[graphviz]"'),),
    "testing": (("hypothesis", "hypothesis", '"tinygraph[testing]"'),),
    "examples": tuple(
        (name, module, '"tinygraph[examples]"')
        for name, module in (("scikit-learn", "sklearn"), ("matplotlib", "matplotlib"), ("tqdm", "tqdm"))
    ),
    "compile": (("numba", "numba", '"tinygraph[compile]"'),),
    "jax": (("jax", "jax", '"tinygraph[jax]"'),),
    "for comparisons": tuple((name, name, name) for name in ("onnx", "torch")),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: ``state`` is ok, missing or unknown, and ``remedy`` a command or a word of advice."""

    topic: str
    name: str
    state: str
    text: str
    remedy: str = ""


def report() -> list[Finding]:
    """All findings, topic by topic; takes a second or two, since every engine draws a trial picture.

    Nothing is written, and no package is imported. Raises nothing.
    """
    return [*_engines(), *_fonts(), *_packages()]


def _engines() -> Iterator[Finding]:
    topic, used, tried = "Engines, in the order of search", False, set()
    for place in search():
        engine = place.engine
        if engine is None:
            remedy = 'pip install "tinygraph[graphviz]"' if place.where == "pygraphviz" else ""
            yield Finding(topic, place.where, "missing", place.problem, remedy)
            continue
        if engine in tried:
            yield Finding(topic, place.where, "ok", f"the same: {engine.place}")
            continue
        tried.add(engine)
        works, failed = _trials(engine)
        text = f"{engine.version} ({engine.place}): {'writes ' + ', '.join(works) if works else 'draws nothing'}"
        if failed:
            text += f"; not {'; not '.join(failed)}"
        yield Finding(
            topic, place.where, "missing" if failed else "ok", text + ("" if used else "  <- this one is used")
        )
        used = True
    more = "" if used else "; PNG and PDF need one of the engines above"
    yield Finding(topic, "builtin", "ok", f"writes svg, html; always there{more}")


def _trials(engine: Engine) -> tuple[list[str], list[str]]:
    """The formats in which the engine draws one node, and those in which it fails, with the reason."""
    works, failed = [], []
    for format in FORMATS:
        try:
            render(engine, TRIAL, format, timeout=LIMIT)
        except RenderError as error:
            failed.append(f"{format}: {error}")
        else:
            works.append(format)
    return works, failed


def _fonts() -> Iterator[Finding]:
    topic = "Fonts, for PNG and PDF (SVG and HTML use those of the reader)"
    for name, pattern, remedy in (
        ("Latin", ":lang=en", "apt-get install fonts-liberation"),
        ("Chinese", ":lang=zh", "apt-get install fonts-noto-cjk"),
    ):
        families = _families(pattern)
        if families is None:
            yield Finding(topic, name, "unknown", "cannot tell: there is no fc-list that works")
        elif families:
            drawn = f"; Helvetica is drawn in {_match('Helvetica')}" if name == "Latin" else f": {families[0]}"
            count = "1 family" if len(families) == 1 else f"{len(families)} families"
            yield Finding(topic, name, "ok", f"{count}{drawn}")
        else:
            yield Finding(topic, name, "missing", "none: such text becomes boxes", remedy)


def _families(pattern: str) -> list[str] | None:
    said = _ask("fc-list", pattern, "family")
    return None if said is None else sorted({line.split(",")[0].strip() for line in said.splitlines() if line.strip()})


def _match(name: str) -> str:
    return (_ask("fc-match", "-f", "%{family}", name) or "a font of the system").split(",")[0].strip()


def _ask(program: str, *arguments: str) -> str | None:
    """What a program says; None if it is not there, or fails."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        status, out, _ = run([path, *arguments], b"", LIMIT)
    except RenderError:
        return None
    return out.decode("utf-8", "replace") if status == 0 else None


def _packages() -> Iterator[Finding]:
    topic = "Python packages"
    for purpose, wanted in _PACKAGES.items():
        for name, module, source in wanted:
            label = name if purpose == "needed" else f"{name} ({purpose})"
            if package(module) is None:
                yield Finding(topic, label, "missing", "not installed", f"pip install {source}")
            else:
                yield Finding(topic, label, "ok", _installed(name))


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "installed, version unknown"
