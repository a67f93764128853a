"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Dataset
from .files import finish


def load_digits(*, images: bool = False, dtype: Any = np.float64) -> Dataset:
    """1,797 handwritten digits of 8 × 8 pixels: x [N, 64] in [0, 1], y [N] the digit.

    With ``images``, x is [N, 1, 8, 8]. An integer ``dtype`` keeps the pixels as they are, 0 to 16.
    Nothing is downloaded: the data are part of scikit-learn, the extra ``examples``.

    Raises: MissingExtra without scikit-learn.
    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998), the test set.

    >>> import tinygraph as tg
    >>> tg.data.load_digits()  # doctest: +SKIP
    Dataset(1797 examples: x float64[1797,64], y int64[1797])
    """
    from ..testing.extras import need  # noqa: PLC0415 -- only where a package may be missing

    bunch = need("sklearn.datasets", "examples", "load_digits()").load_digits()
    return finish(bunch.images.astype(np.uint8)[:, None], bunch.target, images, dtype, 16)
