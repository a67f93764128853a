"""A plugin for the public suite, array-api-tests: it leaves out what Tensors don't have on purpose.

``pytest -p aat_allow`` with this folder on PYTHONPATH. Left out: the extensions, assignment to items, and methods
that a Tensor lacks, such as ``__isub__`` (``x -= y`` is ``x = x - y``).
"""

import re

from tinygraph import Tensor

EXTENSION = re.compile(r"\b(linalg|fft)[-.]")
METHOD = re.compile(r"__\w+?__")


def is_ours(nodeid):
    """Whether a test of the suite, by its id, is about something that Tensors have."""
    _, _, test = nodeid.partition("::")
    methods = METHOD.findall(test)
    if EXTENSION.search(test) or "setitem" in test:
        return False
    return all(hasattr(Tensor, method) for method in methods)


def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if not is_ours(item.nodeid)]
    items[:] = [item for item in items if is_ours(item.nodeid)]
    config.hook.pytest_deselected(items=left_out)
