"""What a convolution adds to the norm of its reshaped kernel: the constant of Eq. (11), and a strict one."""

from __future__ import annotations

import math

from torch import nn

from robench.errors import SpecError


def require_plain(conv: nn.Conv2d) -> None:
    """Refuse convolutions for which the constants below are not derived.

    Raises:
        SpecError: dilation, groups, or a padding mode that repeats pixels.
    """
    if conv.dilation != (1, 1) or conv.groups != 1:
        raise SpecError(
            f"a constrained convolution must have dilation 1 and one group; got {conv.dilation} and {conv.groups}",
            hint="use dilation=1 and groups=1",
        )
    if conv.padding_mode not in ("zeros", "circular"):
        raise SpecError(
            f"padding mode `{conv.padding_mode}` repeats pixels, which raises the norm of the layer",
            hint="use `zeros` or `circular`",
        )


def require_single_cover(conv: nn.Conv2d, input_size: tuple[int, int]) -> None:
    """Refuse circular padding with more outputs than the torus has places, which reads pixels more than once.

    Raises:
        SpecError: the padding makes the patches overlap themselves around the border.
    """
    if conv.padding_mode != "circular":
        return
    for size, kernel, stride, (before, after) in zip(
        input_size, conv.kernel_size, conv.stride, padding_of(conv), strict=True
    ):
        outputs = (size + before + after - kernel) // stride + 1
        if outputs * stride > size or kernel > size:
            raise SpecError(
                f"circular padding {before} + {after} with kernel {kernel}, stride {stride} reads pixels of an input "
                f"of size {size} twice, which raises the norm of the layer",
                hint="pad so that there are at most size / stride outputs: `padding='same'` with stride 1",
            )


def padding_of(conv: nn.Conv2d) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels added (before, after) along height and width."""
    if conv.padding == "valid":
        return (0, 0), (0, 0)
    if conv.padding == "same":
        totals = [k - 1 for k in conv.kernel_size]
        (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
        return (top, bottom), (left, right)
    rows, columns = (int(p) for p in conv.padding)
    return (rows, rows), (columns, columns)


def _pairs_inside(size: int, kernel: int, stride: int, padding: tuple[int, int]) -> int:
    """Pairs (output, tap) along one axis that read a pixel of the image, not of its padding."""
    before, after = padding
    starts = range(-before, size + after - kernel + 1, stride)
    return sum(min(start + kernel, size) - max(start, 0) for start in starts if start + kernel > 0 and start < size)


def paper_factor(conv: nn.Conv2d, input_size: tuple[int, int]) -> float:
    """Lambda of Eq. (11): root of the average number of times a pixel is read.

    For odd k, padding (k - 1) / 2 and stride 1 this is sqrt((k w - kb (kb + 1)) (k h - kb (kb + 1)) / (h w)), kb =
    (k - 1) / 2; with a stride the same average is taken over the outputs that exist (appendix C.3 as implemented by
    deel-lip 1.0). An average, hence not an upper bound: the layer's norm can exceed Lambda ||W|| by some 2 %.
    """
    require_plain(conv)
    (height, width), (kh, kw), (sh, sw) = input_size, conv.kernel_size, conv.stride
    rows, columns = padding_of(conv)
    inside = _pairs_inside(height, kh, sh, rows) * _pairs_inside(width, kw, sw, columns)
    if inside == 0:
        raise SpecError(
            f"a {kh} x {kw} kernel has no output on a {height} x {width} input", hint="use a smaller kernel or padding"
        )
    return math.sqrt(inside / (height * width))


def strict_factor(conv: nn.Conv2d) -> float:
    """sqrt(ceil(kh / sh) ceil(kw / sw)): an upper bound of (norm of the layer) / (norm of the reshaped kernel).

    A pixel lies in at most ceil(kh / sh) ceil(kw / sw) patches, so that the patches of x together have squared norm at
    most that many times ||x||^2. Holds for zero and circular padding, dilation 1.
    """
    require_plain(conv)
    (kh, kw), (sh, sw) = conv.kernel_size, conv.stride
    return math.sqrt(math.ceil(kh / sh) * math.ceil(kw / sw))
