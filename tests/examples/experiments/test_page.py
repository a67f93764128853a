"""The page of the experiments says what the committed numbers say, and shows every experiment and no other."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

FOLDER = ROOT / "docs" / "experiments"
PAGE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))


def test_every_experiment_is_there():
    for package in ("matplotlib", "tqdm"):
        pytest.importorskip(package)
    written = {
        file.stem
        for file in (ROOT / "examples" / "experiments").glob("*.py")
        if file.stem not in ("__init__", "__main__", "common")
    }
    assert set(NAMES) == written
    assert {file.name for file in FOLDER.iterdir()} == {f"{name}{end}" for name in NAMES for end in (".json", ".png")}


@pytest.mark.parametrize("name", NAMES)
def test_the_page_quotes_the_finding(name):
    for package in ("matplotlib", "tqdm"):
        pytest.importorskip(package)
    experiment = importlib.import_module(f"examples.experiments.{name}").EXPERIMENT
    record = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert (record["quick"], record["data"]) == (False, "digits" if experiment.data else None)
    assert record["finding"] == experiment.finding(record["numbers"])
    assert f"*Claimed:* {experiment.claim}.\n" in PAGE
    assert f"*Found:* {record['finding']}.\n" in PAGE
    assert f"](experiments/{name}.png)" in PAGE
    assert f"`python -m examples.experiments.{name}`" in PAGE
    assert (FOLDER / f"{name}.png").stat().st_size < 120_000
