"""A checkpoint comes back as it was, or is refused; a file of the format opens anywhere."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import examples

import tinygraph as tg
from tinygraph import checkpoint

Error = checkpoint.CheckpointError
DTYPES = "? u1 i1 u2 i2 f2 u4 i4 f4 u8 i8 f8".split()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def listing(folder):
    return sorted(file.name for file in folder.iterdir())


def same(a, b) -> bool:
    """Equal to the bit, in type too; nan is nan."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype.newbyteorder("=") == b.dtype and a.shape == b.shape and (
            a.astype(b.dtype).tobytes() == b.tobytes()
        )  # fmt: skip
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


ARRAYS = st.sampled_from([np.dtype(order + code) for code in DTYPES for order in "<>"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)
KEYS = st.text(st.characters(codec=None, categories=None), max_size=4) | st.sampled_from(
    ["a/b", "", "__metadata__", "~1", "path"]
)
TREES = st.recursive(
    ARRAYS | st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | KEYS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


@examples(50)
@given(tree=st.dictionaries(KEYS, TREES, max_size=3))
def test_every_tree_comes_back_as_it_was(tree, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "tree"
    checkpoint.save(path, **tree)
    assert same(tree, checkpoint.load(path))
    names, header, start = read(path)
    assert start % 64 == 0
    assert all(
        header[name]["data_offsets"][0] % checkpoint._DTYPES[header[name]["dtype"]].itemsize == 0 for name in names
    )


def read(path):
    """The format as its specification has it: names of arrays, header, where the data begin."""
    raw = path.read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + n])
    assert all(isinstance(value, str) for value in header["__metadata__"].values())
    return [name for name in header if name != "__metadata__"], header, 8 + n


@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_generators_go_on_where_they_were(kind, path):
    rng = np.random.Generator(getattr(np.random, kind)(3))
    rng.integers(9, size=3, dtype=np.int32)
    checkpoint.save(path, rng=rng)
    expected = rng.normal(size=5)
    other = np.random.Generator(getattr(np.random, kind)(4))
    other.bit_generator.state = checkpoint.load(path)["rng"]
    np.testing.assert_array_equal(other.normal(size=5), expected)


def test_views_scalars_tensors_and_modules(path):
    a = np.arange(24.0).reshape(4, 6)
    net = tg.nn.Linear(2, 3, rng=0)
    checkpoint.save(path, view=a[::2, ::-3].T, scalar=np.float32(1.5), tensor=tg.tensor([1.0, 2.0]), net=net)
    found = checkpoint.load(path)
    np.testing.assert_array_equal(found["view"], a[::2, ::-3].T)
    assert found["scalar"].shape == ()
    assert found["scalar"].dtype == np.float32
    assert found["tensor"].tolist() == [1.0, 2.0]
    assert same(net.state_dict(), found["net"])
    found["view"][0] = 7  # what comes back is the reader's own
    assert {"view", "scalar", "tensor", "net/weight", "net/bias"} == set(read(path)[0])


W = np.arange(24.0).reshape(4, 6)
VIEWS = {
    "W.T": W.T,
    "[::-1]": W[::-1],
    "[:, ::-2]": W[:, ::-2],
    "broadcast": np.broadcast_to(W[0], (3, 6)),
    "Fortran": np.asfortranarray(W),
    "0-d": np.array(2.5),
    "a part": W[1:3, 2:],
    "big-endian": W.astype(">f8"),
    "empty": W[:0].T,
}


@pytest.mark.parametrize("as_tensor", [False, True], ids=["array", "tensor"])
def test_any_layout_is_saved_by_its_values_not_by_its_memory(as_tensor, path):
    checkpoint.save(path, part={name: tg.asarray(a) if as_tensor else a for name, a in VIEWS.items()})
    assert same(VIEWS, checkpoint.load(path)["part"])
    numpy = pytest.importorskip("safetensors.numpy")
    found = numpy.load_file(path)
    assert all(same(a, found[f"part/{name}"]) for name, a in VIEWS.items())


def test_names_that_other_formats_cannot_hold(path):
    """As names of parts, and of arrays in them: NumPy's ``savez`` takes both of the first for its own arguments."""
    names = ["allow_pickle", "file", "self", "max_bytes", "mmap_mode", "arr_0", "a.npy", "../up", "name/", "\0", "é"]
    tree = {name: {inner: np.full(2, 7.0 * i + k) for k, inner in enumerate(names)} for i, name in enumerate(names)}
    checkpoint.save(path, **tree)
    assert same(tree, checkpoint.load(path))


def test_the_package_safetensors_reads_it(path):
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = {code: np.ones((2, 3), code) for code in DTYPES} | {"empty": np.zeros((0, 5)), "dot": np.array(3.0)}
    checkpoint.save(path, arrays=arrays, __metadata__=np.ones(2), é={"\ud800": np.ones(1)})
    found = numpy.load_file(path)
    assert len(found) == len(arrays) + 2
    assert all(same(array, found[f"arrays/{name}"]) for name, array in arrays.items())


CIRCLE: dict[str, object] = {}
CIRCLE["again"] = CIRCLE


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1: 2}, r"save\(part\): the key 1 is no string; write '1'"),
        ({"x": np.ones(2, complex)}, r"save\(part/x\): complex128\[2\] is no dtype of the format; save a.real"),
        (np.ones(1, np.longdouble), "no dtype"),
        (np.array(["a"]), "no dtype"),
        (np.array([None]), "no dtype"),
        (np.ma.masked_array([1.0], [True]), "mask"),
        ([1, {2}], r"save\(part/1\): a set has no place in a file"),
        (b"bytes", "a bytes has no place"),
        (1j, "a complex has no place"),
        (1 << 9000, "an integer of 9001 bits"),
        (CIRCLE, "nested more than 64 deep"),
    ],
)
def test_what_it_cannot_hold_is_named_and_the_old_file_stays(value, message, path):
    checkpoint.save(path, old=1)
    with pytest.raises(Error, match=message):
        checkpoint.save(path, part=value)
    assert checkpoint.load(path) == {"old": 1}
    assert listing(path.parent) == [path.name]


# -- files that are none ---------------------------------------------------------------------------


def write(path, header, data=b"", *, length=None, text=None):
    text = json.dumps(header).encode() if text is None else text
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def header_of(**entries):
    """A header with a right checksum would be honest; these are refused before it is looked at."""
    return {"__metadata__": {"tinygraph": "1", "structure": "{}", "sha256": "0" * 64}, **entries}


def entry(dtype="F64", shape=(1,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


FOREIGN = {
    "empty": (lambda p: p.write_bytes(b""), "this is empty"),
    "short": (lambda p: p.write_bytes(b"\1\0\0"), "this is truncated"),
    "png": (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "no safetensors file"),
    "pickle": (lambda p: p.write_bytes(b"\x80\x04\x95" + bytes(99)), "no safetensors file"),
    "json": (lambda p: p.write_text('{"a": 1, "b": 2}'), "no safetensors file"),
    "huge header": (lambda p: write(p, {}, length=1 << 62), "over the limit"),
    "long header": (lambda p: write(p, {}, length=99), "truncated: a header"),
    "bad json": (lambda p: write(p, 0, text=b"{nonsense"), "header is not readable"),
    "bad utf-8": (lambda p: write(p, 0, text=b'{"\xff":1}'), "header is not readable"),
    "deep json": (lambda p: write(p, 0, text=b'{"a":' * 100_000), "header is not readable"),
    "long number": (lambda p: write(p, 0, text=b'{"a":' + b"9" * 5000 + b"}"), "header is not readable"),
    "name twice": (lambda p: write(p, 0, text=b'{"a":1,"a":2}'), "a name stands twice"),
    "other program": (lambda p: write(p, {"w": entry()}, bytes(8)), "another program"),
    "version": (lambda p: write(p, {"__metadata__": {"tinygraph": "9"}}), "version '9'"),
    "no checksum": (lambda p: write(p, {"__metadata__": {"tinygraph": "1"}}), "checksum is missing"),
    "no shape": (lambda p: write(p, header_of(w={"dtype": "F64"})), "has no dtype, shape"),
    "no entry": (lambda p: write(p, header_of(w=[1])), "has no dtype, shape"),
    "dtype": (lambda p: write(p, header_of(w=entry("BF16")), bytes(8)), "dtype 'BF16'; known are BOOL"),
    "dtype list": (lambda p: write(p, header_of(w=entry(["F64"])), bytes(8)), "is of dtype"),
    "negative": (lambda p: write(p, header_of(w=entry(shape=(-1, -1))), bytes(8)), "out of range"),
    "float shape": (lambda p: write(p, header_of(w=entry(shape=(1.0,))), bytes(8)), "out of range"),
    "true shape": (lambda p: write(p, header_of(w=entry(shape=(True,))), bytes(8)), "out of range"),
    "many axes": (lambda p: write(p, header_of(w=entry(shape=[1] * 65)), bytes(8)), "out of range"),
    "huge empty": (lambda p: write(p, header_of(w=entry(shape=(0, 1 << 61, 9), offsets=(0, 0)))), "does not fill"),
    "size": (lambda p: write(p, header_of(w=entry(shape=(2,))), bytes(8)), "does not fill its 8 bytes"),
    "overlap": (lambda p: write(p, header_of(v=entry(), w=entry(offsets=(4, 12))), bytes(12)), "overlaps"),
    "hole": (lambda p: write(p, header_of(v=entry(), w=entry(offsets=(16, 24))), bytes(24)), "leaves a hole"),
    "beyond": (lambda p: write(p, header_of(w=entry()), bytes(7)), "truncated: its arrays take 8 bytes, 7 are there"),
    "after": (lambda p: write(p, header_of(w=entry()), bytes(9)), "1 bytes follow"),
    "checksum": (lambda p: write(p, header_of(w=entry()), bytes(8)), "checksum is wrong"),
    "folder": (lambda p: p.mkdir(), "no regular file"),
}
if os.name == "posix":
    FOREIGN["pipe"] = (os.mkfifo, "no regular file")


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_or_hostile_file_is_refused_in_words(name, path):
    make, message = FOREIGN[name]
    make(path)
    with pytest.raises(Error, match=message) as caught:
        checkpoint.load(path)
    assert str(caught.value).startswith(f"load({path}): ")


def signed(path, structure, data=b"", **entries):
    """A hostile file whose checksum is right."""
    header = {"__metadata__": {"tinygraph": "1", "structure": structure}, **entries}
    header["__metadata__"]["sha256"] = checkpoint._digest(header, [data])
    write(path, header, data)


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ('{"w":["array","nowhere"]}', "names .*nowhere"),
        ('{"w":["array","w"],"v":["array","w"]}', "names .*'w'"),
        ("{}", "does not use 'w'"),
        ('["array","w"]', "does not use"),
        ('{"w":["pickle","w"]}', "pickle"),
        ('{"w":[]}', "names"),
        ('{"w":[["array"],"w"]}', "names"),
        ('{"w":["array",["w"]]}', "names"),
        ("[" * 100_000, "structure is not readable"),
        ('{"a":' * 90 + "1" + "}" * 90, "nested too deep"),
    ],
)
def test_a_hostile_structure_is_refused(structure, message, path):
    signed(path, structure, bytes(8), w=entry())
    with pytest.raises(Error, match=message):
        checkpoint.load(path)


def test_booleans_that_are_none_are_refused(path):
    signed(path, '{"w":["array","w"]}', b"\1\2", w=entry("BOOL", (2,), (0, 2)))
    with pytest.raises(Error, match="neither 0 nor 1"):
        checkpoint.load(path)


def test_every_flipped_bit_and_every_cut_is_noticed(path, rng):
    original = {"w": np.arange(3.0), "b": np.array([True, False])}
    checkpoint.save(path, model=original, epoch=3, note="x")
    raw = path.read_bytes()
    for cut in range(len(raw)):
        path.write_bytes(raw[:cut])
        with pytest.raises(Error):
            checkpoint.load(path)
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << rng.integers(8)]) + raw[place + 1 :])
        try:
            found = checkpoint.load(path)
        except Error:
            continue
        assert same(found, {"model": original, "epoch": 3, "note": "x"}), place  # a space of the padding, at most
    path.write_bytes(raw)
    assert checkpoint.load(path)["epoch"] == 3


def test_a_size_limit(path):
    checkpoint.save(path, x=np.zeros(1000))
    with pytest.raises(Error, match="are more than 1,000; raise max_bytes"):
        checkpoint.load(path, max_bytes=1000)
    assert checkpoint.load(path, max_bytes=10_000)["x"].shape == (1000,)


# -- the file system -------------------------------------------------------------------------------


def test_no_file_and_no_folder(path):
    with pytest.raises(FileNotFoundError):
        checkpoint.load(path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        checkpoint.save(path / "deeper", x=1)
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        checkpoint.save(path.parent, x=1)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    checkpoint.save(path, x=1)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, x=2)
    assert checkpoint.load(path) == {"x": 1}
    assert listing(path.parent) == [path.name]


def test_what_killed_writers_left_is_swept_away_but_not_what_is_being_written(path):
    prefix = f".tinygraph-{checkpoint.zlib.crc32(path.name.encode()):08x}-"
    old, new, other = (path.parent / name for name in (f"{prefix}0.tmp", f"{prefix}1.tmp", ".tinygraph-other-2.tmp"))
    for file in (old, new, other):
        file.write_bytes(b"half")
    for file in (old, other):
        os.utime(file, (time.time() - 7200,) * 2)
    checkpoint.save(path, x=1)
    assert listing(path.parent) == sorted([new.name, other.name, path.name])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_what_is_no_file_is_not_replaced(path):
    os.mkfifo(path)
    with pytest.raises(Error, match="this is no regular file"):
        checkpoint.save(path, x=1)
    assert path.is_fifo()


def test_a_link_stays_a_link(path):
    link = path.with_name("latest")
    checkpoint.save(path, x=1)
    link.symlink_to(path.name)
    checkpoint.save(link, x=2)
    assert link.is_symlink()
    assert checkpoint.load(path) == {"x": 2}


KILLED = """
import os, pathlib, signal, sys
import numpy as np
from tinygraph import checkpoint

path, opened = pathlib.Path(sys.argv[1]), pathlib.Path.open
old, new = (dict(w=np.full(100_000, k), v=np.full(9, k)) for k in (1.0, 2.0))

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Dying:
    def __init__(self, file, chunks):
        self.file, self.chunks = file, chunks
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, data):
        self.chunks -= 1
        if self.chunks < 0:
            self.file.write(bytes(data)[: len(data) // 2])
            self.file.flush()
            die()
        self.file.write(data)

def child(stage):
    if stage < 4:
        pathlib.Path.open = lambda self, mode: Dying(opened(self, mode), stage)
    elif stage == 4:
        os.fsync = die
    elif stage == 5:
        pathlib.Path.replace = die
    else:  # after the name was given to the new file, before the folder is written to the disk
        os.open = die
    checkpoint.save(path, **new)

for stage in range(7):
    checkpoint.save(path, **old)
    if (pid := os.fork()) == 0:
        child(stage)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL, stage
    due = new if stage == 6 else old
    found = checkpoint.load(path)
    assert all((found[name] == due[name]).all() for name in due), stage
leftovers = [p for p in path.parent.iterdir() if p != path]
assert len(leftovers) == 6, leftovers
for leftover in leftovers:
    os.utime(leftover, (0, 0))
checkpoint.save(path, **old)
assert list(path.parent.iterdir()) == [path]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_writer_that_is_killed_leaves_the_old_file_whole(path):
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=True, timeout=60)
