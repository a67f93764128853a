"""Mini-batches in an order that a seed and an epoch fix, so that a run can be stopped and resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError
from .arrays import Array, Dataset

_SEEDS = 2**63


class Batches:
    """The mini-batches of a Dataset: one epoch for each ``for`` over it.

    ``size`` examples a batch; the last is smaller, or left out with ``drop_last``. With ``shuffle`` each
    epoch has its own order, which depends on the seed, the epoch and the number of examples alone, on
    every machine and version. ``rng`` is a seed, a Generator that one is drawn from, or None for a new one.

    A loop that is left early starts its epoch again next time. ``state_dict`` taken inside a loop counts
    the batches handed out, and after ``load_state_dict`` the next loop goes on with the one that follows.

    Raises: ArgumentError for a size below 1, for something else than a Dataset, for a bad ``rng``, and
    where ``drop_last`` would leave nothing.

    >>> import numpy as np, tinygraph as tg
    >>> data = tg.data.Dataset(x=np.arange(5))
    >>> batches = tg.data.Batches(data, 2, rng=0)
    >>> len(batches), sorted(int(i) for (x,) in batches for i in x), batches.epoch
    (3, [0, 1, 2, 3, 4], 1)
    """

    def __init__(
        self,
        dataset: Dataset,
        size: int,
        shuffle: bool = True,
        rng: np.random.Generator | int | None = None,
        drop_last: bool = False,
    ) -> None:
        if not isinstance(dataset, Dataset):
            raise ArgumentError(f"Batches({type(dataset).__name__}): give a Dataset; write Dataset(x=…, y=…)")
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ArgumentError(f"Batches(size={size!r}): a batch has 1 example or more")
        if drop_last and size > len(dataset):
            raise ArgumentError(f"Batches(size={size}, drop_last=True): {len(dataset)} examples make no whole batch")
        self.dataset = dataset
        self.size = int(size)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.seed = _seed(rng)
        self.epoch = 0
        self._position = self._start = 0

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        whole, rest = divmod(len(self.dataset), self.size)
        return whole + (rest > 0 and not self.drop_last)

    def order(self, epoch: int) -> Array:
        """The rows of the dataset in the order of an epoch."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        # The words of a bit generator never change between versions of NumPy; a permutation may.
        words = np.random.PCG64([self.seed, epoch]).random_raw(len(self.dataset))
        return np.argsort(words, kind="stable")

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        epoch, start = self.epoch, self._start
        self._start, self._position = 0, start
        order = self.order(epoch)
        for i in range(start, len(self)):
            self._position = i + 1
            yield self.dataset[order[i * self.size : (i + 1) * self.size]]
        self.epoch, self._position = epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands, as integers by name."""
        return {"epoch": self.epoch, "position": self._position, **self._settings()}

    def _settings(self) -> dict[str, int]:
        return {
            "seed": self.seed,
            "size": self.size,
            "shuffle": int(self.shuffle),
            "drop_last": int(self.drop_last),
            "examples": len(self.dataset),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken; the seed is taken over, all else must be as it was.

        Raises: ArgumentError for other names, for values that are no counts, and for another size of
        batch or data set; then nothing has changed.
        """
        mine = self.state_dict()
        if set(state) != set(mine):
            raise ArgumentError(
                f"Batches.load_state_dict({', '.join(sorted(map(str, state)))}): the names are {', '.join(sorted(mine))}"
            )
        new = {name: _count(name, state[name]) for name in mine}
        for name in ("size", "shuffle", "drop_last", "examples"):
            if new[name] != mine[name]:
                raise ArgumentError(
                    f"Batches.load_state_dict({name}={new[name]}): here it is {mine[name]}; resume with the same batches"
                )
        if new["position"] > len(self):
            raise ArgumentError(
                f"Batches.load_state_dict(position={new['position']}): an epoch has {len(self)} batches"
            )
        self.seed, self.epoch = new["seed"], new["epoch"]
        self._position = self._start = new["position"]

    def __repr__(self) -> str:
        return f"Batches({len(self)} of {self.size} examples, seed={self.seed}, epoch={self.epoch})"


def _seed(rng: Any) -> int:
    if rng is None or isinstance(rng, np.random.Generator):
        return int(np.random.default_rng(rng).integers(_SEEDS))
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and 0 <= rng < _SEEDS:
        return int(rng)
    raise ArgumentError(f"Batches(rng={rng!r}): give a seed from 0 to 2**63 - 1, a Generator, or None")


def _count(name: str, value: Any) -> int:
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "iu" or not 0 <= array < _SEEDS:
        raise ArgumentError(f"Batches.load_state_dict({name}={value!r:.60}): give an integer of 0 or more")
    return int(array)
