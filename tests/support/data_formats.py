"""The original formats, as their authors write them, small."""

import gzip
import io
import struct
import tarfile

import numpy as np


def idx(array, kind=0x08):
    """An IDX file of unsigned bytes."""
    head = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return (
        head
        + array.astype({0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}[kind]).tobytes()
    )


def mnist(n=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)


def cifar(n=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3072), np.uint8), rng.integers(0, 10, n, np.uint8)


def binary(pixels, labels):
    return b"".join(bytes([y]) + x.tobytes() for x, y in zip(pixels, labels, strict=True))


def text(s):
    return b"U" + bytes([len(s)]) + s


def python2(pixels, labels):
    """Operation by operation what Python 2's cPickle wrote with protocol 2."""
    shape = b"".join(b"M" + struct.pack("<H", n) for n in pixels.shape)
    return b"".join([
        b"\x80\x02}q\x01(", text(b"batch_label"), b"q\x02", text(b"training batch 1 of 5"), b"q\x03",
        text(b"labels"), b"q\x04]q\x05(", *(b"K" + bytes([y]) for y in labels), b"e",
        text(b"data"), b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\tU\x01bq\n\x87Rq\x0b",
        b"(K\x01", shape, b"\x86q\x0ccnumpy\ndtype\nq\rU\x02u1q\x0eK\x00K\x01\x87Rq\x0f",
        b"(K\x03U\x01|q\x10NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x11b\x89",
        b"T", struct.pack("<i", pixels.size), pixels.tobytes(), b"q\x12tq\x13b",
        text(b"filenames"), b"q\x14]q\x15(", *(text(b"image_%d.png" % i) for i in range(len(labels))), b"eu.",
    ])  # fmt: skip


def archive(members):
    """A tar.gz of {name: bytes or TarInfo}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def packed(data):
    return gzip.compress(data, 1, mtime=0)
