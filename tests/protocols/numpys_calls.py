"""A real call, or several, of every ufunc and every dispatched function of NumPy.

Letters are arrays: s t numbers; u v w vectors; x y of shape (2, 3), n with nan; M N square, P also positive definite; S T stacks; i j vectors
of integers, k l integers of x's shape; b c masks. A letter stands once in a line.
"""

from __future__ import annotations

import ast
import io
from typing import Any

import numpy as np

MODULES = {"": np, "linalg.": np.linalg, "fft.": np.fft}

# What is recorded, or computed where there is no gradient.
RECORDED = """
np.add(x, y); np.subtract(x, v); np.multiply(x, y); np.divide(x, y); np.floor_divide(x, y); np.remainder(x, y)
np.power(x, y); np.float_power(x, y); np.maximum(x, y); np.minimum(x, y); np.fmax(x, n); np.fmin(n, y)
np.fmax(x, y); np.fmin(x, y); np.hypot(x, y); np.logaddexp(x, y); np.matmul(M, N); np.matmul(x, v)
np.absolute(x); np.fabs(x); np.negative(x); np.positive(x); np.conjugate(x); np.sqrt(x); np.square(x); np.reciprocal(x)
np.exp(x); np.exp2(x); np.expm1(x); np.log(x); np.log1p(x); np.log2(x); np.log10(x); np.deg2rad(x); np.rad2deg(x)
np.radians(x); np.degrees(x)
np.sin(x); np.cos(x); np.tan(x); np.arcsin(x); np.arccos(x); np.arctan(x); np.sinh(x); np.cosh(x); np.tanh(x)
np.arccosh(1 + x); np.arctanh(x); np.sign(x); np.floor(x); np.ceil(x); np.rint(x); np.trunc(x)
np.less(x, y); np.less_equal(x, y); np.greater(x, y); np.greater_equal(x, y); np.equal(x, y); np.not_equal(x, y)
np.isnan(n); np.isinf(n); np.isfinite(n)
np.logical_and(b, c); np.logical_or(b, c); np.logical_not(b); np.bitwise_and(b, c); np.bitwise_or(b, c); np.invert(b)
np.bitwise_xor(b, c); np.bitwise_and(k, l); np.bitwise_or(k, l); np.bitwise_xor(k, 1); np.invert(k); np.left_shift(k, l); np.right_shift(k, l)
np.vecdot(x, v); np.vecdot(S, T); np.matvec(M, v); np.matvec(S, x[:, :2]); np.vecmat(v, M); np.vecmat(x, T)

np.sum(x); np.sum(x, axis=0); np.sum(x, axis=-1, keepdims=True); np.sum(x, dtype=np.float32); np.sum(b)
np.mean(x); np.mean(x, axis=0); np.mean(x, axis=(0, 1), keepdims=True); np.prod(x); np.prod(x, axis=1)
np.max(x); np.max(x, axis=1); np.amax(x, axis=1); np.min(x, axis=0); np.amin(x); np.ptp(x); np.ptp(x, axis=1)
np.ptp(x, axis=0, keepdims=True); np.any(b); np.any(b, axis=1); np.all(b); np.all(b, axis=0)
np.var(x); np.var(x, axis=0, ddof=1); np.var(x, keepdims=True, correction=1); np.std(x); np.std(x, axis=1, ddof=1)
np.argmax(x); np.argmax(x, axis=0); np.argmin(x); np.argmin(x, axis=1)
np.average(x); np.average(x, axis=1); np.average(x, weights=y); np.average(x, axis=1, weights=v)
np.average(x, axis=0, weights=y, keepdims=True); np.average(S, axis=1, weights=v, keepdims=True)
np.cov(x); np.cov(v); np.cov(x, y, bias=True); np.cov(x, v, ddof=0); np.cov(M, rowvar=False); np.cov(M, N, rowvar=False)
np.nansum(n); np.nansum(n, axis=0); np.nansum(x, axis=1); np.nanprod(n, axis=1); np.nanprod(x); np.nanmean(n, axis=0)
np.nanmean(x); np.nanmean(n, axis=1, keepdims=True); np.nanmax(n, axis=0); np.nanmax(x); np.nanmin(n); np.nanmin(x, axis=1)
np.cumsum(x); np.cumsum(x, axis=1); np.nancumsum(n); np.nancumsum(x, axis=0); np.cumulative_sum(v)
np.cumulative_sum(x, axis=-1, include_initial=True); np.cumulative_sum(v, include_initial=True)
np.diff(x); np.diff(x, n=2, axis=1); np.diff(x, n=0); np.diff(x, axis=0, prepend=0.5, append=s)
np.diff(x, prepend=M[:2]); np.trapezoid(x); np.trapezoid(x, dx=0.5, axis=0); np.trapezoid(x, v); np.trapezoid(x, y)
np.trapezoid(S, v, axis=1); np.trapezoid(x, dx=s)
np.linalg.norm(x); np.linalg.norm(x, axis=0); np.linalg.norm(x, axis=1, ord=2); np.linalg.norm(x, axis=(0, 1), keepdims=True)
np.linalg.norm(v, 1); np.linalg.norm(x, np.inf, axis=1); np.linalg.norm(x, -np.inf, 0, True); np.linalg.norm(x, "fro")
np.linalg.vector_norm(x); np.linalg.vector_norm(x, ord=1, axis=1); np.linalg.vector_norm(x, ord=np.inf, keepdims=True)
np.linalg.matrix_norm(S); np.linalg.matrix_norm(S, keepdims=True)

np.dot(M, N); np.dot(x, v); np.dot(v, w); np.dot(x, s); np.dot(s, 2.0); np.dot(x, T); np.dot(M, v)
np.inner(x, y); np.inner(v, w); np.inner(x, s); np.inner(S, v[:2]); np.tensordot(x, M, axes=1); np.tensordot(x, y)
np.tensordot(S, x, axes=([0, 1], [0, 1])); np.tensordot(S, T, axes=((0, 1), (0, 1))); np.tensordot(v, w, axes=0)
np.tensordot(x, v, axes=(-1, 0)); np.linalg.tensordot(x, M, axes=1); np.vdot(x, y); np.vdot(s, t)
np.outer(v, w); np.outer(x, s); np.linalg.outer(v, w); np.kron(x, M); np.kron(v, x); np.kron(s, v); np.kron(S, x)
np.cross(x, y); np.cross(v, x); np.cross(M, N, axis=0); np.cross(S, T, axisa=1, axisb=1, axisc=0); np.linalg.cross(x, y)
np.linalg.cross(M, N, axis=0); np.linalg.matmul(M, N); np.linalg.vecdot(x, y); np.linalg.vecdot(M, N, axis=0)
np.linalg.multi_dot([M, N, v]); np.linalg.multi_dot([v, M, w]); np.linalg.matrix_power(M, 0); np.linalg.matrix_power(M, 1)
np.linalg.matrix_power(M, 2); np.linalg.matrix_power(M, 5); np.linalg.matrix_power(M, 6)
np.einsum("ij,kj->ik", x, y); np.einsum("ij,jk,k", x, M, v, optimize=True); np.polyval(v, x); np.polyval(v, s)
np.vander(v); np.vander(v, 2); np.vander(v, 5, increasing=True)

np.concatenate([x, y]); np.concatenate([x, M[:2]], axis=1); np.concatenate([x, v], axis=None); np.concat([x, M])
np.append(x, M); np.append(x, y, axis=0); np.stack([x, y], axis=-1); np.vstack([x, v]); np.vstack([v, w])
np.hstack([x, y]); np.hstack([v, s]); np.dstack([x, y]); np.dstack([v, w]); np.dstack([s, t]); np.column_stack([v, M])
np.column_stack([s, t]); np.split(x, 3, 1); np.split(x, [1]); np.split(v, i); np.array_split(v, 2); np.array_split(x, [1], axis=1)
np.array_split(v, 5); np.hsplit(x, 3); np.hsplit(v, [1]); np.vsplit(x, 2); np.dsplit(S, 2); np.unstack(x); np.unstack(x, axis=1)

np.reshape(x, (3, 2)); np.reshape(x, -1); np.ravel(x); np.transpose(x); np.transpose(S, (1, 0, 2)); np.permute_dims(x, (1, 0))
np.swapaxes(S, 0, 2); np.moveaxis(S, 0, 1); np.rollaxis(S, 2); np.rollaxis(S, 0, 3); np.rollaxis(S, 1, -1); np.matrix_transpose(S)
np.linalg.matrix_transpose(x); np.expand_dims(x, 0); np.expand_dims(x, (0, -1)); np.squeeze(x[:1]); np.broadcast_to(x, (4, 2, 3))
np.broadcast_arrays(x, v); np.broadcast_arrays(s, v, x[:, :1]); np.flip(x); np.flip(x, 0); np.fliplr(x); np.flipud(x)
np.rot90(x); np.rot90(x, -1); np.rot90(S, 2, (0, 2)); np.rot90(x, k=3, axes=(1, 0)); np.rot90(x, 0)
np.roll(x, 1, 0); np.roll(x, 1); np.roll(x, (1, -2), (0, 1)); np.roll(x, (1, 2)); np.roll(x, 4, (0, 1))
np.fft.fftshift(x); np.fft.fftshift(v, 0); np.fft.ifftshift(x); np.fft.ifftshift(x, axes=1)
np.astype(x, np.float32); np.copy(x); np.copy(x, order="C"); np.pad(x, 1); np.pad(x, ((0, 1), (2, 0)), constant_values=3.0)
np.atleast_1d(s); np.atleast_1d(s, v); np.atleast_2d(v); np.atleast_2d(s, x, S); np.atleast_3d(v); np.atleast_3d(s, x, S)
np.tile(x, 2); np.tile(x, (2, 1)); np.tile(v, (2, 2)); np.tile(S, (3,)); np.tile(s, 2); np.repeat(x, 2); np.repeat(x, i[:2], axis=0)
np.repeat(x, 3, axis=-1); np.delete(x, 1); np.delete(x, [0, 2], axis=1); np.delete(x, slice(1), 0); np.delete(v, i)
np.delete(v, []); np.split(v, []); np.repeat(x[:0], [], axis=0)
np.meshgrid(v, w); np.meshgrid(v, i, indexing="ij"); np.meshgrid(u, v, w); np.meshgrid(v, w, sparse=True); np.meshgrid(v)

np.diag(v); np.diag(v, 1); np.diag(v, -2); np.diag(M); np.diag(x, 1); np.diagflat(x); np.diagflat(v, -1); np.diagonal(x)
np.diagonal(M, 1); np.diagonal(S, -1, 1, 2); np.diagonal(S, axis1=2, axis2=0); np.diagonal(x, 5); np.linalg.diagonal(S)
np.linalg.diagonal(M, offset=-1); np.trace(M); np.trace(S, 1, 0, 2); np.trace(x, dtype=np.float32); np.linalg.trace(S)
np.linalg.trace(M, offset=1); np.tril(M); np.tril(x, -1); np.tril(v); np.triu(M); np.triu(S, 1)

np.where(b, x, y); np.where(b, x, 0.0); np.dot(x, 2.0); np.inner(x, 2.0); np.outer(v, 2.0); np.kron(x, 2.0); np.vdot(s, 2.0); np.hstack([v, 2.0]); np.append(v, 2.0)
np.stack([s, 2.0]); np.atleast_1d(s, 2.0); np.vstack([s, 2.0]); np.dstack([s, 2.0]); np.column_stack([s, 2.0]); np.append(v, [2, 3])
np.broadcast_arrays(x, 2.0); np.meshgrid(v, 2.0); np.polyval(x[0], 2.0); np.polyval([1.0, 2.0], x); np.average(v, weights=[1, 2, 3])
np.tensordot(s, 2.0, axes=0); np.cov(v, [1, 2, 4]); np.cross(x, [1, 2, 3]); np.concatenate([v, [1.0]]); np.concatenate([v, [1]])
np.select([b, c], [x, y]); np.select([b], [x], 1.5); np.trapezoid(x, dx=2); np.trapezoid(x, [0, 1, 2]); np.diff(x, append=[[1], [2]])
np.multiply(x, 2.0); np.float_power(x, 2); np.fmax(x, 0.5); np.hypot(x, 2.0); np.logaddexp(x, 2); np.vecdot(x, [1, 2, 3])
np.where(b, 2.0, x); np.where([True, False, True], x, 2); np.clip(x, np.float32(0.25), 0.75); np.full_like(x, s, dtype=int)
 np.select([b], [x], default=s); np.clip(x, 0.25, 0.65)
np.clip(x, None, 0.5); np.clip(x, s, None); np.clip(x, a_min=0.2, a_max=None); np.clip(x, v, 2.0); np.round(x); np.around(x)
np.fix(x); np.nan_to_num(n); np.nan_to_num(x); np.nan_to_num(n, nan=s, posinf=9.0, neginf=-9.0); np.real(x); np.imag(x)
np.take(x, [0, 5]); np.take(x, i, 1); np.take(x, [[1, 0]], axis=0); np.take_along_axis(x, k, axis=1)
np.take_along_axis(x, k[:1], 0); np.take_along_axis(x, i, None)
np.zeros_like(x); np.zeros_like(x, dtype=np.float32); np.ones_like(x); np.full_like(x, 2)
np.full_like(x, fill_value=s); np.full_like(x, 2.5, dtype=np.int8, shape=(4,))
"""

# What is asked; the answer is no Tensor, and no gradient is at stake.
ASKED = """
np.shape(x); np.ndim(x); np.size(x); np.size(x, 0); np.result_type(x, np.float32); np.result_type(x, k); np.iscomplexobj(x)
np.isrealobj(x); np.can_cast(x, np.float32); np.common_type(x, y); np.allclose(x, y); np.isclose(x, y); np.array_equal(x, y)
np.array_equiv(x, v); np.array_repr(x); np.array_str(x); np.array2string(x); np.count_nonzero(x); np.shares_memory(x, y)
np.may_share_memory(x, y)
"""

# What is refused. NumPy itself refuses what stands in the last two lines: no Tensor holds dates.
REFUSED = """
np.arcsinh(x); np.arctan2(x, y); np.bitwise_count(k); np.cbrt(x); np.copysign(x, y); np.divmod(x, y)
np.fmod(x, y); np.frexp(x); np.gcd(k, l); np.heaviside(x, y); np.lcm(k, l); np.ldexp(x, k); np.logaddexp2(x, y)
np.logical_xor(b, c); np.modf(x); np.nextafter(x, y); np.signbit(x); np.spacing(x)

np.angle(x); np.apply_along_axis(np.sum, 0, x); np.apply_over_axes(np.sum, x, [0]); np.argpartition(x, 1); np.argsort(x); np.argwhere(x)
np.bincount(i); np.bincount(i, weights=v[:2]); np.block([[x, y]]); np.choose(j, [v[:2], w[:2]]); np.compress(b[0], x, axis=1)
np.convolve(v, w); np.copyto(x, y); np.copyto(x, y, where=b); np.corrcoef(x, y); np.correlate(v, w); np.cumprod(x)
np.cumulative_prod(x, axis=0); np.diag_indices_from(M); np.digitize(x, v.cumsum()); np.ediff1d(x, to_end=v, to_begin=w)
np.einsum_path("ij,jk", x, M); np.empty_like(x); np.extract(b, x); np.fill_diagonal(M, s); np.flatnonzero(x); np.geomspace(s, t)
np.gradient(x, s); np.histogram(x, v.cumsum(), weights=y); np.histogram2d(v, w, weights=u); np.histogram_bin_edges(x, weights=y)
np.histogramdd(x, weights=v[:2]); np.i0(x); np.insert(x, i, s); np.interp(x, v.cumsum(), w, left=s); np.intersect1d(x, y)
np.isin(x, y); np.in1d(x, y); np.iscomplex(x); np.isneginf(x); np.isposinf(x); np.isreal(x); np.ix_(i, j); np.lexsort((v, w))
np.linspace(s, t); np.linspace(v, w, axis=1); np.logspace(s, t); np.median(x); np.min_scalar_type(x); np.nanargmax(x)
np.nanargmin(x); np.nancumprod(x); np.nanmedian(x); np.nanpercentile(x, s); np.nanquantile(x, s); np.nanstd(x); np.nanvar(x)
np.nonzero(x); np.packbits(b); np.partition(x, 1); np.percentile(x, s); np.piecewise(x, [b], [1.0]); np.place(x, b, v)
np.poly(v); np.polyadd(v, w); np.polyder(v); np.polydiv(v, w); np.polyfit(v, w, 1, w=u); np.polyint(v, k=s); np.polymul(v, w)
np.polysub(v, w); np.put(x, i, w[:2]); np.put_along_axis(x, k, y, 1); np.putmask(x, b, y); np.quantile(x, s)
np.ravel_multi_index((i, j), (3, 3)); np.real_if_close(x); np.resize(x, (4,)); np.roots(v); np.save(io.BytesIO(), x)
np.savetxt(io.BytesIO(), x); np.savez(io.BytesIO(), x); np.savez(io.BytesIO(), a=x); np.savez_compressed(io.BytesIO(), x)
np.searchsorted(v.cumsum(), w); np.setdiff1d(x, y); np.setxor1d(x, y); np.sinc(x); np.sort(x); np.sort_complex(x); np.tril_indices_from(M)
np.trim_zeros(v); np.triu_indices_from(M); np.union1d(x, y); np.unique(x); np.unique_all(x); np.unique_counts(x)
np.unique_inverse(x); np.unique_values(x); np.unpackbits(b.astype(np.uint8)); np.unravel_index(i, (2, 3)); np.unwrap(x)

np.linalg.cholesky(P); np.linalg.cond(M); np.linalg.det(M); np.linalg.eig(M); np.linalg.eigh(M); np.linalg.eigvals(M)
np.linalg.eigvalsh(M); np.linalg.inv(M); np.linalg.lstsq(M, v); np.linalg.matrix_rank(M, s); np.linalg.pinv(M, s); np.linalg.qr(M)
np.linalg.slogdet(M); np.linalg.solve(M, v); np.linalg.svd(M); np.linalg.svdvals(M); np.linalg.tensorinv(M, ind=1)
np.linalg.tensorsolve(M, v); np.fft.fft(x); np.fft.fft2(x); np.fft.fftn(x); np.fft.hfft(x); np.fft.ifft(x); np.fft.ifft2(x)
np.fft.ifftn(x); np.fft.ihfft(x); np.fft.irfft(x); np.fft.irfft2(x); np.fft.irfftn(x); np.fft.rfft(x); np.fft.rfft2(x); np.fft.rfftn(x)

np.isnat(x); np.busday_count(k, l); np.busday_offset(k, l); np.is_busday(k); np.datetime_as_string(x)
"""


class Line:
    """One call: its text, NumPy's name for what is called, and the letters in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        call: Any = ast.parse(text, mode="eval").body
        self.name = ast.unparse(call.func).removeprefix("np.")
        letters = [n.id for n in ast.walk(call) if isinstance(n, ast.Name) and n.id in ARRAYS]
        self.letters = sorted(letters)
        assert len(set(letters)) == len(letters), f"{text}: a letter stands twice"

    def __call__(self, **values: Any) -> Any:
        return eval(self.text, {**SCOPE, **values})

    def __repr__(self) -> str:
        return self.text


def of_numpy() -> dict[str, Any]:
    """Every ufunc of ``np`` and every dispatched function of ``np``, ``np.linalg``, ``np.fft``, once, by a name."""
    found: dict[Any, str] = {}
    for prefix, module in MODULES.items():
        for name, fn in vars(module).items():
            if isinstance(fn, np.ufunc) or type(fn).__name__ == "_ArrayFunctionDispatcher":
                found.setdefault(fn, prefix + name)
    return {name: fn for fn, name in found.items()}


def _lines(text: str) -> list[Line]:
    lines = [Line(part.strip()) for row in text.splitlines() for part in row.split(";") if part.strip()]
    return [line for line in lines if called(line) is not None]


def called(line: Line) -> Any:
    """What the line calls; None where this NumPy has it not yet, or no more."""
    module, _, name = line.name.rpartition(".")
    return getattr(MODULES[module and module + "."], name, None)


def _arrays() -> dict[str, Any]:
    """Floats between 0 and 1, no two alike, that half precision holds."""
    shapes: dict[str, Any] = {
        **dict.fromkeys("st", ()), **dict.fromkeys("uvw", (3,)), **dict.fromkeys("xyzn", (2, 3)),
        **dict.fromkeys("MN", (3, 3)), **dict.fromkeys("ST", (2, 3, 2)),
    }  # fmt: skip
    values = np.random.default_rng(20).permutation(np.arange(8, 120)) / 128
    cuts = np.cumsum([np.prod(shape, dtype=int) for shape in shapes.values()])
    parts = np.split(values, cuts)[:-1]
    arrays = {letter: part.reshape(shapes[letter]) for letter, part in zip(shapes, parts, strict=True)}
    arrays["n"][[0, 1], [1, 2]] = np.nan
    arrays["P"] = np.eye(3) + arrays["M"] / 8
    masks = {"b": np.array([[True, False, True], [False, False, True]]), "c": arrays["z"] > 0.5}
    integers = {"i": [0, 2], "j": [1, 0], "k": [[1, 0, 1], [2, 0, 1]], "l": [[1, 2, 1], [2, 1, 2]]}
    return arrays | masks | {letter: np.array(given) for letter, given in integers.items()}


ARRAYS = _arrays()
FLOATS = [letter for letter, array in ARRAYS.items() if array.dtype.kind == "f"]
SCOPE = {**ARRAYS, "np": np, "io": io}
ALL = of_numpy()
RECORDED_LINES, ASKED_LINES, REFUSED_LINES = map(_lines, (RECORDED, ASKED, REFUSED))
