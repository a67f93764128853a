"""What all processes of a job must have in common, and who does not."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import zip_longest

import numpy as np

from ..errors import DistributedError

WIDTH = 120  # of a line in a message


def gather(text: str) -> list[str]:
    """The texts of all processes, in their order; every process has to call it."""
    from jax.experimental.multihost_utils import process_allgather  # noqa: PLC0415

    raw = np.frombuffer(text.encode(), np.uint8)
    sizes = process_allgather(np.array([raw.size], np.int32)).reshape(-1)
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: raw.size] = raw
    rows = process_allgather(padded).reshape(len(sizes), -1)
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def agree(head: str, parts: Mapping[str, str], remedy: str) -> None:
    """Nothing, where every process has the same texts under the same names; every process has to call it.

    Raises: DistributedError, on all of them, that names the processes that differ from most, and in what.
    """
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in parts.items()}
    found = [json.loads(text) for text in gather(json.dumps(digests))]
    if all(other == found[0] for other in found):
        return
    usual = found.index(json.loads(Counter(map(json.dumps, found)).most_common(1)[0][0]))
    odd = [k for k, other in enumerate(found) if other != found[usual]]
    names = [n for n in {**found[usual], **found[odd[0]]} if found[usual].get(n) != found[odd[0]].get(n)]
    texts = gather(parts.get(names[0], "nothing"))
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    raise DistributedError(
        f"{head}: process {' and '.join(map(str, odd))} of {len(found)} differs from process {usual} in {names[0]}{more}: "
        f"{_difference(texts[odd[0]], texts[usual])}; {remedy}"
    )


def _difference(here: str, there: str) -> str:
    """The first line in which two texts differ."""
    for a, b in zip_longest(here.splitlines(), there.splitlines(), fillvalue="nothing"):
        if a != b:
            return f"{a.strip()[:WIDTH]}, and not {b.strip()[:WIDTH]}"
    return "in white space"


def by_first(write: Callable[[], None]) -> None:
    """Run it on process 0, while the others wait; it is run where there is one process."""
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized():
        write()
        return
    if jax.process_index() == 0:
        write()
    gather("written")
