"""CIFAR-10: both versions, unpacked and in archives; pickles and archives that mean harm are refused."""

import contextlib
import gzip
import io
import os
import pickle
import struct
import sys
import tarfile
import tracemalloc
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.data_formats import archive, binary, cifar, python2

import tinygraph.data.cifar as files
from tinygraph.data import DataError, DataMissing, load_cifar10
from tinygraph.data.pickled import array_of, read_pickle

PX, LABELS = cifar(4)
TRAIN = [f"data_batch_{i}" for i in range(1, 6)]
BIN, PY = "cifar-10-batches-bin", "cifar-10-batches-py"


def contents(version):
    """{name: bytes} of all batches, and the pixels and labels of the training part."""
    suffix, write = (".bin", binary) if version == BIN else ("", python2)
    parts = {name: cifar(2, seed) for seed, name in enumerate([*TRAIN, "test_batch"])}
    whole = [np.concatenate([parts[name][k] for name in TRAIN]) for k in range(2)]
    return {name + suffix: write(*part) for name, part in parts.items()}, *whole


def put(where, files):
    where.mkdir(exist_ok=True)
    for name, data in files.items():
        (where / name).write_bytes(data)


@pytest.mark.parametrize("version", [BIN, PY])
@pytest.mark.parametrize("layout", ["folder", "bare", "archive"])
def test_every_form_of_the_files(tmp_path, version, layout):
    files, pixels, labels = contents(version)
    if layout == "archive":
        name = "cifar-10-binary.tar.gz" if version == BIN else "cifar-10-python.tar.gz"
        folder = tarfile.TarInfo(version)
        folder.type = tarfile.DIRTYPE
        members = [
            ("", folder),
            (f"{version}/readme.html", b"hello"),
            *((f"{version}/{n}", files[n]) for n in reversed(files)),
        ]
        (tmp_path / name).write_bytes(archive(members))
    else:
        put(tmp_path / version if layout == "folder" else tmp_path, files)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    data = load_cifar10(tmp_path)
    np.testing.assert_array_equal(data["x"], pixels / 255)
    np.testing.assert_array_equal(data["y"], labels)
    images = load_cifar10(tmp_path, images=True, dtype=np.uint8)["x"]
    np.testing.assert_array_equal(images, pixels.reshape(-1, 3, 32, 32))
    assert len(load_cifar10(tmp_path, "test")) == 2
    assert sorted(p.name for p in tmp_path.rglob("*")) == before, "nothing is unpacked to disk"


def test_nothing_there(tmp_path):
    with pytest.raises(DataMissing, match=r"put cifar-10-binary.tar.gz or cifar-10-python.tar.gz into .*download=True"):
        load_cifar10(tmp_path)
    put(tmp_path, {"data_batch_1.bin": binary(PX, LABELS)})
    with pytest.raises(DataMissing, match=r"data_batch_2.bin, data_batch_3.bin"):
        load_cifar10(tmp_path)


def test_download(tmp_path, monkeypatch):
    files, _, labels = contents(BIN)
    data = archive([(f"{BIN}/{name}", content) for name, content in files.items()])

    def retrieve(url, known_hash, fname, path, progressbar):
        assert url.startswith("https://www.cs.toronto.edu/")
        assert known_hash == "md5:c32a1d4ab5d03f1284b67883e8d87530"
        (path / fname).write_bytes(data)

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))
    np.testing.assert_array_equal(load_cifar10(tmp_path, download=True)["y"], labels)


RECORD = binary(PX, LABELS)
WRONG = {
    "truncated": (BIN, RECORD[:-1], "no whole number of records"),
    "empty": (BIN, b"", "labels are"),
    "label": (BIN, b"\x0a" + RECORD[1:], "labels are from 0 to 9"),
    "oversized": (BIN, bytes(30_730_001), "at most 30730000"),
    "no pickle": (PY, b"hello", "is no pickle"),
    "truncated pickle": (PY, python2(PX, LABELS)[:9000], "is no pickle"),
    "no data": (PY, pickle.dumps({"labels": [1]}, 2), "no array of 3072"),
    "a list": (PY, pickle.dumps([1], 2), "no array of 3072"),
    "other pixels": (PY, pickle.dumps({"data": PX[:, :9].copy(), "labels": [0] * 4}, 2), "no array of 3072"),
    "fewer labels": (PY, python2(PX, LABELS[:3]), "no list of labels"),
    "label 12": (PY, python2(PX, LABELS + 12), "labels are from 0 to 9"),
    "label of text": (PY, pickle.dumps({"data": PX, "labels": ["1"] * 4}, 2), "labels are from 0 to 9"),
}


@pytest.mark.parametrize(("version", "data", "match"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_a_broken_batch(tmp_path, version, data, match, packed):
    name = "test_batch" + (".bin" if version == BIN else "")
    if packed:
        whole = archive([(f"{version}/{name}", data)])
        (tmp_path / f"cifar-10-{'binary' if version == BIN else 'python'}.tar.gz").write_bytes(whole)
    else:
        put(tmp_path / version, {name: data})
    with pytest.raises(DataError, match=match):
        load_cifar10(tmp_path, "test")


# -- pickles -----------------------------------------------------------------------------------------


def plain(value):
    """What the reader gives, with its arrays as arrays."""
    if array_of(value) is not None:
        return array_of(value).tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def test_the_original_form_reads_as_pythons_unpickler_reads_it():
    ours = read_pickle(python2(PX, LABELS), "x")
    theirs = pickle.loads(python2(PX, LABELS), encoding="bytes")
    assert set(ours) == {b"batch_label", b"labels", b"data", b"filenames"}
    assert plain(ours) == {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in theirs.items()}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_python_3(protocol, order):
    data = {
        "data": np.asarray(PX, order=order),
        "labels": LABELS.tolist(),
        "b": b"\xff",
        "n": [None, True, -1, 70000, (1, 2)],
    }
    assert plain(read_pickle(pickle.dumps(data, protocol), "x")) == data | {"data": PX.tolist()}


class Calls:
    def __init__(self, *what):
        self.what = what

    def __reduce__(self):
        return self.what


def marker(tmp_path):
    return Calls(os.mkdir, (str(tmp_path / "ran"),))


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
U1 = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
EVIL = {
    "os.mkdir": (lambda t: pickle.dumps(marker(t)), "mkdir"),
    "in a list": (lambda t: pickle.dumps({"labels": [marker(t)], "data": PX}, 2), "mkdir"),
    "as a state": (lambda t: pickle.dumps(Calls(Calls, (), {"x": marker(t)})), "the name"),
    "builtins": (lambda t: b"cbuiltins\neval\nU\x011\x85R.", "'builtins.eval'"),
    "python 2": (lambda t: b"c__builtin__\nfile\nU\x01x\x85R.", "'__builtin__.file'"),
    "dotted": (lambda t: b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.", "ndarray.__class__"),
    "numpy's own": (lambda t: b"cnumpy\nfromfile\nU\x01x\x85R.", "'numpy.fromfile'"),
    "not a name": (lambda t: b"\x80\x04]K\x01\x93.", "the name ''"),
    "instance": (lambda t: b"(U\x01xios\nsystem\n.", "the operation INST"),
    "object": (lambda t: b"(cnumpy\nndarray\nK\x01o.", "the operation OBJ"),
    "new object": (lambda t: b"cnumpy\nndarray\nK\x01\x85\x81.", "the operation NEWOBJ"),
    "persistent": (lambda t: b"U\x01xQ.", "the operation BINPERSID"),
    "extension": (lambda t: b"\x82\x01.", "the operation EXT1"),
    "call of ndarray": (lambda t: b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85\x85R.", "a call other"),
    "call of a list": (lambda t: b"])R.", "a call other"),
    "object array": (lambda t: b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.", "a call other"),
    "large at once": (lambda t: ARRAY.replace(b"K\x00\x85", b"J\xff\xff\xff\x7f\x85") + b".", "a call other"),
    "other codec": (lambda t: b"c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0rot\x86R.", "a call other"),
    "state of a list": (lambda t: b"]}b.", "a state for what is no array"),
    "state of a name": (lambda t: b"cnumpy\nndarray\n(tb.", "a state for what is no array"),
    "objects in it": (lambda t: ARRAY + b"(K\x01K\x01\x85" + U1 + b"\x89]tb.", "something else than uint8"),
    "no dtype": (lambda t: ARRAY + b"(K\x01K\x01\x85N\x89U\x01atb.", "something else than uint8"),
    "shape": (lambda t: ARRAY + b"(K\x01J\xff\xff\xff\x7f\x85" + U1 + b"\x89U\x01atb.", "another shape"),
    "negative": (lambda t: ARRAY + b"(K\x01J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86" + U1 + b"\x89U\x01atb.", "another shape"),
    "key": (lambda t: b"}K\x01K\x01s.", "keys are not all text"),
    "append": (lambda t: b"}K\x01a.", "an append to what is no list"),
    "set": (lambda t: b"]U\x01aK\x01s.", "keys are not all text"),
    "left over": (lambda t: b"K\x01K\x01.", "something is left over"),
    "nothing": (lambda t: b".", "takes more than it has"),
    "no mark": (lambda t: b"K\x01e.", "a mark is missing"),
    "text with a bad escape": (lambda t: b"S'\\l'\n.", "the operation STRING|is no pickle"),
    "no memo": (lambda t: b"h\x07.", "is no pickle"),
    "odd items": (lambda t: b"}(K\x01u.", "keys are not|is no pickle"),
    "protocol 5 buffer": (lambda t: b"\x80\x05\x97.", "the operation NEXT_BUFFER"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "match"), EVIL.values(), ids=EVIL)
def test_a_pickle_that_asks_for_more_is_refused(tmp_path, make, match):
    with pytest.raises(DataError, match=match):
        read_pickle(make(tmp_path), "x")
    assert not (tmp_path / "ran").exists()


def test_the_first_of_them_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(marker(tmp_path)))
    assert (tmp_path / "ran").exists()


# Each asks for gigabytes with a few bytes, or with few of a large string.
BOMBS = {
    "a place in the memo": b"K\x01r\xff\xff\xff\x7f.",
    "a long string": b"T\xff\xff\xff\x7fx.",
    "a longer one": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "a frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"K\x01.",
    "a number": b"\x8b\xff\xff\xff\x7fx.",
    "the same text encoded": b"X\x00\x00\x01\x00" + b"a" * 65536 + b"q\x00]q\x01"
    + b"h\x01c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86Ra" * 2000 + b".",
}  # fmt: skip


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_a_small_pickle_takes_little_memory(data):
    tracemalloc.start()
    with contextlib.suppress(DataError):
        read_pickle(data, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21


def test_deep_and_circular_pickles_are_harmless():
    deep = read_pickle(b"]" * 1 + b"\x85" * 100_000 + b".", "x")
    assert type(deep) is tuple
    circle = read_pickle(b"]q\x00h\x00a.", "x")
    assert circle[0] is circle
    del deep


ORIGINAL = python2(PX[:1, :8], LABELS[:1])


@given(st.data())
def test_damage_gives_an_error_or_plain_data(data):
    broken = bytearray(ORIGINAL)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(broken) - 1))
        broken[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    with contextlib.suppress(DataError):
        read_pickle(bytes(broken), "x")


# -- archives ----------------------------------------------------------------------------------------


def special(name, kind, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return name, info


GOOD = (f"{BIN}/test_batch.bin", RECORD)
ARCHIVES = {
    "not packed": (lambda: RECORD, "cannot be read"),
    "no archive": (lambda: gzip.compress(RECORD), "is no archive"),
    "empty": (lambda: archive([]), "has no .*test_batch"),
    "truncated": (lambda: archive([GOOD])[:-3000], "cannot be read|is no archive"),
    "elsewhere": (lambda: archive([("../test_batch.bin", RECORD)]), "has no .*test_batch"),
    "link": (lambda: archive([special(GOOD[0], tarfile.SYMTYPE, linkname="/etc/passwd")]), "is no plain file"),
    "hard link": (lambda: archive([special(GOOD[0], tarfile.LNKTYPE, linkname="x")]), "is no plain file"),
    "device": (lambda: archive([special(GOOD[0], tarfile.CHRTYPE)]), "is no plain file"),
    "folder": (lambda: archive([special(GOOD[0], tarfile.DIRTYPE)]), "is no plain file"),
    "twice": (lambda: archive([GOOD, GOOD]), "twice"),
    "many": (lambda: archive([(f"f{i}", b"") for i in range(200)]), "more than 100 files"),
}


@pytest.mark.parametrize(("make", "match"), ARCHIVES.values(), ids=ARCHIVES)
def test_a_broken_archive(tmp_path, make, match):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(make())
    with pytest.raises(DataError, match=match):
        load_cifar10(tmp_path, "test")


@pytest.mark.parametrize("spoil", [lambda a: a[:-8], lambda a: a[:-8] + bytes(8)], ids=["cut", "wrong"])
def test_the_checksum_of_an_archive_counts(tmp_path, spoil):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(spoil(archive([GOOD])))
    with pytest.raises(DataError, match=r"cannot be read .*; fetch the file again"):
        load_cifar10(tmp_path, "test")


def head(name, size, kind=b"0"):
    """The header of a tar member that promises ``size`` bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def zeros(head, size):
    """``head`` and then zeros, packed without holding them."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as file:
        file.write(head)
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    return out.getvalue()


LONG = tarfile.GNUTYPE_LONGNAME
BOMBS_IN_ARCHIVES = {
    "a large batch": (lambda: zeros(head(GOOD[0], 2**40), 2**24), "at most 49168"),
    "a large file before it": (lambda: zeros(head("other", 2**40), 2**24), "other is too large"),
    "a file that would be sought for hours": (lambda: zeros(head("other", 2**62), 2**10), "other is too large"),
    "many small files": (
        lambda: zeros((head("x", 2**18) + bytes(2**18)) * 30, 2**10),
        "too large|unpacks to more|x twice",
    ),
    "a long name": (lambda: zeros(head("././@LongLink", 2**30, LONG), 2**24), "unpacks to more"),
    "a long header": (lambda: zeros(head("pax", 2**30, tarfile.XHDTYPE), 2**24), "unpacks to more"),
    "many long names": (
        lambda: zeros((head("././@LongLink", 1, LONG) + bytes(512)) * 300, 2**20),
        "is no archive|has no",
    ),
}


@pytest.mark.parametrize(("make", "match"), BOMBS_IN_ARCHIVES.values(), ids=BOMBS_IN_ARCHIVES)
def test_bombs_in_archives(tmp_path, monkeypatch, make, match):
    monkeypatch.setattr(files, "_BINARY", files._BINARY._replace(limit=16 * 3073))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(make())
    tracemalloc.start()
    with pytest.raises(DataError, match=match):
        load_cifar10(tmp_path, "test")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22, "16 MB lie in the file"
