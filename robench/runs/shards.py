"""Shards of a run: folders that hold the records of some of its images each, and how they become one run. No torch."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robench.errors import RunError, SpecError
from robench.files import LOCK, create_folder, lock_folder, read_json, write_atomic, write_json
from robench.records.record import SCHEMA_VERSION
from robench.runs.adversarials import FOLDER, read_adversarials, write_adversarials
from robench.runs.environment import utc_now
from robench.runs.kept import differences, flatten
from robench.runs.reading import EFFORT, MANIFEST, RECORDS, check_unchanged, find_runs
from robench.specs.shard import Shard, parse_shard

SHARD = "shard"
"""Part of the identity of a run that holds one shard."""
AGAIN = "make the shards again under equal conditions; each of them is resumable"


@dataclass(frozen=True, eq=False)
class ShardRun:
    """The folder of a shard.

    Fields:
        folder: where it is.
        shard: which images it holds.
        manifest: as on disk.
        lines: its records, by index.
    """

    folder: Path
    shard: Shard
    manifest: Mapping[str, Any]
    lines: Mapping[int, bytes]

    @property
    def n(self) -> int:
        """Number of images of the whole run."""
        return int(self.manifest["facts"]["data"]["n"])


def shard_of(manifest: Mapping[str, Any]) -> Shard | None:
    """Which shard a run is; None for a whole run.

    Raises:
        RunError: its manifest names no shard that there can be.
    """
    named = (manifest.get("identity") or {}).get(SHARD)
    try:
        return None if named is None else parse_shard(str(named), {})
    except SpecError as error:
        raise RunError(f"a manifest names a shard that is none: {error.message}", hint=AGAIN) from None


def whole_identity(identity: Mapping[str, str]) -> dict[str, str]:
    """The identity of the run that a shard is a part of.

    Args:
        identity: of the shard; that of a whole run stays as it is.
    """
    return {name: value for name, value in identity.items() if name != SHARD}


def read_shards(paths: Sequence[Path]) -> list[ShardRun]:
    """The shards at or below some paths, in their order, checked to make up one run.

    Args:
        paths: folders of shards, or folders that hold some; runs that are no shards are passed over.

    Raises:
        RunError: there is no shard, one is missing, unfinished or damaged, or they are not of one run.
    """
    folders = sorted({folder.resolve() for path in paths for folder in find_runs(path)})
    found = [shard for folder in folders if (shard := _read(folder)) is not None]
    if not found:
        raise RunError("there is no shard", hint="name the folders that `--shard` wrote, or the folder that holds them")
    found.sort(key=lambda item: item.shard.number)
    _check_alike(found)
    _check_complete(found)
    return found


def write_whole(shards: Sequence[ShardRun], folder: Path, index: Sequence[int]) -> None:
    """Write the run that the shards make up, without its summary: the same command goes on with it, and finishes it.

    The manifest is written last, so that a folder that has one has all records.

    Args:
        shards: all of them, checked.
        folder: of the run.
        index: positions of its images, in the order of the data set.

    Raises:
        RunError: the folder cannot be written, or holds something else.
    """
    lines = {position: line for shard in shards for position, line in shard.lines.items()}
    if strange := sorted(set(lines) ^ set(index)):
        raise RunError(
            f"image {strange[0]} is in the shards or in the data, but not in both",
            hint="give the data that the shards were made with (--data-dir)",
        )
    content = b"".join(lines[position] for position in index)
    create_folder(folder)
    with lock_folder(folder, doing="writing"):
        if (folder / MANIFEST).exists():
            if (folder / RECORDS).exists() and (folder / RECORDS).read_bytes() == content:
                return
            raise RunError(f"`{folder}` holds another run", hint="give another --out folder")
        _clear(folder)
        points: dict[int, Any] = {}
        for shard in shards:
            points |= read_adversarials(shard.folder)
        write_adversarials(folder, points)  # together: each file holds images of all shards
        efforts = [file.read_bytes() for shard in shards if (file := shard.folder / EFFORT).exists()]
        write_atomic(folder / EFFORT, b"".join(efforts))
        write_atomic(folder / RECORDS, content)
        first = dict(shards[0].manifest)
        started = {"status": "started", "created": utc_now(), "finished": None, "records_sha256": None}
        write_json(
            folder / MANIFEST, {**first, **started, "identity": whole_identity(first["identity"]), "argv": sys.argv[1:]}
        )


def _clear(folder: Path) -> None:
    """Delete what a merge that was stopped has left; refuse anything else."""
    ours = {LOCK, EFFORT, RECORDS, FOLDER}
    if strange := sorted(path.name for path in folder.iterdir() if path.name not in ours):
        raise RunError(f"`{folder}` is not empty: it holds `{strange[0]}`", hint="give another --out folder")
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _read(folder: Path) -> ShardRun | None:
    """The shard in a folder; None for anything else."""
    manifest = read_json(folder / MANIFEST)
    shard = shard_of(manifest)
    if shard is None:
        return None
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise RunError(
            f"`{folder}` is of schema version {manifest.get('schema_version')!r}, not {SCHEMA_VERSION}",
            hint="merge with the robench that wrote it",
        )
    if manifest.get("status") != "success":
        raise RunError(
            f"shard {shard} in `{folder}` is not finished", hint=f"go on with it: {_command(manifest, shard)}"
        )
    check_unchanged(folder, manifest)
    lines: dict[int, bytes] = {}
    for line in (folder / RECORDS).read_bytes().splitlines(keepends=True):
        position = json.loads(line)["index"]
        if position in lines or not shard.holds(np.array([position]))[0]:
            raise RunError(f"image {position} is twice in `{folder}`, or not of shard {shard}", hint=AGAIN)
        lines[position] = line
    return ShardRun(folder, shard, manifest, lines)


def _check_alike(shards: Sequence[ShardRun]) -> None:
    """Refuse shards of several runs, and of several arithmetics, which would make another run than one machine does."""
    first = shards[0]
    for other in shards[1:]:
        for what, parts in (("another run", _run), ("other images", _images), ("another arithmetic", _arithmetic)):
            places = f"in `{first.folder.name}`", f"in `{other.folder.name}`"
            if found := differences(parts(first), parts(other), places):
                raise RunError(f"the shards are of {what}: {'; '.join(found)}", hint=AGAIN)


def _run(shard: ShardRun) -> dict[str, Any]:
    manifest = shard.manifest
    asked = {"command": manifest["command"], "spec": manifest["spec"], "of": shard.shard.of}
    return flatten(asked) | whole_identity(manifest["identity"])


def _images(shard: ShardRun) -> dict[str, Any]:
    return {"n": shard.n, "subset": shard.manifest["facts"]["data"].get("subset")}


def _arithmetic(shard: ShardRun) -> dict[str, Any]:
    """What decides how sums are rounded: processor, threads, and versions of the packages that compute."""
    return dict(shard.manifest["facts"].get("arithmetic") or {})


def _check_complete(shards: Sequence[ShardRun]) -> None:
    """Refuse missing and doubled shards, and images that are in none of them."""
    of, first = shards[0].shard.of, shards[0].manifest
    numbers = [shard.shard.number for shard in shards]
    if twice := next((number for number in numbers if numbers.count(number) > 1), None):
        where = " and ".join(f"`{shard.folder}`" for shard in shards if shard.shard.number == twice)
        raise RunError(f"shard {twice}/{of} is there twice: {where}", hint="name each shard once")
    missing = [Shard(number, of) for number in range(1, of + 1) if number not in numbers]
    # a shard may be empty, and is then refused when it is made: what counts is that each image is there
    n = sum(len(shard.lines) for shard in shards)
    if n != shards[0].n:
        if not missing:
            raise RunError(f"the shards hold {n} of {shards[0].n} images", hint=AGAIN)
        names = ", ".join(map(str, missing))
        raise RunError(
            f"of {of} shards {names} {'is' if len(missing) == 1 else 'are'} missing",
            hint=f"make it: {_command(first, missing[0])}",
        )


def _command(manifest: Mapping[str, Any], shard: Shard) -> str:
    """The command that makes a shard, as far as another one of the same run tells it."""
    argv = [str(word) for word in manifest.get("argv") or ()]
    if f"--{SHARD}" in argv[:-1]:
        argv[argv.index(f"--{SHARD}") + 1] = str(shard)
        return f"robench {shlex.join(argv)}"
    return f"the call that made the others, with shard {shard}"
