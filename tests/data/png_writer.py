"""PNG files written by hand from the standard (ISO/IEC 15948): every depth, colour type and interlacing."""

from __future__ import annotations

import struct
import zlib

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, row step, column step."""


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(samples, depth, colour_type, *, interlaced=False, palette=None, before=(), after=()):
    """(H, W, C) samples of `depth` bits as a PNG; `before` and `after` the pixels are further (type, data) chunks."""
    samples = np.asarray(samples).reshape(*np.shape(samples)[:2], CHANNELS[colour_type])
    parts = [samples[r::dr, c::dc] for r, c, dr, dc in ADAM7] if interlaced else [samples]
    rows = [row for part in parts if part.size for row in part]
    raw = b"".join(b"\0" + _packed(row.ravel(), depth) for row in rows)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour_type, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header)]
    chunks += [(b"PLTE", np.asarray(palette, dtype=np.uint8).tobytes())] if palette is not None else []
    chunks += [*before, (b"IDAT", zlib.compress(raw)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def _packed(row, depth):
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def exif(orientation, order=">"):
    """A TIFF block that holds the orientation alone."""
    mark = b"MM" if order == ">" else b"II"
    return mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
