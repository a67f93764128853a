"""``python -m tinygraph``: draw what a file computes, draw a demonstration, look what this machine can draw.

``script`` runs the user's file and finds what to draw in it, ``demos`` holds small graphs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import tinygraph

from ..errors import TinygraphError
from ..picture import Picture, draw
from ..picture.api import SUFFIXES
from ..picture.look import ENGINES, RANKDIRS
from ..picture.model import MODES
from ..picture.theme import THEMES
from ..picture.values import MODES as VALUES
from . import demos, script
from .script import Mistake

CALL = "python -m tinygraph"
LOOKS = ("mode", "theme", "rankdir", "values", "precision", "title", "collapse", "max_nodes", "engine", "timeout")
VIEWABLE = (".html", ".svg", ".png", ".pdf")
MARKS = {"ok": "ok", "missing": "--", "unknown": "??"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, or 2 after a mistake, which stderr explains.

    Raises: SystemExit for arguments that no command takes, and after ``--help`` and ``--version``.

    >>> main(["--version"])
    Traceback (most recent call last):
        ...
    SystemExit: 0
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    if given and script.split(given[0])[0].endswith(".py"):
        parser.error(f"say what to do with {given[0]}, e.g. {CALL} draw {given[0]} -o picture.svg")
    args = parser.parse_args(given)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        args.run(args)
    except script.UserError as error:
        _complain(args.command, str(error), error.trace)
        return 2
    except BrokenPipeError:  # who read the output has seen enough, as in ``doctor | head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Mistake, TinygraphError, OSError) as error:
        _complain(args.command, str(error))
        return 2
    except KeyboardInterrupt:
        _complain(args.command, "interrupted; what is written so far is whole")
        return 130
    return 0


# -- commands -------------------------------------------------------------------------------------


def _draw(args: argparse.Namespace) -> None:
    targets = _targets(args)
    if not targets and not args.open:
        raise Mistake("nowhere to write to; add -o picture.svg, or --open to look at it")
    if args.rest:
        raise Mistake(f"there is one file and one name; join them with a colon: {args.file}:{args.rest[0]}")
    looks = _looks(args)
    with script.running(args.file) as run:
        thing = script.drawable(run)
        if not isinstance(thing, Picture):
            thing = _picture(thing, names=run.names, **looks)
        elif looks:
            option = f"--{next(iter(looks)).replace('_', '-')}"
            raise Mistake(f"{args.file} is a finished Picture, which {option} cannot change; name its Tensor instead")
    _write(thing, targets, args)


def _demo(args: argparse.Namespace) -> None:
    targets = _targets(args) or _checked([f"{args.name}.html"], None)
    y, names = demos.DEMOS[args.name]()
    _write(_picture(y, **{"names": names, "title": demos.TITLES[args.name], **_looks(args)}), targets, args)
    lines = ["", "Try next:"]
    if not args.open:
        lines.append("  open the file in a browser; in .html the arrow keys step forward and backward")
    lines += [f"  {CALL} demo {args.name} --mode lanes -o lanes.html", f"  {CALL} demo {_other(args.name)} --open"]
    _say("\n".join([*lines, f"  {CALL} draw YOUR_FILE.py:y -o y.html"]))


def _doctor(args: argparse.Namespace) -> None:
    from ..picture import checkup  # noqa: PLC0415 -- starts programs; only this command needs it

    system = f"{platform.system()} {platform.machine()}"
    _say(f"tinygraph {_version()}, Python {platform.python_version()}, NumPy {np.__version__}, {system}")
    findings, topic = checkup.report(), ""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            _say(f"\n{topic}")
        remedy = f": {finding.remedy}" if finding.remedy else ""
        _say(f"  {MARKS[finding.state]}  {finding.name:{width}}  {finding.text}{remedy}")


def _picture(outputs: Any, **options: Any) -> Picture:
    with _plain_warnings():
        return draw(outputs, **options)


def _write(picture: Picture, targets: list[Path], args: argparse.Namespace) -> None:
    """Save the picture everywhere and say where; open the first file that a browser shows."""
    for target in targets:
        with _plain_warnings():
            _say(str(picture.save(target, **({} if args.dpi is None else {"dpi": args.dpi}))))
    if not args.open:
        return
    shown = [target for target in targets if target.suffix.lower() in VIEWABLE]
    if not shown:
        _say(str(picture.show()))
        return
    import webbrowser  # noqa: PLC0415 -- rarely wanted

    if not webbrowser.open(shown[0].as_uri()):
        raise Mistake(f"--open: no browser starts here; open {shown[0]} yourself")


# -- arguments ------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog.removeprefix('python -m ')}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    how: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser(prog=CALL, description="Pictures of computation graphs: values and gradients on one page.",
                     epilog=f"start with:  {CALL} demo batchnorm -o bn.html --open", **how)  # fmt: skip
    parser.add_argument("--version", action="version", version=f"tinygraph {_version()}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="{draw,demo,doctor}")

    make = commands.add_parser("draw", help="draw what a Python file computes", **how, description=(
        "Runs FILE.py and draws NAME: a Tensor, a list of Tensors, a Graph, a Picture, or a function\n"
        "without required arguments that returns one of them. Without NAME: the only such thing in the file.\n"
        'What stands below  if __name__ == "__main__":  is not run.'), epilog=(
        f"examples:\n  {CALL} draw bn.py:y -o bn.svg\n"
        f"  {CALL} draw bn.py:y -o bn.html -o bn.png --mode lanes --theme dark --dpi 192\n"
        f'  {CALL} draw net.py:loss -o net.svg --collapse attention --collapse "layer1/*"'))  # fmt: skip
    make.add_argument("file", metavar="FILE.py:NAME", help="a Python file, and the name to draw in it")
    make.add_argument("rest", nargs="*", default=[], help=argparse.SUPPRESS)
    make.set_defaults(run=_draw)

    demo = commands.add_parser("demo", help="draw a small graph; needs nothing but the install", **how,
        description="Draws a small graph of fixed numbers, with its gradients.",
        epilog=f"examples:\n  {CALL} demo batchnorm -o bn.html --open\n  {CALL} demo mlp --mode lanes -o mlp.svg")  # fmt: skip
    demo.add_argument(
        "name", nargs="?", default="batchnorm", choices=list(demos.DEMOS), help="which (default: batchnorm)"
    )
    demo.set_defaults(run=_demo)

    for command in (make, demo):
        _add_looks(command)
    commands.add_parser("doctor", help="what this machine can draw, and what to install",
                        description="Tries every engine and format; says what is missing and how to get it.",
                        ).set_defaults(run=_doctor)  # fmt: skip
    return parser


def _add_looks(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    suffixes = " ".join(SUFFIXES)
    add(
        "-o",
        "--output",
        action="append",
        default=[],
        metavar="FILE",
        help=f"where to write; may be repeated; {suffixes}",
    )
    add("--open", action="store_true", help="show the picture in the browser")
    add("--mode", choices=MODES, help="what to draw (default: both)")
    add("--theme", choices=THEMES, help="colours; auto follows the reader's setting (default: light)")
    add("--rankdir", choices=RANKDIRS, help="from left to right, or from top to bottom (default: auto)")
    add("--values", choices=VALUES, help="what stands for an array (default: auto)")
    add("--precision", type=int, metavar="N", help="decimals (default: 2)")
    add("--title", metavar="TEXT", help="title of the picture (default: the names of the outputs)")
    add(
        "--collapse",
        action="append",
        metavar="WHAT",
        help="scopes to fold: all, none, a depth, or a pattern, which may be repeated",
    )
    add("--max-nodes", type=_limit, metavar="N", help="fold scopes beyond N ops and tensors, or none (default: 400)")
    add("--engine", choices=ENGINES, help="what lays the picture out (default: auto)")
    add("--timeout", type=float, metavar="S", help="seconds that the engine has (default: 30)")
    add("--dpi", type=int, metavar="N", help="dots per inch of a .png (default: 144)")


def _limit(text: str) -> int:
    return sys.maxsize if text == "none" else int(text)


_limit.__name__ = "number of nodes"  # argparse: invalid number of nodes value


def _looks(args: argparse.Namespace) -> dict[str, Any]:
    """The parameters of ``draw`` that the user gave; all others keep their defaults."""
    looks = {name: value for name in LOOKS if (value := getattr(args, name)) is not None}
    if looks.get("max_nodes") == sys.maxsize:
        looks["max_nodes"] = None
    if args.collapse is not None and len(args.collapse) == 1:
        (word,) = args.collapse
        looks["collapse"] = {"all": True, "none": False}.get(word, int(word) if word.isdecimal() else args.collapse)
    return looks


def _targets(args: argparse.Namespace) -> list[Path]:
    return _checked(args.output, args.dpi)


def _checked(outputs: Sequence[str], dpi: int | None) -> list[Path]:
    """Absolute paths to write to. Checked before the user's file runs, which may take long."""
    targets = [Path(output).absolute() for output in outputs]
    suffixes = " ".join(SUFFIXES)
    for output, target in zip(outputs, targets, strict=True):
        if target.is_dir():
            raise Mistake(f"-o {output}: that is a folder; add a file name, e.g. {Path(output) / 'picture.svg'}")
        if not target.suffix:
            raise Mistake(f"-o {output}: the suffix says the format; choose one of {suffixes}, e.g. {output}.svg")
        if target.suffix.lower() not in SUFFIXES:
            raise Mistake(f"-o {output}: there is no format {target.suffix}; choose one of {suffixes}")
        if not target.parent.is_dir():
            raise Mistake(f"-o {output}: there is no folder {target.parent}; create it first")
    if dpi is not None and targets and not any(target.suffix.lower() == ".png" for target in targets):
        raise Mistake("--dpi is for .png, and the other formats have no dots; leave it out, or add -o picture.png")
    return targets


# -- words ----------------------------------------------------------------------------------------


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(command: str, problem: str, before: str = "") -> None:
    sys.stderr.write(f"{before}tinygraph {command}: {problem.removeprefix('tinygraph ')}\n")


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings of tinygraph itself are a line for the reader, not one for the author of a program."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        sys.stderr.write(f"tinygraph: warning: {message}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _version() -> str:
    return tinygraph.__version__


def _other(name: str) -> str:
    names = list(demos.DEMOS)
    return names[(names.index(name) + 1) % len(names)]
