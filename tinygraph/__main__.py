"""``python -m tinygraph``."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from .cli import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console of another encoding shows "?", and goes on
    sys.exit(main())
