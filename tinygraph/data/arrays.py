"""Arrays that belong together: row i of each describes example i."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..errors import ArgumentError, DTypeError, ShapeError

Array = np.ndarray[Any, Any]


class Dataset:
    """Named arrays with the same number of rows: ``Dataset(x=images, y=labels)``.

    ``len(data)`` is the number of examples, ``data["x"]`` an array, ``x, y = data[:100]`` rows of all of
    them, by an integer, a slice, an array of integers or a mask. The arrays are kept without a copy and
    handed out read-only: do not write to the originals.

    Raises: ArgumentError without an array; ShapeError for a number of rows that differs, or an array
    without axes; DTypeError for objects and strings.

    >>> import numpy as np, tinygraph as tg
    >>> data = tg.data.Dataset(x=np.arange(8.0).reshape(4, 2), y=np.array([0, 1, 0, 1]))
    >>> data
    Dataset(4 examples: x float64[4,2], y int64[4])
    >>> x, y = data[1:3]
    >>> x.tolist(), y.tolist()
    ([[2.0, 3.0], [4.0, 5.0]], [1, 0])
    """

    def __init__(self, **arrays: Any) -> None:
        if not arrays:
            raise ArgumentError("Dataset(): holds no array; give at least one by name, Dataset(x=…, y=…)")
        self._arrays = {name: _locked(name, value) for name, value in arrays.items()}
        lengths = {name: len(array) for name, array in self._arrays.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
            raise ShapeError(f"Dataset({listed}): the numbers of rows differ; give one row for each example")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays, in the order in which rows are handed out."""
        return tuple(self._arrays)

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            key = _rows(key)
            return tuple(array[key] for array in self._arrays.values())
        if key not in self._arrays:
            raise ArgumentError(f"Dataset[{key!r}]: there is no such array; it has {', '.join(self.names)}")
        return self._arrays[key]

    def take(self, rows: Any) -> Dataset:
        """The Dataset of some examples: by a slice, an array of integers or a mask."""
        if isinstance(rows, (int, np.integer)):
            raise ArgumentError(f"Dataset.take({rows}): give a slice or a list; write take([{rows}])")
        return Dataset(**dict(zip(self.names, self[rows], strict=True)))

    def split(self, fractions: Sequence[float], rng: np.random.Generator | int | None = None) -> tuple[Dataset, ...]:
        """Parts without a common example, their sizes as ``fractions``, which sum to 1.

        With ``rng``, a Generator or a seed, the examples are shuffled first; without, they stay in order.

        Raises: ArgumentError for fractions that are negative or do not sum to 1.

        >>> import numpy as np, tinygraph as tg
        >>> train, test = tg.data.Dataset(x=np.arange(10)).split([0.8, 0.2], rng=0)
        >>> len(train), len(test)
        (8, 2)
        """
        parts = [float(f) for f in fractions]
        if not parts or not all(0 <= f <= 1 for f in parts) or abs(math.fsum(parts) - 1) > 1e-9:
            raise ArgumentError(f"Dataset.split({parts}): fractions are 0 or more and sum to 1, e.g. [0.8, 0.2]")
        n = len(self)
        order: Any = np.arange(n) if rng is None else np.random.default_rng(rng).permutation(n)
        cuts = [round(n * math.fsum(parts[: i + 1])) for i in range(len(parts) - 1)]
        return tuple(self.take(rows) for rows in np.split(order, cuts))

    def standardise(
        self, name: str | None = None, *, by: Dataset | None = None, axis: int | tuple[int, ...] = 0
    ) -> Dataset:
        """The Dataset with one array centred and scaled: (x - mean) / std, both over ``axis`` of ``by``.

        ``name`` is the first array if it is left out. Give test data ``by=train``: they are scaled by
        the numbers of the training data. Where the deviation is 0, x is only centred.

        Raises: ArgumentError for an unknown name; DTypeError for an array that is not float.

        >>> import numpy as np, tinygraph as tg
        >>> data = tg.data.Dataset(x=np.array([[1.0, 5.0], [3.0, 5.0]])).standardise()
        >>> data["x"].tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
        """
        name = self.names[0] if name is None else name
        x, source = self[name], (self if by is None else by)[name]
        for array in (x, source):
            if array.dtype.kind != "f":
                raise DTypeError(f"Dataset.standardise({name} {array.dtype}): only floats are scaled; cast it first")
        mean = source.mean(axis=axis, keepdims=True, dtype=np.float64)
        std = source.std(axis=axis, keepdims=True, dtype=np.float64)
        scaled = (x - mean) / np.where(std > 0, std, 1.0)
        return Dataset(**(self._arrays | {name: scaled.astype(x.dtype)}))

    def __repr__(self) -> str:
        listed = (f"{name} {a.dtype}[{','.join(map(str, a.shape))}]" for name, a in self._arrays.items())
        return f"Dataset({len(self)} examples: {', '.join(listed)})"


def _locked(name: str, value: Any) -> Array:
    array: Array = (value.numpy() if isinstance(value, Tensor) else np.asarray(value)).view()
    if array.dtype.kind not in "fiubc":
        raise DTypeError(f"Dataset({name} {array.dtype}): an array holds numbers; encode it first")
    if array.ndim == 0:
        raise ShapeError(f"Dataset({name}): a single number has no rows; give one row for each example")
    array.flags.writeable = False
    return array


def _rows(key: Any) -> Any:
    """A list as an array, so that an empty one is no array of floats; anything but rows is refused."""
    rows = np.asarray(key, np.intp) if isinstance(key, list) and not key else key
    rows = np.asarray(rows) if isinstance(rows, list) else rows
    if isinstance(rows, (slice, int, np.integer)) and not isinstance(rows, bool):
        return rows
    if isinstance(rows, np.ndarray) and rows.ndim == 1 and rows.dtype.kind in "iub":
        return rows
    raise ArgumentError(f"Dataset[{key!r:.60}]: rows are an integer, a slice, a list of integers or a mask")
