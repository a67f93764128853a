"""What the tests of the experiments share."""

from __future__ import annotations

import copy
import importlib
import json
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
if str(ROOT) not in sys.path:  # the examples are no part of the package that is installed
    sys.path.append(str(ROOT))


@pytest.fixture(scope="session")
def quick(tmp_path_factory):
    """``quick(name)``: the numbers of ``name --quick``, which is run once. What it saves is looked at here.

    Every test gets a copy of its own.
    """
    for package in ("matplotlib", "sklearn", "tqdm"):
        pytest.importorskip(package)

    @cache
    def run(name):
        module = importlib.import_module(f"examples.experiments.{name}")
        out = tmp_path_factory.mktemp(name)
        numbers = module.main(module.EXPERIMENT, ["--quick", "--out", str(out)])
        image, record = out / f"{name}.png", out / f"{name}.json"
        assert sorted(out.iterdir()) == [record, image]
        assert image.read_bytes().startswith(b"\x89PNG")
        saved = json.loads(record.read_text(encoding="utf-8"))
        assert saved["experiment"] == name
        assert saved["claim"] == module.EXPERIMENT.claim
        assert saved["numbers"] == numbers
        assert saved["finding"] == module.finding(saved["numbers"])
        return numbers

    return lambda name: copy.deepcopy(run(name))
