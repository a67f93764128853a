"""IDX files, whole and broken, and MNIST out of them."""

import gzip
import os
import sys
import tracemalloc
import types

import numpy as np
import pytest
from support.data_formats import idx, mnist, packed

from tinygraph.data import DataError, DataMissing, load_digits, load_mnist, read_idx
from tinygraph.errors import ArgumentError, DTypeError, MissingExtra


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", [0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E])
@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 1, 3), (0, 4), (1, 2, 3, 1)])
@pytest.mark.parametrize("pack", [lambda data: data, packed], ids=["plain", "gz"])
def test_idx_of_every_kind(tmp_path, kind, shape, pack):
    array = np.arange(np.prod(shape)).reshape(shape) * (-1 if kind != 0x08 else 1)
    found = read_idx(write(tmp_path / ("a.gz" if pack is packed else "a"), pack(idx(array, kind))))
    np.testing.assert_array_equal(found, array)
    assert found.dtype.isnative
    assert found.dtype.itemsize == {8: 1, 9: 1, 11: 2, 12: 4, 13: 4, 14: 8}[kind]


GOOD = idx(np.arange(12).reshape(3, 4))
HUGE = bytes([0, 0, 8, 3]) + b"\xff" * 12
BROKEN = {
    "empty": (b"", "ends within its header, 0 bytes of 4"),
    "half a header": (GOOD[:7], "ends within its header"),
    "magic": (b"\x01" + GOOD[1:], "is no IDX file, its first bytes are 0100 08 02"),
    "type": (b"\0\0\x0a\x02" + GOOD[4:], "is no IDX file"),
    "no axes": (b"\0\0\x08\0", "is no IDX file"),
    "five axes": (idx(np.zeros((1, 1, 1, 1, 1))), "is no IDX file"),
    "truncated": (GOOD[:-1], "has 23 bytes, its header says 24|ends within its elements"),
    "longer": (GOOD + b"x", "has 25 bytes, its header says 24|is longer than its header"),
    "huge": (HUGE, "promises .* bytes"),
    "huge and empty": (bytes([0, 0, 8, 4]) + bytes(4) + b"\xff" * 12, "promises 0 bytes, .*4294967295"),
    "another format": (b"PK\x03\x04" + bytes(60), "is no IDX file"),
}


@pytest.mark.parametrize(("data", "match"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("pack", [lambda data: data, packed], ids=["plain", "gz"])
def test_a_broken_idx_file(tmp_path, data, match, pack):
    path = write(tmp_path / ("a.gz" if pack is packed else "a"), pack(data))
    with pytest.raises(DataError, match=match):
        read_idx(path)


PACKED = packed(GOOD)
BROKEN_GZ = {
    "not packed": GOOD,
    "truncated": PACKED[:-9],
    "no checksum": PACKED[:-8],
    "wrong checksum": PACKED[:-8] + bytes(4) + PACKED[-4:],
    "wrong length": PACKED[:-4] + bytes(4),
    "flipped": PACKED[:14] + bytes([PACKED[14] ^ 0xFF]) + PACKED[15:],
    "garbage after": PACKED + b"garbage",
    "a second member": PACKED + packed(b"x"),
}


@pytest.mark.parametrize("data", BROKEN_GZ.values(), ids=BROKEN_GZ)
def test_a_broken_gz_file(tmp_path, data):
    with pytest.raises(DataError, match="fetch the file again"):
        read_idx(write(tmp_path / "a.gz", data))


@pytest.mark.parametrize("head", [GOOD, HUGE, idx(np.zeros(2**16, np.uint8))[:8]], ids=["longer", "huge", "64 KB"])
def test_a_bomb_is_not_unpacked(tmp_path, head):
    path = write(tmp_path / "bomb.gz", gzip.compress(head + bytes(2**26), 1))
    tracemalloc.start()
    with pytest.raises(DataError):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size < 2**20
    assert peak < 2**21, "64 MB lie in the file"


def test_the_limit_is_the_callers(tmp_path):
    path = write(tmp_path / "a", GOOD)
    assert read_idx(path, limit=12).shape == (3, 4)
    with pytest.raises(DataError, match=r"promises 12 bytes, .*; read_idx takes 11"):
        read_idx(path, limit=11)


def test_what_is_no_file(tmp_path):
    with pytest.raises(DataMissing, match="there is no such file"):
        read_idx(tmp_path / "none")
    with pytest.raises(DataError, match="no regular file"):
        read_idx(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DataError, match="no regular file"):
            read_idx(tmp_path / "pipe")


# -- MNIST -------------------------------------------------------------------------------------------

NAMES = {
    "gz": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "plain": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "dots": ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
    "mixed": ("train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte"),
}


def put(where, pixels, labels, names=NAMES["plain"]):
    for name, array in zip(names, (pixels, labels), strict=True):
        write(where / name, packed(idx(array)) if name.endswith(".gz") else idx(array))


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_mnist(tmp_path, names):
    pixels, labels = mnist()
    put(tmp_path, pixels, labels, names)
    data = load_mnist(tmp_path)
    assert data.names == ("x", "y")
    np.testing.assert_array_equal(data["x"], pixels.reshape(5, 784) / 255)
    np.testing.assert_array_equal(data["y"], labels)
    assert (data["x"].dtype, data["y"].dtype) == (np.float64, np.int64)
    images = load_mnist(tmp_path, images=True, dtype=np.uint8)
    np.testing.assert_array_equal(images["x"], pixels[:, None])
    assert images["x"].dtype == np.uint8
    assert load_mnist(tmp_path, dtype=np.float32)["x"].dtype == np.float32


def test_the_test_part_and_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGRAPH_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    put(tmp_path / "mnist", *mnist(3), ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"))
    assert len(load_mnist(part="test")) == 3
    with pytest.raises(DataMissing, match=r"put train-images-idx3-ubyte.gz and train-labels.* into .*mnist, or pass"):
        load_mnist()


WRONG = {
    "lengths": (mnist(5)[0], mnist(4)[1], "one digit for each of 5"),
    "label 10": (mnist(2)[0], np.array([1, 10]), "one digit for each"),
    "size": (np.zeros((2, 28, 27)), np.zeros(2), r"uint8\[2, 28, 27\]"),
    "axes": (np.zeros((2, 784)), np.zeros(2), "MNIST's are"),
    "nothing": (np.zeros((0, 28, 28)), np.zeros(0), "the images are"),
    "labels with axes": (np.zeros((2, 28, 28)), np.zeros((2, 1)), "one digit for each"),
}


@pytest.mark.parametrize(("pixels", "labels", "match"), WRONG.values(), ids=WRONG)
def test_what_is_not_mnist(tmp_path, pixels, labels, match):
    put(tmp_path, pixels, labels)
    with pytest.raises(DataError, match=match):
        load_mnist(tmp_path)


def test_wrong_words(tmp_path):
    with pytest.raises(ArgumentError, match="write 'train' or 'test'"):
        load_mnist(tmp_path, part="valid")
    put(tmp_path, *mnist())
    with pytest.raises(DTypeError, match="pixels are floats"):
        load_mnist(tmp_path, dtype=complex)
    with pytest.raises(DTypeError, match="integers from 0 to 255"):
        load_mnist(tmp_path, dtype=np.int8)  # 255 would become -1
    with pytest.raises(DTypeError, match="this is no dtype"):
        load_mnist(tmp_path, dtype="flaot64")


# -- download ----------------------------------------------------------------------------------------


def test_a_download_goes_through_pooch_with_checksums(tmp_path, monkeypatch):
    pixels, labels = mnist()
    calls = []

    def retrieve(url, known_hash, fname, path, progressbar):
        calls.append((url, known_hash))
        path.mkdir(exist_ok=True)
        write(path / fname, packed(idx(pixels if "images" in fname else labels)))

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))
    for _ in range(2):  # the second time from the folder
        assert len(load_mnist(tmp_path / "new", download=True)) == 5
    assert len(calls) == 2
    assert all(url.startswith("https://") and len(md5) == 36 and md5.startswith("md5:") for url, md5 in calls)


def test_offline_it_says_what_to_put_where(tmp_path, monkeypatch):
    def retrieve(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))
    with pytest.raises(DataMissing, match=r"no route.*put train-images-idx3-ubyte.gz and .* into"):
        load_mnist(tmp_path, download=True)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtra, match=r"load_mnist\(download=True\): needs the package pooch"):
        load_mnist(tmp_path, download=True)


# -- digits ------------------------------------------------------------------------------------------


def test_digits():
    sklearn = pytest.importorskip("sklearn.datasets")
    raw = sklearn.load_digits()
    data = load_digits()
    np.testing.assert_array_equal(data["x"], raw.data / 16)
    np.testing.assert_array_equal(data["y"], raw.target)
    images = load_digits(images=True, dtype=np.uint8)
    np.testing.assert_array_equal(images["x"][:, 0], raw.images)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"load_digits\(\): needs the package sklearn; .*tinygraph\[examples\]"):
        load_digits()
