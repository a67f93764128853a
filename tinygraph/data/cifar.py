"""CIFAR-10 from the files of its authors: the binary and the python version, as folders or archives."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

from ..errors import DataError, DataMissing
from .arrays import Array, Dataset
from .files import Limited, Where, at_end, exactly, fetch, finish, folder, opened, part_of
from .pickled import array_of, read_pickle

_PIXELS = 3 * 32 * 32
_EXAMPLES = 10_000  # of a batch
_MEMBERS = 100  # of an archive; the original has 9


class _Version(NamedTuple):
    archive: str
    folder: str
    suffix: str
    limit: int  # bytes of one batch


_BINARY = _Version("cifar-10-binary.tar.gz", "cifar-10-batches-bin", ".bin", _EXAMPLES * (1 + _PIXELS))
_PYTHON = _Version("cifar-10-python.tar.gz", "cifar-10-batches-py", "", 2 * _EXAMPLES * (1 + _PIXELS))
_PARTS = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_SOURCE = {
    _BINARY.archive: (
        f"https://www.cs.toronto.edu/~kriz/{_BINARY.archive}",
        "md5:c32a1d4ab5d03f1284b67883e8d87530",
    )
}


def load_cifar10(
    path: Where = None, part: str = "train", *, images: bool = False, dtype: Any = np.float64, download: bool = False
) -> Dataset:
    """Photographs of 32 × 32 pixels in 10 classes: x [N, 3072] in [0, 1], y [N] the class, 0 to 9.

    ``part`` is "train" (50,000 examples) or "test" (10,000). With ``images``, x is [N, 3, 32, 32]; an
    integer ``dtype`` keeps the pixels as they are, 0 to 255. In the folder ``path``, or in ``cifar10`` under
    $TINYGRAPH_DATA or ~/.cache/tinygraph, lies one of: cifar-10-binary.tar.gz, cifar-10-python.tar.gz, or
    what they unpack to. Archives are read in place, and nothing in a file can run code. ``download``
    fetches the binary archive with pooch, and compares its checksum.

    Raises: DataMissing if nothing is there; DataError if a file is broken; MissingExtra without pooch.
    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).
    """
    where, wanted = folder(path, "cifar10"), _PARTS[part_of("load_cifar10", part)]
    batches = _look(where, wanted)
    if batches is None:
        fetch("load_cifar10", where, _SOURCE, f"put {_BINARY.archive} or {_PYTHON.archive} into {where}", download)
        batches = _from_archive(where / _BINARY.archive, _BINARY, wanted)
    pixels = np.concatenate([x for x, _ in batches]).reshape(-1, 3, 32, 32)
    return finish(pixels, np.concatenate([y for _, y in batches]), images, dtype, 255)


_Batch = tuple[Array, Array]


def _look(where: Path, wanted: tuple[str, ...]) -> list[_Batch] | None:
    """The batches of the first version that is there: unpacked before packed, binary before python."""
    for version in (_BINARY, _PYTHON):
        for place in (where / version.folder, where):
            files = {name: place / (name + version.suffix) for name in wanted}
            if any(file.exists() for file in files.values()):
                return _from_folder(place, files, version)
    for version in (_BINARY, _PYTHON):
        if (where / version.archive).exists():
            return _from_archive(where / version.archive, version, wanted)
    return None


def _from_folder(place: Path, files: Mapping[str, Path], version: _Version) -> list[_Batch]:
    missing = [file.name for file in files.values() if not file.exists()]
    if missing:
        raise DataMissing(f"load_cifar10: {', '.join(missing)} is not in {place}; put all batches there")
    batches = []
    for file in files.values():
        with opened(file) as (stream, size):
            batches.append(_batch(stream, size, file, version))
    return batches


def _from_archive(path: Path, version: _Version, wanted: tuple[str, ...]) -> list[_Batch]:
    """The batches in an archive, read member by member in the order that they come in."""
    names = {f"{version.folder}/{name}{version.suffix}": name for name in wanted}
    found: dict[str, _Batch] = {}
    try:
        with opened(path, unzip=True) as (unpacked, _):
            stream = Limited(unpacked, 8 * version.limit, path)
            with tarfile.open(fileobj=cast(Any, stream), mode="r|", errorlevel=2) as archive:
                for member in _members(archive, path, 8 * version.limit):
                    if name := names.pop(member.name, None):
                        found[name] = _member(archive, member, f"{path}: {member.name}", version)
            while stream.read(1 << 16):  # to the end, where the checksum stands
                pass
    except DataError:
        raise
    except (tarfile.TarError, RecursionError, OverflowError, ValueError) as error:
        raise DataError(f"{path}: is no archive of CIFAR-10 ({error}); fetch it again") from error
    if names:
        raise DataError(f"{path}: has no {', '.join(names)}; fetch it again")
    return [found[name] for name in wanted]


def _members(archive: tarfile.TarFile, path: Path, limit: int) -> Iterator[tarfile.TarInfo]:
    """Each member of an archive once; DataError for too many, or too large a one."""
    seen: set[str] = set()
    for member in archive:
        archive.members = []  # type: ignore[attr-defined] # it would keep them all
        if member.name in seen or len(seen) == _MEMBERS:
            raise DataError(f"{path}: holds {member.name:.80} twice, or more than {_MEMBERS} files; fetch it again")
        seen.add(member.name)
        yield member
        if archive.offset > limit:  # of the next member, which would be sought for hours
            raise DataError(f"{path}: {member.name:.80} is too large; fetch the archive again")


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, version: _Version) -> _Batch:
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    file = archive.extractfile(member) if plain else None
    if file is None:
        raise DataError(f"{path}: is no plain file; fetch the archive again")
    return _batch(file, member.size, path, version)


def _batch(file: IO[bytes], size: int, path: object, version: _Version) -> _Batch:
    """Pixels [N, 3072] and labels [N] of one batch."""
    if size > version.limit:
        raise DataError(f"{path}: has {size} bytes, a batch of CIFAR-10 at most {version.limit}; fetch the file again")
    data = exactly(file, size, path, "the batch")
    at_end(file, path)
    pixels, labels = (_binary if version is _BINARY else _pickled)(data, path)
    if not len(labels) or (labels > 9).any():
        raise DataError(f"{path}: labels are from 0 to 9, one for each example; fetch the file again")
    return pixels, labels


def _binary(data: bytes, path: object) -> _Batch:
    """Records of a label and 3,072 pixels."""
    if len(data) % (1 + _PIXELS):
        raise DataError(f"{path}: {len(data)} bytes are no whole number of records; fetch the file again")
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


def _pickled(data: bytes, path: object) -> _Batch:
    """A dict with ``data``, an array of uint8, and ``labels``, a list."""
    content = read_pickle(data, path)
    fields = content if type(content) is dict else {}
    pixels = array_of(fields.get(b"data", fields.get("data")))
    labels = fields.get(b"labels", fields.get("labels"))
    if pixels is None or pixels.shape != (len(pixels), _PIXELS):
        raise DataError(f"{path}: has no array of {_PIXELS} pixels for each example; fetch the file again")
    if type(labels) is not list or len(labels) != len(pixels):
        raise DataError(f"{path}: has no list of labels, one for each example; fetch the file again")
    if not all(type(n) is int and 0 <= n <= 9 for n in labels):
        raise DataError(f"{path}: labels are from 0 to 9, one for each example; fetch the file again")
    return pixels, np.array(labels, np.uint8)
