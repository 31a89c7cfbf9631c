"""One array of an npz file, read without unpickling; its headers are compared with its size first."""

from __future__ import annotations

import contextlib
import lzma
import math
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from robench.data.files import DEFLATE_RATIO, broken
from robench.errors import DataError

WRITE_AGAIN = "write it again with `numpy.savez_compressed`, under another name"
RATIOS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE_RATIO, zipfile.ZIP_LZMA: 1 << 14}
"""The most that one packed byte can expand to, by kind of packing."""
SUFFIX = ".npy"


def keys(archive: zipfile.ZipFile, path: Path) -> set[str]:
    """Names of the arrays.

    Raises:
        DataError: two have one name.
    """
    names = Counter(name.removesuffix(SUFFIX) for name in archive.namelist() if name.endswith(SUFFIX))
    twice = sorted(name for name, times in names.items() if times > 1)
    if twice:
        raise broken(path, f"holds `{twice[0]}` more than once", hint=WRITE_AGAIN)
    return set(names)


def read_member(archive: zipfile.ZipFile, key: str, path: Path) -> npt.NDArray[Any]:
    """The array of a name.

    Args:
        archive: the open file.
        key: name of the array.
        path: of the file, for errors.

    Raises:
        DataError: truncated, too large, no array, or one of Python objects.
    """
    info = _info(archive, key, path)
    with _read_as(info, key, path):
        _checked_shape(archive, info, key, path)
        with archive.open(info) as file:
            array: npt.NDArray[Any] = npy.read_array(file, allow_pickle=False)
    if array.dtype.kind not in "biufcSUmM":
        raise broken(path, f"holds `{key}` of type {array.dtype}", hint="store plain numbers")
    return np.asarray(array)


def member_shape(archive: zipfile.ZipFile, key: str, path: Path) -> tuple[int, ...]:
    """Shape of the array of a name, from its header.

    Args:
        archive: the open file.
        key: name of the array.
        path: of the file, for errors.

    Raises:
        DataError: as `read_member`, for what a header tells.
    """
    info = _info(archive, key, path)
    with _read_as(info, key, path):
        return _checked_shape(archive, info, key, path)


def _info(archive: zipfile.ZipFile, key: str, path: Path) -> zipfile.ZipInfo:
    info = archive.getinfo(f"{key}{SUFFIX}")
    if info.compress_type not in RATIOS:
        raise broken(path, f"packs `{key}` in an unknown way", hint=WRITE_AGAIN)
    if info.file_size > info.compress_size * RATIOS[info.compress_type]:
        raise broken(path, f"promises {info.file_size} bytes for `{key}`, which it cannot hold", hint=WRITE_AGAIN)
    return info


@contextlib.contextmanager
def _read_as(info: zipfile.ZipInfo, key: str, path: Path) -> Iterator[None]:
    """Say of which array it is what numpy says while it is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers that Python 2 wrote are read, too
            yield
    except MemoryError:
        text = f"holds {info.file_size / 2**30:.1f} GiB in `{key}`, for which there is no memory"
        raise broken(path, text, hint="store fewer images in a file of their own") from None
    except (DataError, OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile):
        raise
    except Exception as error:  # numpy evaluates the header, and damaged text breaks that in many ways
        raise broken(path, f"holds no readable array `{key}`: {error}", hint=WRITE_AGAIN) from None


def _checked_shape(archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str, path: Path) -> tuple[int, ...]:
    with archive.open(info) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise broken(path, f"holds Python objects in `{key}`", hint="store plain numbers")
        if min(shape, default=0) < 0:
            raise ValueError(f"its shape is {shape}")
        size = math.prod(shape) * dtype.itemsize
        if file.tell() + size != info.file_size:
            raise broken(path, f"is truncated: `{key}` promises {size} bytes of data", hint=WRITE_AGAIN)
    return tuple(shape)
