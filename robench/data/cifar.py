"""`cifar10` from its canonical binary version: a folder, or the tar it comes in, which is read and never unpacked.

A. Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html. Each record is one label byte and 3072 bytes of pixels: the
red, green and blue plane, each row by row.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robench.data.dataset import Source, array_source
from robench.data.files import broken, reading
from robench.data.published import CIFAR10_ARCHIVE, CIFAR10_CONTENTS
from robench.errors import DataError
from robench.progress import Progress
from robench.specs.data import Split

BATCHES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_BATCH = "test_batch.bin"
FILES = (*BATCHES, TEST_BATCH)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CHANNELS, SIDE = 3, 32
RECORD = 1 + CHANNELS * SIDE * SIDE
PUBLISHED_SIZE = 10_000 * RECORD
"""Bytes of each published file; none may be larger."""
VALIDATION_PART = 10
"""The last tenth of the training images validates: 5 000 of 50 000."""

FOLDERS = ("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10", "CIFAR10", ".")
ARCHIVES = (CIFAR10_ARCHIVE, "cifar-10-binary.tar")
HINT = (
    "the data folder must be or hold `cifar-10-batches-bin` or `cifar-10-binary.tar.gz` (the binary version, not the "
    "python one); leave it out to download it"
)


class Batches(NamedTuple):
    """What was found.

    Fields:
        place: the folder or archive.
        sizes: bytes by file name, of each of the six files that is there.
        contents: by file name, of those asked for.
    """

    place: Path
    sizes: dict[str, int]
    contents: dict[str, bytes]


def cifar10(split: Split, folder: Path, fetch: Callable[[str], Path] | None, progress: Progress) -> Source:
    """A split of CIFAR-10, (N, 3, 32, 32) uint8.

    Args:
        split: `train` and `validation` are the first nine tenths and the last tenth of the five training batches.
        folder: data folder to look in, or the archive.
        fetch: how to download the archive; None where that must not be.
        progress: told about files that are not the published ones.

    Raises:
        DataError: a file is missing, truncated, mislabelled or in the place of another.
    """
    names = (TEST_BATCH,) if split == "test" else BATCHES
    batches = _find(folder, names)
    if batches is None and fetch is not None:
        batches = _from_archive(fetch(CIFAR10_ARCHIVE), names)
    if batches is None:
        raise DataError(f"cifar10 is not in `{folder}`", hint=HINT)
    _check_sizes(batches, names)
    known = [_known(batches, name) for name in names]
    canonical = all(known)
    if not canonical:
        progress.note(f"cifar10: the files in `{batches.place}` are not the published ones")
    records = np.concatenate([_records(batches, name) for name in names])
    n = len(records)
    train = n - n // VALIDATION_PART
    first, last = {"train": (0, train), "validation": (train, n), "test": (0, n)}[split]
    pixels = records[first:last, 1:].reshape(-1, CHANNELS, SIDE, SIDE)
    return array_source(pixels, records[first:last, 0], CLASS_NAMES, canonical=canonical)


def _find(folder: Path, names: Collection[str]) -> Batches | None:
    if folder.is_file():
        return _from_archive(folder, names)
    for part in FOLDERS:
        if any((folder / part / name).exists() for name in FILES):
            return _from_folder(folder / part, names)
    for part in (".", "cifar10", "CIFAR10"):
        for archive in ARCHIVES:
            if (folder / part / archive).exists():
                return _from_archive(folder / part / archive, names)
    return None


def _from_folder(folder: Path, names: Collection[str]) -> Batches:
    sizes = {name: (folder / name).stat().st_size for name in FILES if (folder / name).is_file()}
    contents = {}
    for name in names:
        with reading(folder / name), (folder / name).open("rb") as file:
            contents[name] = file.read(PUBLISHED_SIZE + 1)
    return Batches(folder, sizes, contents)


def _from_archive(path: Path, names: Collection[str]) -> Batches:
    """Read the members by their base names; nothing is written, and links and oversized members are refused."""
    sizes: dict[str, int] = {}
    contents: dict[str, bytes] = {}
    try:
        with reading(path), tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name not in FILES:
                    continue
                if name in sizes or not member.isreg() or member.size > PUBLISHED_SIZE:
                    raise broken(path, f"is no canonical archive: `{name}` is in it twice, is a link or is too large")
                sizes[name] = member.size
                file = archive.extractfile(member)
                if name in names and file is not None:
                    contents[name] = file.read()
            _read_to_end(archive)
    except tarfile.TarError as error:
        raise broken(path, f"is truncated or no tar archive: {error}") from None
    for name in names:
        if name not in contents:
            raise broken(path, f"holds no `{name}`", hint=HINT)
    return Batches(path, sizes, contents)


def _read_to_end(archive: tarfile.TarFile) -> None:
    """Read what follows the last member: only at the end of its stream does gzip compare the checksum."""
    while archive.fileobj is not None and archive.fileobj.read(tarfile.RECORDSIZE):
        pass


def _check_sizes(batches: Batches, names: Collection[str]) -> None:
    """Whole records, as many in each training batch, and 10 000 in every file if in one.

    The files have no header, so a file cut between two records shows only beside the others.
    """
    for name in names:
        size = len(batches.contents[name])
        if size == 0 or size % RECORD or size > PUBLISHED_SIZE:
            fault = "is empty" if size == 0 else "is truncated or no CIFAR-10 batch"
            raise broken(batches.place / name, f"{fault}: it must hold records of {RECORD} bytes, at most 10 000")
    full = PUBLISHED_SIZE in batches.sizes.values()
    training = max((batches.sizes.get(name, 0) for name in BATCHES), default=0)
    for name in names:
        size = len(batches.contents[name])
        expected = PUBLISHED_SIZE if full else training if name in BATCHES else size
        if size != expected:
            raise broken(
                batches.place / name, f"is truncated: it holds {size // RECORD} records, not {expected // RECORD}"
            )


def _known(batches: Batches, name: str) -> bool:
    """Whether a file is the published one of its name.

    Raises:
        DataError: it is the published one of another name.
    """
    found = hashlib.sha256(batches.contents[name]).hexdigest()
    for other, known in CIFAR10_CONTENTS.items():
        if found == known and other != name:
            raise broken(batches.place / name, f"holds the content of `{other}`")
    return found == CIFAR10_CONTENTS[name]


def _records(batches: Batches, name: str) -> npt.NDArray[np.uint8]:
    records = np.frombuffer(batches.contents[name], dtype=np.uint8).reshape(-1, RECORD)
    wrong = np.flatnonzero(records[:, 0] >= len(CLASS_NAMES))
    if len(wrong):
        label, row = records[wrong[0], 0], wrong[0]
        raise broken(batches.place / name, f"holds the label {label} in record {row}; labels are 0 to 9")
    return records
