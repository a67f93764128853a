"""DLPack: other libraries get a copy of a Tensor, and their arrays become Tensors; no gradient is lost on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import tinygraph as tg
from tinygraph.errors import DTypeError, ExportError, GradientError, TraceError

DTYPES = ["f2", "f4", "f8", "c8", "c16", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
BASE = np.arange(24.0).reshape(4, 6)
LAYOUTS = {
    "C": BASE,
    "transposed": BASE.T,
    "reversed": BASE[::-1, ::-2],
    "strided": BASE[1::2, ::3],
    "broadcast": np.broadcast_to(BASE[0], (3, 6)),
    "0-d": np.array(2.5),
    "empty": np.zeros((0, 3)),
}
ONE = np.arange(3.0)


def by_jax(t):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    with jax.enable_x64(True):
        return np.array(jax.dlpack.from_dlpack(t))


def by_torch(t):
    return pytest.importorskip("torch", reason="PyTorch is not installed").from_dlpack(t).numpy()


READERS = {"numpy": np.from_dlpack, "torch": by_torch, "jax": by_jax}


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# -- out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_goes_out(reader, layout):
    a = LAYOUTS[layout]
    assert same(READERS[reader](tg.tensor(a)), a)
    assert same(READERS[reader](tg.asarray(a.copy(order="K"))), a)


@pytest.mark.parametrize("reader", READERS)
def test_every_dtype_goes_out(reader):
    for dtype in map(np.dtype, DTYPES):
        a = np.array([0, 1, 1], dtype)
        assert same(READERS[reader](tg.tensor(a)), a), dtype


def test_pytorch_writes_into_its_copy():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    t = tg.tensor(ONE)
    t.numpy()  # locked, which PyTorch does not ask about
    ways = (torch.from_dlpack, torch.utils.dlpack.from_dlpack, torch.tensor, torch.as_tensor, torch.asarray)
    for way in (*ways, lambda t: torch.from_dlpack(t, copy=True)):
        taken = way(t)
        assert taken.tolist() == ONE.tolist()
        taken[:] = 99
        assert t.tolist() == ONE.tolist()
    assert torch.from_dlpack(t, copy=False).data_ptr() == t.numpy().ctypes.data


def test_a_copy_unless_memory_is_asked_for():
    t = tg.tensor(ONE)
    for copy in (None, True):
        taken = np.from_dlpack(t, copy=copy)
        taken[:] = 99
        assert t.tolist() == ONE.tolist()
    lent = np.from_dlpack(t, copy=False)
    assert np.shares_memory(lent, t.numpy())
    assert not lent.flags.writeable
    view = tg.asarray(ONE[::-1].copy()[::-1])
    assert np.shares_memory(np.from_dlpack(view, copy=False), view.numpy())


def test_memory_is_lent_as_read_only_or_not_at_all():
    t = tg.tensor(ONE, name="x")
    assert t.__dlpack_device__() == (1, 0)
    assert "versioned" in repr(t.__dlpack__(copy=False, max_version=(1, 0)))
    assert "versioned" not in repr(t.__dlpack__())
    for version in (None, (0, 8)):
        with pytest.raises(
            BufferError, match=r"__dlpack__\(float64\[3\] x\): .*copy=False from max_version=\(1, 0\) on"
        ):
            t.__dlpack__(copy=False, max_version=version)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (ONE, {"stream": 1}),
        (ONE, {"dl_device": (2, 0)}),
        (ONE, {"dl_device": (2, 0), "copy": False, "max_version": (1, 0)}),
        (ONE.astype(np.longdouble), {}),
    ],
)
def test_what_cannot_go_out_is_a_buffer_error(data, options):
    with pytest.raises(ExportError, match=r"__dlpack__\(\w+\[3\]\): "):
        tg.tensor(data).__dlpack__(**options)


@pytest.mark.parametrize("reader", READERS)
def test_no_gradient_is_lost_on_the_way_out(reader):
    x = tg.tensor(ONE, requires_grad=True, name="x")
    for t in (x, x * 2, tg.Parameter(ONE)):
        with pytest.raises(BufferError, match=r"a copy would lose its gradient; export t.detach\(\)"):
            READERS[reader](t)
        assert same(READERS[reader](t.detach()), t.numpy())
        with tg.no_grad():
            assert same(READERS[reader](t), t.numpy())


def test_no_other_way_into_a_library_loses_a_gradient():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    x = tg.tensor(ONE, requires_grad=True)
    for way in (torch.tensor, torch.as_tensor, torch.asarray, jnp.asarray, jnp.array):
        with pytest.raises(tg.TinygraphError, match="would lose its gradient"):
            way(x)
    for way in (torch.exp, jnp.exp, lambda t: torch.ones(3) + t, lambda t: jnp.ones(3) * t):
        with pytest.raises(TypeError):
            way(x)


def test_a_traced_value_does_not_go_out():
    def frozen(x):
        return x + np.from_dlpack(x * 2)

    for run in (tg.trace, lambda fn, x: tg.compile(fn, backend="numpy")(x)):
        with pytest.raises(TraceError, match=r"__dlpack__\(float64\[3\]\): this value is read while"):
            run(frozen, ONE)


# -- in --------------------------------------------------------------------------------------------


class Foreign:
    """The least that an array of another library has."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device
        self.shape, self.dtype = array.shape, str(array.dtype)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


def from_jax(a):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    with jax.enable_x64(True):
        return jax.numpy.asarray(a)


def from_torch(a):
    return pytest.importorskip("torch", reason="PyTorch is not installed").tensor(a)


WRITERS = {"foreign": lambda a: Foreign(np.array(a)), "torch": from_torch, "jax": from_jax}


@pytest.fixture(params=WRITERS)
def foreign(request):
    return WRITERS[request.param]


@pytest.mark.parametrize("shape", [(3,), (2, 3), (), (0, 3)])
def test_foreign_arrays_become_tensors(foreign, shape):
    for dtype in map(np.dtype, DTYPES):
        a = np.ones(shape, dtype)
        data = foreign(a)
        for t in (tg.tensor(data), tg.asarray(data), tg.Tensor(data)):
            assert same(t.numpy(), a), dtype
            assert not t.requires_grad
    data = foreign(np.ones(shape))
    assert tg.asarray(data, dtype=np.float32, requires_grad=True, name="w").requires_grad
    assert tg.tensor(data, dtype="i4").dtype == np.int32


def test_named_functions_take_them(foreign):
    x, data = tg.tensor(ONE, requires_grad=True), foreign(ONE)
    assert tg.mul(x, data).requires_grad
    assert tg.add(data, data).tolist() == [0, 2, 4]
    assert tg.mean(data).item() == 1
    assert tg.concatenate([x, data]).shape == tg.stack([data, data]).ravel().shape == (6,)
    assert tg.grad(tg.sum)(data).tolist() == [1, 1, 1]
    assert tg.where(foreign(ONE > 1), x, -1.0).tolist() == [-1, -1, 2]
    assert tg.cross_entropy(tg.tensor(BASE), foreign(np.array([0, 1, 2, 3]))).shape == ()
    p = tg.Parameter(np.zeros(3))
    p.assign(data)
    assert p.tolist() == [0, 1, 2]


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_compiled_functions_are_given_their_values_at_each_call(foreign, backend):
    pytest.importorskip(backend)
    fast = tg.compile(lambda x: tg.sum(x * 2), backend=backend)
    assert [fast(foreign(ONE * k)).item() for k in (1, 2, 3)] == [6, 12, 18]
    assert "1 program" in repr(fast)


def test_compiled_functions_see_what_was_written_meanwhile():
    data, fast = from_torch(ONE), tg.compile(lambda x: tg.sum(x * 2), backend="numpy")
    for k in range(3):
        data[:] = k
        assert fast(data).item() == 6 * k


def test_operators_leave_them_their_turn(foreign):
    """As with every foreign class: their own operator may know better; else Python's TypeError."""
    x, data = tg.tensor(ONE), foreign(ONE)
    for op in (lambda a, b: a + b, lambda a, b: a @ b, lambda a, b: a < b, lambda a, b: a**b):
        for pair in ((x, data), (data, x)):
            with pytest.raises(TypeError, match=r"not supported|unsupported"):
                op(*pair)


def test_their_owner_keeps_the_right_to_write():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    data = torch.arange(6.0).reshape(2, 3)
    held = [tg.asarray(data), tg.tensor(data), tg.add(data, 0.0), tg.asarray(data.numpy()), tg.asarray(data.T[::2])]
    kept = [t.tolist() for t in held]
    data[:] = 99
    assert [t.tolist() for t in held] == kept
    assert kept[-1] == [[0, 3], [2, 5]]


def test_memory_that_cannot_be_locked_is_copied():
    raw, whole = bytearray(8), np.zeros(4)
    lent, part = tg.asarray(np.frombuffer(raw)), tg.asarray(whole[1:3])
    raw[:] = np.ones(1).tobytes()
    assert lent.item() == 0
    with pytest.raises(ValueError, match="read-only"):  # the owner of a part is locked with it
        whole[:] = 1
    assert part.tolist() == [0, 0]


REFUSED = {
    "float32 that requires a gradient": (lambda torch: torch.ones(2, requires_grad=True), GradientError, r"give x.detach\(\)"),
    "bfloat16": (lambda torch: torch.ones(2).bfloat16(), DTypeError, r"\(torch.bfloat16\[2\]\): [Uu]nsupported dtype.*a dtype that NumPy has"),
    "float8": (lambda torch: torch.ones(2).to(torch.float8_e4m3fn), DTypeError, "dtype"),
    "sparse": (lambda torch: torch.eye(2).to_sparse(), DTypeError, "strided"),
    "conjugate": (lambda torch: torch.ones(2, dtype=torch.complex64).conj(), DTypeError, "conjugate"),
    "negated": (lambda torch: torch.ones(2, dtype=torch.complex64).conj().imag, DTypeError, r"x.resolve_neg\(\)"),
    "meta": (lambda torch: torch.ones(2, device="meta"), DTypeError, "meta"),
}  # fmt: skip


@pytest.mark.parametrize("take", [tg.tensor, tg.asarray, tg.exp], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_what_numpy_has_no_array_for_is_refused_in_words(name, take):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        take(make(torch))


@pytest.mark.parametrize("take", [tg.tensor, tg.asarray, tg.exp], ids=lambda f: f.__name__)
def test_what_lies_on_another_device_is_refused_in_words(take):
    for device in ((2, 0), (8, 0), (10, 1)):  # CUDA, Metal, ROCm
        with pytest.raises(DTypeError, match=rf"it lies on device \({device[0]}, {device[1]}\); .* with x.cpu\(\)"):
            take(Foreign(ONE, device=device))


def test_jax_arrays_of_other_dtypes_or_many_devices_are_refused_in_words():
    pytest.importorskip("jax", reason="JAX is not installed")
    code = """
        import jax, numpy as np, tinygraph as tg
        jax.config.update("jax_num_cpu_devices", 2)
        mesh = jax.make_mesh((2,), ("batch",))
        whole = jax.numpy.arange(4.0)
        parts = jax.device_put(whole, jax.NamedSharding(mesh, jax.P("batch")))
        assert tg.asarray(np.asarray(parts)).tolist() == tg.asarray(whole).tolist() == [0, 1, 2, 3]
        for data in (parts, whole.astype("bfloat16"), whole.astype("int4")):
            try:
                tg.asarray(data)
            except tg.errors.DTypeError as error:
                print(error)
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    out = subprocess.run(
        run, capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}, timeout=60, check=True
    ).stdout
    sharded, bfloat16, int4 = out.splitlines()
    assert "tensor(float32[4]): " in sharded
    assert "np.asarray(x) gathers one" in sharded
    assert "tensor(bfloat16[4]): " in bfloat16
    assert "tensor(int4[4]): " in int4
