"""MNIST from the files of its authors: IDX, packed or not."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, DataMissing
from .arrays import Array, Dataset
from .files import Where, at_end, exactly, fetch, finish, folder, opened, part_of

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_AXES = 4

_ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FILES = {
    "train": {
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
    },
    "test": {
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    },
}


def read_idx(path: str | os.PathLike[str], *, limit: int = 2**28) -> Array:
    """The array in an IDX file; one whose name ends in ``.gz`` is unpacked.

    Layout: two zero bytes, the type (0x08 unsigned byte … 0x0E double), the number of axes (1 to 4), the
    length of each as a big-endian uint32, the elements in C order, big-endian. The file must end there,
    and the elements take ``limit`` bytes at most, which is compared before any of them is read.

    Raises: DataError for a file that is anything else; DataMissing for none.
    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", file formats.

    >>> import pathlib, tempfile, tinygraph as tg
    >>> with tempfile.TemporaryDirectory() as where:
    ...     file = pathlib.Path(where, "three.idx")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     tg.data.read_idx(file).tolist()
    [7, 8, 9]
    """
    path = Path(path)
    if not path.exists():
        raise DataMissing(f"read_idx({path}): there is no such file; give the path of an IDX file")
    packed = path.suffix == ".gz"
    with opened(path, unzip=packed) as (file, on_disk):
        zero, kind, axes = np.frombuffer(exactly(file, 4, path, "its header"), np.dtype(">u2, u1, u1"))[0].item()
        if zero or kind not in _TYPES or not 1 <= axes <= _AXES:
            raise DataError(f"{path}: is no IDX file, its first bytes are {zero:04x} {kind:02x} {axes:02x}")
        shape = [int(n) for n in np.frombuffer(exactly(file, 4 * axes, path, "its header"), ">u4")]
        dtype = np.dtype(_TYPES[kind])
        size = math.prod(shape) * dtype.itemsize
        # NumPy multiplies the axes that are not 0 also for an empty array.
        if size > limit or math.prod(n for n in shape if n) > limit:
            raise DataError(
                f"{path}: promises {size} bytes, {shape}; read_idx takes {limit}, raise limit if they are meant"
            )
        if not packed and on_disk != 4 + 4 * axes + size:
            raise DataError(f"{path}: has {on_disk} bytes, its header says {4 + 4 * axes + size}; fetch the file again")
        data = exactly(file, size, path, "its elements")
        at_end(file, path)
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def load_mnist(
    path: Where = None, part: str = "train", *, images: bool = False, dtype: Any = np.float64, download: bool = False
) -> Dataset:
    """Handwritten digits of 28 × 28 pixels: x [N, 784] in [0, 1], y [N] the digit.

    ``part`` is "train" (60,000 examples) or "test" (10,000). With ``images``, x is [N, 1, 28, 28]; an
    integer ``dtype`` keeps the pixels as they are, 0 to 255. The files, named as their authors did and
    packed or not, lie in the folder ``path``, or in ``mnist`` under $TINYGRAPH_DATA or ~/.cache/tinygraph.
    ``download`` fetches those that are missing with pooch, and compares checksums.

    Raises: DataMissing if a file is not there; DataError if it is broken; MissingExtra without pooch.
    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998).
    """
    where, files = folder(path, "mnist"), _FILES[part_of("load_mnist", part)]
    advice = f"put {' and '.join(files)} (or the unpacked files) into {where}"
    missing = {name: (_ADDRESS + name, md5) for name, md5 in files.items() if _find(where, name) is None}
    if missing:
        fetch("load_mnist", where, missing, advice, download)
    pixels, labels = (read_idx(_find(where, name) or where / name) for name in files)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (28, 28) or not len(pixels):
        raise DataError(f"{where}: the images are {pixels.dtype}{list(pixels.shape)}; MNIST's are uint8[N, 28, 28]")
    if labels.dtype != np.uint8 or labels.shape != pixels.shape[:1] or (labels > 9).any():
        raise DataError(
            f"{where}: the labels must be one digit for each of {len(pixels)} images; fetch the files again"
        )
    return finish(pixels[:, None], labels, images, dtype, 255)


def _find(where: Path, name: str) -> Path | None:
    """The file, packed or not, under either of the spellings in use."""
    plain = name.removesuffix(".gz")
    names = [name, plain, name.replace("-idx", ".idx"), plain.replace("-idx", ".idx")]
    return next((where / n for n in names if (where / n).exists()), None)
