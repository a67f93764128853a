"""``docs/conventions.md`` is the table that these tests check."""

import os
from pathlib import Path

from conventions.table import page

DOCS = Path(__file__).parents[2] / "docs" / "conventions.md"


def test_the_page_is_the_table():
    if os.environ.get("TINYGRAPH_RENEW"):
        DOCS.write_text(page(), encoding="utf-8", newline="\n")
    assert DOCS.read_text(encoding="utf-8") == page()
