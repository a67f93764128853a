"""Reading data files that nobody vouches for: where they lie, how much is read, what is said when they are bad."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from ..errors import ArgumentError, DataError, DataMissing, DTypeError, TinygraphError
from .arrays import Array, Dataset

Where = str | os.PathLike[str] | None


def folder(path: Where, name: str) -> Path:
    """The folder that is given, or ``name`` in the cache: $TINYGRAPH_DATA, or ~/.cache/tinygraph."""
    if path is not None:
        return Path(path).expanduser()
    cache = os.environ.get("TINYGRAPH_DATA")
    return (Path(cache) if cache else Path.home() / ".cache" / "tinygraph").expanduser() / name


@contextmanager
def opened(path: Path, unzip: bool = False) -> Iterator[tuple[IO[bytes], int]]:
    """A regular file for reading, with its size; unpacked on the way with ``unzip``.

    Raises: DataError for what is no regular file, and for all that goes wrong while it is read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is no regular file; give the data file itself")
        with path.open("rb") as file:
            if unzip:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield cast(IO[bytes], unpacked), os.fstat(file.fileno()).st_size
            else:
                yield file, os.fstat(file.fileno()).st_size
    except TinygraphError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); fetch the file again") from error


def exactly(file: IO[bytes], n: int, path: object, what: str) -> bytes:
    """The next ``n`` bytes; DataError if there are fewer."""
    data = file.read(n)
    if len(data) != n:
        raise DataError(f"{path}: ends within {what}, {len(data)} bytes of {n}; fetch the file again")
    return data


def at_end(file: IO[bytes], path: object) -> None:
    """DataError if anything follows; a packed file's checksum is compared here."""
    if file.read(1):
        raise DataError(f"{path}: is longer than its header says; fetch the file again")


class Limited:
    """A stream that gives ``limit`` bytes at most, in all, and then DataError."""

    def __init__(self, file: IO[bytes], limit: int, path: object) -> None:
        self._file = file
        self._left = limit
        self._path = path

    def read(self, n: int = -1) -> bytes:
        data = self._file.read(self._left + 1 if n < 0 else min(n, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self._path}: unpacks to more than such a file holds; fetch the file again")
        return data


def finish(pixels: Array, labels: Array, images: bool, dtype: Any, top: int) -> Dataset:
    """Pixels [N, C, H, W] and labels as a Dataset: floats in [0, 1], or integers from 0 to ``top``."""
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"load({dtype!r}): this is no dtype; give dtype=np.float64") from error
    if kind.kind not in "fiu" or (kind.kind != "f" and top > np.iinfo(kind).max):
        raise DTypeError(f"load({kind}): pixels are floats, or integers from 0 to {top}; give dtype=np.float64")
    x = pixels if images else pixels.reshape(len(pixels), -1)
    x = x.astype(kind)
    if kind.kind == "f":
        x /= top
    return Dataset(x=x, y=labels.astype(np.int64))


def part_of(call: str, part: str) -> str:
    if part not in ("train", "test"):
        raise ArgumentError(f"{call}(part={part!r}): there is no such part; write 'train' or 'test'")
    return part


def fetch(call: str, where: Path, files: Mapping[str, tuple[str, str]], advice: str, download: bool) -> None:
    """Download missing files {name: (address, checksum)} into a folder with pooch, which compares the checksums.

    Raises: DataMissing if that is not wanted, or fails, with what to put where; MissingExtra without pooch.
    """
    if not download:
        raise DataMissing(f"{call}: {', '.join(files)} is not in {where}; {advice}, or pass download=True")
    from ..testing.extras import need  # noqa: PLC0415 -- only where a package may be missing

    pooch = need("pooch", "examples", f"{call}(download=True)")
    for name, (address, checksum) in files.items():
        try:
            pooch.retrieve(address, known_hash=checksum, fname=name, path=where, progressbar=False)
        except Exception as error:  # no connection, a wrong checksum, a full disk: pooch lets them all through
            raise DataMissing(f"{call}: {address} could not be fetched ({error}); {advice}") from error
