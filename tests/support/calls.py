"""The registry as test cases: every example call of every primitive, and more than the records have."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygraph.core.primitive import REGISTRY
from tinygraph.testing.primitives import Shape, calls, rule_of

# Calls beside those of the records: array values for updates, bounds that are arrays, numbers as exponents.
EXTRA: dict[str, tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]] = {
    "add_at": (
        (((3, 3),), {"key": (slice(None), np.array([0, 2, 0])), "values": Shape((3, 3))}),
        (((3, 3),), {"key": (slice(1, None), None, 0), "values": Shape((2, 1))}),
    ),
    "set_at": (
        (((3, 3),), {"key": (slice(None), np.array([2, 0])), "values": Shape((3, 2))}),
        (((3, 3),), {"key": (slice(1, None), None, 0), "values": Shape(())}),
    ),
    "getitem": ((((2, 3, 4),), {"key": (np.array([[1], [0]]), slice(None), np.array([0, 3, 3]))}),),
    "clip": ((((2, 3), (3,), (2, 1)), {}),),
    "pow": ((((2, 3), 2), {}), (((2, 3), 3), {}), (((2, 3), 1), {}), (((2, 3), -1.5), {}), ((2.0, (2, 3)), {})),
    "concatenate": ((([(2, 1), (2, 2), (2, 3)],), {"axis": 1}),),
    "einsum": ((("ij,kj->ki", (2, 1), (3, 4)), {}), (("iij->j", (2, 2, 3)), {})),
    "mean": ((((3, 2, 2),), {"axis": 1}),),
    "prod": ((((2, 2, 3),), {"axis": (0, 2), "keepdims": True}),),
}

CALLS = [call for op in REGISTRY.values() for call in calls(op, extra=EXTRA.get(op.name, ()))]
# Through detach nothing flows on purpose; a draw has no operands.
SMOOTH = [c for c in CALLS if c.op.name != "detach" and c.draw(0).is_real]
RULED = [c for c in SMOOTH if c.draw(0).is_ruled]
PRIMITIVES = sorted({c.op.name for c in RULED})

__all__ = ["CALLS", "PRIMITIVES", "REGISTRY", "RULED", "SMOOTH", "parametrize", "rule_of"]


def parametrize(calls: list[Any]) -> Any:
    import pytest

    return pytest.mark.parametrize("call", calls, ids=str)
