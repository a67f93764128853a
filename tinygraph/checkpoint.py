"""Nested dictionaries of arrays in one file that is whole or not there: ``save`` and ``load``.

The file is in the safetensors format, written and read here (8 bytes of header length, a JSON header, the arrays
end to end), so its arrays open in every program that knows the format. What the arrays belong to stands in the
header's ``__metadata__`` as JSON, beside a sha256 over that, the table of arrays and the data. Nothing is ever
executed on reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .core.tensor import Tensor
from .distributed.agreement import by_first
from .errors import CheckpointError, aval

__all__ = ["CheckpointError", "load", "save"]

Array = np.ndarray[Any, Any]

MAX_HEADER = 100_000_000  # bytes; the limit of the format's own library
MAX_DEPTH = 64
MAX_BITS = 8192  # of an integer
ALIGNMENT = 64  # of the data in the file, for who maps it into memory
STALE = 3600.0  # seconds after which an unfinished file of a killed process is swept away

_NAMES = {
    np.dtype(code): name
    for name, code in {
        "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4", "I32": "<i4",
        "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
    }.items()
}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def save(path: str | os.PathLike[str], /, **parts: Any) -> None:
    """Write the parts into one file, atomically: a reader finds the old file or the new one, never a half.

    A part is a dictionary (string keys, any depth up to 64), a list or tuple, an array, a number, a string, a
    boolean or None. What has a ``state_dict()`` gives that, a NumPy generator gives its state, a Tensor its values.
    Arrays may be bool, integer, float16, float32 or float64; a NumPy scalar becomes a 0-d array.
    A safetensors reader finds them as ``part/key/key``. Of several processes (:mod:`tinygraph.distributed`) every one
    calls it, the first writes what it has, and all return when the file is there.

    Raises: CheckpointError for what it cannot hold; OSError where the file cannot be written.

    >>> import numpy as np, tempfile, pathlib
    >>> from tinygraph import checkpoint
    >>> path = pathlib.Path(tempfile.mkdtemp(), "run.safetensors")
    >>> rng = np.random.default_rng(7)
    >>> checkpoint.save(path, model={"weight": np.ones(2)}, rng=rng, epoch=3)
    >>> found = checkpoint.load(path)
    >>> found["model"], found["epoch"]
    ({'weight': array([1., 1.])}, 3)
    >>> found["rng"] == rng.bit_generator.state
    True
    """
    arrays: dict[str, Array] = {}
    structure = json.dumps(_strip(parts, (), arrays), separators=(",", ":"))
    # Wide items first: then each array lies at a multiple of its item's size, without holes.
    ordered = sorted(arrays.items(), key=lambda item: -item[1].itemsize)
    metadata = {"tinygraph": "1", "structure": structure}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, end]}
    chunks = [array.reshape(-1).view(np.uint8).data for _, array in ordered]
    metadata["sha256"] = _digest(header, chunks)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise CheckpointError(
            f"save: names, numbers and texts take {len(text):,} bytes, at most {MAX_HEADER:,} fit; keep long lists of "
            "numbers as arrays"
        )
    by_first(lambda: _write(path, [len(text).to_bytes(8, "little"), text, *chunks]))


def load(path: str | os.PathLike[str], *, max_bytes: int = 1 << 34) -> dict[str, Any]:
    """What :func:`save` was given, as plain Python values and new arrays; the file is checked byte for byte.

    Nothing larger than ``max_bytes`` (16 GiB) is read.

    Raises: CheckpointError for a file that is truncated, damaged, hostile, too large or another program's;
    OSError where it cannot be read.
    """
    try:
        return _load(Path(path), max_bytes)
    except CheckpointError as error:
        raise CheckpointError(f"load({os.fspath(path)}): {error}") from error.__cause__


# -- writing ---------------------------------------------------------------------------------------


def _strip(value: Any, place: tuple[str, ...], arrays: dict[str, Array]) -> Any:
    """The value as JSON, its arrays moved out: a JSON list says first what it is, an object is a dictionary."""
    if len(place) > MAX_DEPTH:
        raise _refuse(place[:4], f"nested more than {MAX_DEPTH} deep", "a checkpoint holds a tree, not a circle")
    if isinstance(value, Tensor):
        value = value.numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        return ["array", _enter(value, place, arrays)]
    if isinstance(value, np.random.Generator):
        value = value.bit_generator.state
    elif callable(state := getattr(value, "state_dict", None)):
        value = state()
    if isinstance(value, Mapping):
        if wrong := [key for key in value if type(key) is not str]:
            raise _refuse(place, f"the key {wrong[0]!r} is no string", f"write {str(wrong[0])!r}")
        return {key: _strip(item, (*place, key), arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_strip(item, (*place, str(k)), arrays) for k, item in enumerate(value)]
        return ["tuple" if isinstance(value, tuple) else "list", *items]
    if value is not None and type(value) not in (bool, int, float, str):
        raise _refuse(place, f"a {type(value).__name__} has no place in a file", "save arrays, numbers and strings")
    if type(value) is int and value.bit_length() > MAX_BITS:
        raise _refuse(place, f"an integer of {value.bit_length()} bits", f"at most {MAX_BITS} fit")
    return value


def _enter(value: Array | np.generic, place: tuple[str, ...], arrays: dict[str, Array]) -> str:
    """Put an array into the table, in the form of the file, under a readable name of its own."""
    if isinstance(value, np.ma.MaskedArray):
        raise _refuse(place, "a masked array would lose its mask", "save a.filled(value) and a.mask")
    array = np.asarray(value)
    little = array.dtype.newbyteorder("<")
    if little not in _NAMES:
        advice = "save a.real and a.imag" if array.dtype.kind == "c" else "convert it, e.g. to float64"
        raise _refuse(place, f"{aval(array.dtype, array.shape)} is no dtype of the format", advice)
    plain = name = "/".join(place).encode("utf-8", "backslashreplace").decode()
    count = 1
    while name in arrays or name == "__metadata__":  # ("a/b",) and ("a", "b") read alike
        name, count = f"{plain}~{count}", count + 1
    arrays[name] = np.asarray(array, dtype=little, order="C")
    return name


def _refuse(place: tuple[str, ...], what: str, advice: str) -> CheckpointError:
    return CheckpointError(f"save({'/'.join(place)}): {what}; {advice}")


def _digest(header: dict[str, Any], chunks: Iterable[Any]) -> str:
    """The checksum of everything but itself, independent of how the header is spelt."""
    metadata = {key: text for key, text in header["__metadata__"].items() if key != "sha256"}
    canonical = json.dumps({**header, "__metadata__": metadata}, sort_keys=True, separators=(",", ":"))
    total = hashlib.sha256(canonical.encode())
    for chunk in chunks:
        total.update(chunk)
    return total.hexdigest()


def _write(path: str | os.PathLike[str], chunks: Iterable[Any]) -> None:
    target = Path(os.path.realpath(path))  # a link stays one, and what it points to is replaced
    folder = target.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"save({os.fspath(path)}): there is no folder {folder}; make it first")
    if target.is_dir():
        raise IsADirectoryError(f"save({os.fspath(path)}): this is a folder; give the name of a file in it")
    if target.exists() and not target.is_file():  # a device would be replaced
        raise CheckpointError(f"save({os.fspath(path)}): this is no regular file; give the name of one")
    prefix = f".tinygraph-{zlib.crc32(os.fsencode(target.name)):08x}-"
    _sweep(folder, prefix)
    temporary = folder / f"{prefix}{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name, too, must outlive a power cut
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sweep(folder: Path, prefix: str) -> None:
    """Remove what processes that were killed while writing this file left behind."""
    for leftover in folder.glob(f"{prefix}*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE:
                leftover.unlink()


# -- reading ---------------------------------------------------------------------------------------


def _load(path: Path, max_bytes: int) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise CheckpointError("this is no regular file; give the file that save wrote")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise CheckpointError(f"{size:,} bytes are more than {max_bytes:,}; raise max_bytes if you trust the file")
        header = _header(file.read(8), size, file)
        metadata = _metadata(header)
        data = np.empty(_tile(header, size - file.tell()), np.uint8)
        if file.readinto(data.data) != data.size:
            raise CheckpointError("it became shorter while it was read; load it again")
    if _digest(header, [data.data]) != metadata["sha256"]:
        raise CheckpointError("the checksum is wrong, so the file was damaged or edited; take another copy")
    arrays = {name: _array(name, entry, data) for name, entry in header.items() if name != "__metadata__"}
    built = _build(_parse(metadata["structure"], "structure"), arrays)
    if arrays or not isinstance(built, dict):
        raise CheckpointError(f"its structure does not use {min(arrays, default='a dictionary')!r}; take another copy")
    return built


def _header(first: bytes, size: int, file: Any) -> dict[str, Any]:
    length = int.from_bytes(first, "little")
    opening = file.read(1) if len(first) == 8 else b""
    if opening != b"{":
        known = "empty" if not size else "truncated" if size < 10 else "no safetensors file"
        raise CheckpointError(f"this is {known}; give a file that save wrote")
    if length > MAX_HEADER:
        raise CheckpointError(
            f"a header of {length:,} bytes is over the limit of {MAX_HEADER:,}; this is no checkpoint"
        )
    if length > size - 8:
        raise CheckpointError(f"truncated: a header of {length:,} bytes in a file of {size:,}; take another copy")
    header = _parse(opening + file.read(length - 1), "header")
    assert isinstance(header, dict)
    return header


def _metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or "tinygraph" not in metadata:
        raise CheckpointError(
            "a safetensors file of another program, without a structure; read it with the package safetensors"
        )
    if metadata["tinygraph"] != "1":
        raise CheckpointError(f"version {metadata['tinygraph']!r} of the format is not known here; update tinygraph")
    if not all(isinstance(metadata.get(key), str) for key in ("structure", "sha256")):
        raise CheckpointError("its structure or its checksum is missing; take another copy")
    return metadata


def _tile(header: dict[str, Any], available: int) -> int:
    """Check that the arrays lie end to end and fill the rest of the file exactly; how long that is."""
    spans = sorted(_span(name, entry) for name, entry in header.items() if name != "__metadata__")
    end = 0
    for start, stop, name in spans:
        if start != end:
            what = "overlaps the one before" if start < end else "leaves a hole before it"
            raise CheckpointError(f"the array {name!r} {what} (offset {start:,}, not {end:,}); this is no checkpoint")
        end = stop
    if end > available:
        raise CheckpointError(f"truncated: its arrays take {end:,} bytes, {available:,} are there; take another copy")
    if end < available:
        raise CheckpointError(f"{available - end:,} bytes follow the arrays; this is no checkpoint")
    return end


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    try:
        dtype, shape, (start, stop) = (entry[key] for key in ("dtype", "shape", "data_offsets"))
        numbers = [*shape, start, stop]
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"the array {name!r} has no dtype, shape and data_offsets; this is no checkpoint"
        ) from error
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise CheckpointError(f"the array {name!r} is of dtype {dtype!r}; known are {', '.join(_DTYPES)}")
    if len(shape) > MAX_DEPTH or not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
        raise CheckpointError(f"the array {name!r} has a shape or an offset out of range; this is no checkpoint")
    nbytes = math.prod(shape) * _DTYPES[dtype].itemsize
    # NumPy multiplies the axes that are not 0 also for an empty array.
    if stop - start != nbytes or math.prod(n for n in shape if n) >= 1 << 59:
        raise CheckpointError(
            f"the array {name!r}, {aval(_DTYPES[dtype], tuple(shape))}, does not fill its {stop - start:,} bytes; "
            "this is no checkpoint"
        )
    return start, stop, name


def _array(name: str, entry: dict[str, Any], data: Array) -> Array:
    start, stop = entry["data_offsets"]
    dtype = _DTYPES[entry["dtype"]]
    raw = data[start:stop]
    if dtype == np.bool_ and (raw > 1).any():
        raise CheckpointError(f"the array {name!r} holds booleans that are neither 0 nor 1; this is no checkpoint")
    # A copy: aligned whatever the order in the file, and it does not keep the other arrays alive.
    return raw.copy().view(dtype).reshape(entry["shape"]).astype(dtype.newbyteorder("="), copy=False)


def _parse(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:  # wrong JSON, wrong UTF-8, a name twice, too deep
        raise CheckpointError(f"its {what} is not readable ({error}); this is no checkpoint") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _build(node: Any, arrays: dict[str, Array], depth: int = 0) -> Any:
    """The inverse of ``_strip``; every array is used once."""
    if depth > MAX_DEPTH:
        raise CheckpointError("its structure is nested too deep; this is no checkpoint")
    if isinstance(node, dict):
        return {key: _build(item, arrays, depth + 1) for key, item in node.items()}
    if not isinstance(node, list):
        return node
    match node:
        case ["array", str(name)] if name in arrays:
            return arrays.pop(name)
        case ["list", *items]:
            return [_build(item, arrays, depth + 1) for item in items]
        case ["tuple", *items]:
            return tuple(_build(item, arrays, depth + 1) for item in items)
    raise CheckpointError(f"its structure names {str(node)[:60]}, which is not there; take another copy")
