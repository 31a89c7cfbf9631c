"""The chunks of a PNG file: facts that a decoder does not report, and checksums that it may not check.

ISO/IEC 15948, https://www.w3.org/TR/png-3/: a signature, then chunks of length, type, data and CRC-32, from IHDR to
IEND.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
IHDR_LENGTH = 13


class PngFacts(NamedTuple):
    """What the chunks say.

    Fields:
        depth: bits a sample, or a palette index.
        kinds: types of the chunks.
    """

    depth: int
    kinds: frozenset[bytes]


def read_png(content: bytes) -> PngFacts:
    """Walk the chunks of a PNG file.

    Raises:
        ValueError: it is cut short, a checksum is wrong, or its header is missing or there twice.
    """
    kinds: list[bytes] = []
    depth, at = 0, len(SIGNATURE)
    while not kinds or kinds[-1] != b"IEND":
        length = int.from_bytes(content[at : at + 4], "big")
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if end > len(content):
            raise ValueError("it ends within a chunk")
        if zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise ValueError(f"the checksum of its chunk {kind!r} is wrong")
        if (kind == b"IHDR") == bool(kinds) or (kind == b"IHDR" and length != IHDR_LENGTH):
            raise ValueError("it does not start with its one header")
        if kind == b"IHDR":
            depth = content[at + 16]
        kinds.append(kind)
        at = end
    return PngFacts(depth, frozenset(kinds))
