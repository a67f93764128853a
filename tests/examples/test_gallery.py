"""The pictures of the docs are those that the script makes, to the byte.

Renew them after a wanted change, and look at every one::

    TINYGRAPH_RENEW=1 python -m pytest tests/examples/test_gallery.py
"""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"


def load():
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "examples" / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GALLERY = load()


@pytest.mark.parametrize("name", sorted(GALLERY.PICTURES))
def test_the_committed_picture_is_current(name, tmp_path):
    made = GALLERY.PICTURES[name]().save(tmp_path / name)
    if os.environ.get("TINYGRAPH_RENEW"):
        (IMAGES / name).write_bytes(made.read_bytes())
    assert made.read_text(encoding="utf-8") == (IMAGES / name).read_text(encoding="utf-8")


def test_the_docs_show_every_picture_and_no_other():
    assert {file.name for file in IMAGES.iterdir()} == set(GALLERY.PICTURES)
    page = (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")
    assert all(f"images/{name}" in page for name in GALLERY.PICTURES)


def test_pictures_are_small_enough_to_review():
    assert all((IMAGES / name).stat().st_size < 120_000 for name in GALLERY.PICTURES)


def test_the_script_writes_them_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gallery.py", "--out", str(tmp_path / "made")])
    monkeypatch.setattr(GALLERY, "PICTURES", {"softmax.svg": GALLERY.PICTURES["softmax.svg"]})
    GALLERY.main()
    assert (tmp_path / "made" / "softmax.svg").exists()
    assert "softmax.svg" in capsys.readouterr().out
