"""Convolution and pooling: sliding windows, then a matrix product, a maximum or a mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.tensor import Parameter, Tensor
from ..errors import ArgumentError, DTypeError, ShapeError
from ..ops.movement import pad, reshape, transpose
from ..ops.reduction import max as max_
from ..ops.reduction import mean
from ..ops.windows import sliding_windows
from . import init
from .module import Module

__all__ = ["AvgPool2d", "Conv2d", "MaxPool2d"]

Pair = int | tuple[int, int]


class _Windowed(Module):
    """What convolution and pooling share: a window, its stride, a border."""

    def __init__(self, kernel_size: Pair, stride: Pair, padding: Pair) -> None:
        op = type(self).__name__
        self.kernel_size = init.pair(op, "kernel_size", kernel_size)
        self.stride = init.pair(op, "stride", stride)
        self.padding = init.pair(op, "padding", padding, least=0)

    def _windows(self, x: Tensor, border: float) -> Tensor:
        """[N, C, H, W] → [N, C, H', W', kh, kw], with ``padding`` rows and columns of ``border`` around."""
        (ph, pw), (kh, kw) = self.padding, self.kernel_size
        if x.ndim != 4:
            raise ShapeError(f"{self.head(x)}: images have four axes; give [N, C, H, W], e.g. with x.reshape")
        height, width = x.shape[2] + 2 * ph, x.shape[3] + 2 * pw
        if height < kh or width < kw:
            raise ShapeError(
                f"{self.head(x)}: a window of {kh}×{kw} does not fit into {height}×{width}; give larger images, or padding"
            )
        if not np.isfinite(border) and (ph or pw) and x.dtype.kind != "f":
            raise DTypeError(f"{self.head(x)}: a border of -∞ is for floats; cast x with .astype(np.float64)")
        if ph or pw:
            x = pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=border)
        return sliding_windows(x, window=self.kernel_size, axis=(2, 3), stride=self.stride)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """The window, and what differs from the defaults."""
        return f"kernel_size={_short(self.kernel_size)}, stride={_short(self.stride)}" + self._border()

    def _border(self) -> str:
        return f", padding={_short(self.padding)}" if any(self.padding) else ""


def _short(sizes: tuple[int, int]) -> str:
    return str(sizes[0] if sizes[0] == sizes[1] else sizes)


class Conv2d(_Windowed):
    """Convolution (cross-correlation) of images: y[n,o,i,j] = bias[o] + Σ weight[o,c,k,l] · x[n, c, i·s+k, j·s+l].

    Windows and one matrix product, so the work is BLAS's and the gradient is right at every order.
    With ``groups`` = G the channels are cut into G parts that do not mix.

    Shapes: x [N, C, H, W], weight [O, C/G, kh, kw], bias [O] → [N, O, H', W'] with H' = (H + 2·padding - kh) // stride + 1.
    ``kernel_size``, ``stride``, ``padding`` are one number or (height, width). ``initial`` makes the weight,
    ``nn.init.he`` by default; the bias starts at 0.

    Raises: ArgumentError for sizes that are none, or groups that do not divide the channels; on a call ShapeError.

    >>> import numpy as np, tinygraph as tg
    >>> layer = tg.nn.Conv2d(3, 8, 3, padding=1, rng=0)
    >>> layer, layer(np.ones((2, 3, 5, 5))).shape
    (Conv2d(3, 8, kernel_size=3, padding=1), (2, 8, 5, 5))
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0,
        groups: int = 1, bias: bool = True, *,
        initial: init.Initial = init.he, dtype: Any = np.float64, rng: init.Rng = None,
    ) -> None:  # fmt: skip
        super().__init__(kernel_size, stride, padding)
        self.in_channels = init.count("Conv2d", "in_channels", in_channels)
        self.out_channels = init.count("Conv2d", "out_channels", out_channels)
        self.groups = init.count("Conv2d", "groups", groups)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ArgumentError(
                f"Conv2d({in_channels}, {out_channels}, groups={groups}): the groups do not divide the channels; "
                "give channels that are multiples of groups"
            )
        kind = init.float_dtype("Conv2d", dtype)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight = Parameter(init.weight("Conv2d", initial, shape, rng, kind), name="weight")
        self.bias = Parameter(init.zeros(shape[:1], dtype=kind), name="bias") if bias else None

    def forward(self, x: Any) -> Tensor:
        """The convolution, one matrix product for each group."""
        x = self.operand(x)
        if x.ndim == 4 and x.shape[1] != self.in_channels:
            raise ShapeError(
                f"{self.head(x)}: axis 1 has {x.shape[1]} channels, {self.in_channels} are due; "
                f"give [N, {self.in_channels}, H, W]"
            )
        windows = self._windows(x, 0.0)
        n, _, height, width, kh, kw = windows.shape
        parts, outputs = self.groups, self.out_channels // self.groups
        length = self.in_channels // parts * kh * kw
        split = reshape(windows, (n, parts, self.in_channels // parts, height, width, kh, kw))
        rows = reshape(transpose(split, (1, 0, 3, 4, 2, 5, 6)), (parts, n * height * width, length))
        y = rows @ reshape(self.weight, (parts, outputs, length)).mT
        if self.bias is not None:
            y = y + reshape(self.bias, (parts, 1, outputs))
        images = transpose(reshape(y, (parts, n, height, width, outputs)), (1, 0, 4, 2, 3))
        return reshape(images, (n, self.out_channels, height, width))  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """The sizes, and what differs from the defaults."""
        stride = f", stride={_short(self.stride)}" if self.stride != (1, 1) else ""
        groups = f", groups={self.groups}" if self.groups > 1 else ""
        size = f"{self.in_channels}, {self.out_channels}, kernel_size={_short(self.kernel_size)}"
        return size + stride + self._border() + groups + ", bias=False" * (self.bias is None)


class _Pool(_Windowed):
    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        super().__init__(kernel_size, kernel_size if stride is None else stride, padding)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ArgumentError(
                f"{type(self).__name__}(kernel_size={kernel_size}, padding={padding}): some windows would hold border only; "
                "give a padding of at most half the window"
            )


class MaxPool2d(_Pool):
    """The maximum of each window; the stride is the window's size by default, the border counts as -∞.

    Shapes: [N, C, H, W] → [N, C, H', W'] with H' = (H + 2·padding - kh) // stride + 1. At a tie the gradient is split evenly.

    Raises: ArgumentError for sizes that are none; on a call ShapeError.

    >>> import numpy as np, tinygraph as tg
    >>> tg.nn.MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """

    def forward(self, x: Any) -> Tensor:
        """The maximum of each window."""
        return max_(self._windows(self.operand(x), -np.inf), axis=(4, 5))  # type: ignore[no-any-return]


class AvgPool2d(_Pool):
    """The mean of each window; the stride is the window's size by default, the border counts as zeros.

    Shapes: [N, C, H, W] → [N, C, H', W'] with H' = (H + 2·padding - kh) // stride + 1.

    Raises: ArgumentError for sizes that are none; on a call ShapeError.

    >>> import numpy as np, tinygraph as tg
    >>> tg.nn.AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """

    def forward(self, x: Any) -> Tensor:
        """The mean of each window."""
        return mean(self._windows(self.operand(x), 0.0), axis=(4, 5))  # type: ignore[no-any-return]
