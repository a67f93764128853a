"""All the experiments, one after the other: ``python -m examples.experiments [NAME …] [--list]``, and their options."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

from . import __path__ as folder
from .common import DATA, Experiment, Settings, add_options, perform


def experiments() -> dict[str, Experiment]:
    """Every experiment by its name: the modules of this folder that have one."""
    names = [found.name for found in pkgutil.iter_modules(folder) if found.name != "__main__"]
    modules = {name: importlib.import_module(f".{name}", __package__) for name in names}
    return {name: module.EXPERIMENT for name, module in modules.items() if hasattr(module, "EXPERIMENT")}


def main(argv: list[str] | None = None) -> None:
    """The command."""
    known = experiments()
    parser = argparse.ArgumentParser(
        "python -m examples.experiments", description="Run the experiments, or those named."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones (default: all; --list shows them)")
    parser.add_argument("--list", action="store_true", help="show the names and what is claimed, and run nothing")
    add_options(parser, DATA)
    asked = parser.parse_args(argv)
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"there is no experiment {unknown[0]!r}; choose from {', '.join(known)}")
    chosen = {name: known[name] for name in asked.names or known}
    if asked.list:
        width = max(map(len, chosen))
        print("\n".join(f"{name:{width}}  {experiment.claim}" for name, experiment in chosen.items()))
        return
    perform_all(chosen, asked)


def perform_all(chosen: dict[str, Experiment], asked: argparse.Namespace) -> None:
    """One after the other; those that cannot take the data asked for are left out, which is said."""
    left = list(chosen)
    try:
        for name, experiment in chosen.items():
            print(f"\n{name}")
            if experiment.data and asked.data not in experiment.data:
                print(f"left out: it takes {' or '.join(experiment.data)}, not {asked.data}")
            else:
                data = asked.data if experiment.data else Settings.data
                perform(
                    experiment, Settings(name, data, asked.quick, asked.out, asked.seed, asked.download, asked.compile)
                )
            left.remove(name)
    except KeyboardInterrupt:
        sys.exit(f"\nstopped; with the names {' '.join(left)} the same command goes on where it was")


if __name__ == "__main__":
    main()
