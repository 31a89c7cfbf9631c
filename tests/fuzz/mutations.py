"""Seeded damage: to bytes, to JSON, and to arrays. Each function names what it did."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile

import numpy as np

NUMBERS = [0, -1, 1, 2, 7, 255, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.0, 1e-320, 1e308, 1e400, float("nan")]
TEXTS = ["", "0", "a\0b", "é\u0301\u202e", "../../etc/passwd", "x" * 5000, "\ud800", "-1", "nan", "1e9", "null", "🦆"]


def weird(rng: random.Random):
    """A JSON value that nobody expects."""
    nested = [[]]
    for _ in range(rng.choice([3, 60, 400])):
        nested = [nested]
    others = [None, True, False, [], {}, [None], {"": {}}, [1, "a"], nested, list(range(200))]
    return rng.choice([rng.choice(NUMBERS), rng.choice(TEXTS), rng.choice(others)])


def bytes_(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """Flip, cut, insert, repeat, swap or overwrite."""
    data = bytearray(content)
    n = max(1, len(data))
    at = rng.randrange(n)
    kind = rng.choice(["flip", "flips", "cut", "insert", "repeat", "swap", "zero", "number", "drop", "empty"])
    if kind == "flip" and data:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "flips":
        for _ in range(rng.randrange(2, 12)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == "cut":
        del data[at:]
    elif kind == "insert":
        data[at:at] = rng.randbytes(rng.choice([1, 2, 8, 300]))
    elif kind == "repeat":
        data[at:at] = data[at : at + rng.choice([1, 4, 64])]
    elif kind == "swap":
        other, width = rng.randrange(n), rng.choice([1, 4, 16])
        one, two = bytes(data[at : at + width]), bytes(data[other : other + width])
        data[at : at + width], data[other : other + width] = two, one
    elif kind == "zero":
        data[at : at + rng.choice([1, 4, 32])] = b""
    elif kind == "number":
        data[at : at + 4] = struct.pack(rng.choice(["<I", ">I"]), rng.choice([0, 1, 255, 2**16, 2**31, 2**32 - 1]))
    elif kind == "drop":
        del data[at : at + rng.choice([1, 2, 8, 100])]
    elif kind == "empty":
        data = bytearray(rng.choice([b"", b"\0", b"{", b"PK\5\6" + b"\0" * 18, b"\x1f\x8b"]))
    return kind, bytes(data)


def json_(rng: random.Random, text: str) -> tuple[str, str]:
    """Another type, a huge or missing value, a swap, a new or double name, deep nesting; valid JSON mostly."""
    data = json.loads(text)
    places = _places(data)
    kind = rng.choice(["value", "value", "value", "delete", "rename", "swap", "add", "twice", "deep", "text", "wrap"])
    if kind in ("twice", "deep", "text", "wrap") or not places:
        return kind if places else "value", _as_text(rng, kind, text)
    holder, key = rng.choice(places)
    if kind == "value":
        holder[key] = weird(rng)
    elif kind == "delete":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        holder[rng.choice([*TEXTS[:4], key + "_", "index"])] = holder.pop(key)
    elif kind == "swap":
        other, name = rng.choice(places)
        holder[key], other[name] = other[name], holder[key]
    elif kind == "add" and isinstance(holder, dict):
        holder[rng.choice([*TEXTS[:4], "extra", "__class__"])] = weird(rng)
    elif kind == "add":
        holder.append(weird(rng))
    try:
        return kind, json.dumps(data)
    except (ValueError, RecursionError):  # a swap made a circle
        return kind, text[: len(text) // 2]


def _as_text(rng, kind, text):
    if kind == "twice":
        at = text.index("{") + 1 if "{" in text else 0
        name = rng.choice(["index", "model", "schema_version", "spec", "label", "name"])
        return f"{text[:at]}{json.dumps(name)}: {json.dumps(weird(rng))}, {text[at:]}"
    if kind == "deep":
        return rng.choice(["[" * 100_000, '{"a":' * 100_000, "[" * 900 + text + "]" * 900])
    if kind == "wrap":
        return rng.choice([f"[{text}]", "null", "3", '"text"', "[]", "{}", "NaN", "9" * 5000, "\ufeff" + text])
    return bytes_(rng, text.encode())[1].decode("utf-8", errors="replace")


def _places(data, found=None):
    """Every (holder, key) of nested tables and lists."""
    found = [] if found is None else found
    for key in list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        found.append((data, key))
        _places(data[key], found)
    return found


def array(rng: random.Random, given: np.ndarray) -> tuple[str, np.ndarray]:
    """An array of another type, shape, range, order or length."""
    kind = rng.choice(
        ["dtype", "shape", "length", "nan", "range", "order", "scalar", "empty", "bits", "one-hot", "object", "fields"]
    )
    numpy = np.random.default_rng(rng.randrange(2**32))
    if kind == "dtype":
        name = rng.choice("?bBhHiIqQefdgFD")
        with np.errstate(all="ignore"):
            return kind, given.astype(name)
    if kind == "shape":
        shape = rng.choice([(-1,), (-1, 1), (1, -1), (*given.shape, 1), (1, *given.shape), given.shape[::-1]])
        return kind, given.reshape(shape)
    if kind == "length":
        return kind, np.concatenate([given, given[:3]]) if rng.random() < 0.5 else given[: rng.randrange(len(given))]
    if kind == "nan":
        changed = given.astype(np.float64)
        changed.flat[rng.randrange(given.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e300, -1.0, 0.5])
        return kind, changed
    if kind == "range":
        return kind, given.astype(np.float64) * rng.choice([255, -1, 2, 1e-3, 0]) + rng.choice([0, 1, -1])
    if kind == "order":
        changed = np.asfortranarray(given) if rng.random() < 0.5 else given.astype(given.dtype.newbyteorder(">"))
        return kind, changed
    if kind == "scalar":
        return kind, np.asarray(given.flat[0])
    if kind == "empty":
        return kind, given[:0] if rng.random() < 0.5 else given.reshape(*given.shape, 1)[..., :0]
    if kind == "bits":
        return kind, numpy.integers(0, 2, given.shape).astype(rng.choice([np.uint8, np.int64, np.float32, bool]))
    if kind == "one-hot":
        return kind, np.eye(rng.choice([2, 3, 5]))[numpy.integers(0, 2, len(given))]
    if kind == "object":
        changed = np.empty(given.shape, dtype=object)
        changed[...] = None
        return kind, changed
    return kind, np.zeros(len(given), dtype=[("a", "f4"), ("b", "i8")])


def npy_header(rng: random.Random, content: bytes) -> bytes:
    """An npy file whose header says something else of the same data."""
    descr = rng.choice(["<f4", "|u1", ">f8", "|O", "<U9", "V8", "<M8[s]", "|S0", "f999", "(3,)f4", "<f4,<i8", ""])
    shape = rng.choice(["(40, 4)", "(-1, -160)", "(4000000000, 4)", "()", "(True, 160)", "(1e3,)", "40", "(0, 4)"])
    header = f"{{'descr': {descr!r}, 'fortran_order': {rng.choice(['False', 'True', '3'])}, 'shape': {shape}, }}"
    header = rng.choice(
        [header, header, header, "(" * 5000, "{" + header, "[" * 150 + "]" * 150, header[:-4], "\0" * 9]
    )
    raw = header.encode("latin-1") + b"\n"
    version = rng.choice([b"\1\0", b"\2\0", b"\3\0", b"\4\0"])
    length = struct.pack("<H", len(raw)) if version == b"\1\0" else struct.pack("<I", len(raw))
    return b"\x93NUMPY" + version + length + raw + content[128:]


def rezipped(rng: random.Random, content: bytes, change) -> bytes:
    """The archive again with one member changed: `change(name, data)` gives its new bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            data = old.read(name)
            new.writestr(name, change(name, data) if name == chosen else data)
    return out.getvalue()
