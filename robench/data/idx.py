"""The idx format of MNIST: a big-endian header, then unsigned bytes; raw or gzip.

Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/. Header: 0, 0, type (8: unsigned byte), number of
dimensions, then one uint32 a dimension.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from robench.data.files import DEFLATE_RATIO, broken, reading

GZIP_MAGIC = b"\x1f\x8b"
UNSIGNED_BYTE = 8


class IdxFile(NamedTuple):
    """Content of one idx file.

    Fields:
        array: the bytes in the shape of the header, read-only.
        content: header and data as they are without gzip.
    """

    array: npt.NDArray[np.uint8]
    content: bytes


def read_idx(path: Path, dimensions: int) -> IdxFile:
    """Read an idx file of unsigned bytes, raw or gzip whatever its name.

    The promised size is held against the size of the file before anything is read, so a false header costs nothing.

    Args:
        path: the file.
        dimensions: number of dimensions it must have: 3 for images, 1 for labels.

    Raises:
        DataError: missing, unreadable, truncated, too long, or not such a file.
    """
    with reading(path), path.open("rb") as raw:
        compressed = raw.peek(2)[:2] == GZIP_MAGIC
        most = path.stat().st_size * (DEFLATE_RATIO if compressed else 1)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if compressed else raw
        header, shape = _read_header(file, path, dimensions)
        size = math.prod(shape)
        if len(header) + size > most:
            raise broken(path, f"is truncated: its header promises {_shape_text(shape)} bytes, which it cannot hold")
        data = file.read(size + 1)
    if len(data) != size:
        fault = "is truncated" if len(data) < size else "is too long"
        held = len(data) if len(data) < size else "more"
        raise broken(path, f"{fault}: its header promises {size} bytes ({_shape_text(shape)}) and it holds {held}")
    return IdxFile(np.frombuffer(data, dtype=np.uint8).reshape(shape), header + data)


def _read_header(file: IO[bytes], path: Path, dimensions: int) -> tuple[bytes, tuple[int, ...]]:
    length = 4 + 4 * dimensions
    header = file.read(length)
    if not header:
        raise broken(path, "is empty")
    magic = bytes((0, 0, UNSIGNED_BYTE, dimensions))
    if header[:4] != magic:
        raise broken(
            path, f"starts with {header[:4].hex()}, not with {magic.hex()}: no idx file of {dimensions} dimensions"
        )
    if len(header) < length:
        raise broken(path, "is truncated within its header")
    return header, tuple(int(n) for n in np.frombuffer(header, dtype=">u4", offset=4))


def _shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
