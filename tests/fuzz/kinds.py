"""One damaged input of each kind, through the command line and the readers; what is accepted is held to an oracle."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from robench.cli.main import robench as click_group
from robench.data import load
from robench.errors import RobenchError
from robench.specs.data import DataSpec
from robench.specs.epsilon import split_epsilons
from tests.cli.conftest import Result, invoke
from tests.data.png_writer import CHANNELS, PALETTE, png_bytes
from tests.fuzz import mutations, oracles, seeds
from tests.fuzz.seeds import Seeds


def command(*argv: object, codes: tuple[int, ...] = (0, 1, 2)) -> Result:
    """Run the command line; it ends as it must end."""
    result = invoke(*argv)
    assert result.code in codes, f"exit {result.code}: {result.stderr[-3000:]}"
    assert "Traceback" not in result.stderr
    if result.code == 2:
        assert result.stderr.count("error: ") >= 1
        assert "\nhint: " in result.stderr
        assert result.stdout == ""
    return result


def copied(source: Path, place: Path) -> Path:
    target = place / source.name
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    return target


def damage(rng: random.Random, path: Path) -> str:
    """Damage one file in its own way: JSON and JSON lines as such, half of the time, else as bytes."""
    if path.suffix in (".json", ".jsonl") and rng.random() < 0.8:
        lines = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
        at = rng.randrange(len(lines)) if lines else 0
        if lines:
            kind, lines[at] = mutations.json_(rng, lines[at])
            ending = "\n" if path.suffix == ".jsonl" else ""
            path.write_text("\n".join(lines) + ending, encoding="utf-8", errors="surrogatepass")
            return f"json {kind}"
    kind, content = mutations.bytes_(rng, path.read_bytes())
    path.write_bytes(content)
    return f"bytes {kind}"


def splits(name: str, data_dir: Path | None = None):
    """Train, validation and test of a set; None where one of them is refused."""
    found = {}
    for split in ("train", "validation", "test"):
        try:
            found[split] = load(DataSpec(name=name), split, data_dir=data_dir)
        except RobenchError:
            return None
    for part in found.values():
        batch = part.batch(slice(None))
        assert np.isfinite(batch).all()
        assert batch.min() >= part.bounds[0]
        assert batch.max() <= part.bounds[1]
        assert part.labels.min() >= 0
        assert part.labels.max() < part.classes
    return found


def parts_of(found, *names):
    return [row for name in names for row in oracles.rows(found[name].batch(slice(None)), found[name].labels.tolist())]


def show_spec(name: str, place: Path | None = None) -> None:
    where = () if place is None else ("--data-dir", place)
    command("train", "--recipe", "plain", "--data", name, *where, "--arch", "mlp", "--show-spec", codes=(0, 2))


def npz(rng: random.Random, source: Seeds, place: Path) -> str:
    """Bytes, members, headers and arrays of an npz file; numpy reads it again."""
    path, way = place / "own.npz", rng.choice(["bytes", "array", "array", "array", "header", "member", "names", "bomb"])
    content = source.npz.read_bytes()
    if way == "bytes":
        kind, content = mutations.bytes_(rng, content)
        path.write_bytes(content)
    elif way in ("header", "member"):
        kind = way
        change = (lambda _, data: mutations.npy_header(rng, data)) if way == "header" else _member(rng)
        path.write_bytes(mutations.rezipped(rng, content, change))
    else:
        arrays = seeds.arrays()
        kind = way
        if way == "array":
            for _ in range(rng.choice([1, 1, 2])):
                key = rng.choice(sorted(arrays))
                with contextlib.suppress(ValueError, IndexError, TypeError):
                    kind, arrays[key] = mutations.array(rng, arrays[key])
        elif way == "names":
            key = rng.choice(sorted(arrays))
            arrays[rng.choice(["x", "y", "x_val", "y_val", "X_test", "é", "x_train ", "a"])] = arrays.pop(key)
        else:
            arrays["x_train"] = np.zeros((rng.choice([40, 400_000]), 25), dtype=np.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.savez_compressed(path, **arrays)
    show_spec(f"npz:{path}")
    found = splits(f"npz:{path}")
    if found is not None:
        with np.load(path, allow_pickle=False) as file, np.errstate(all="ignore"):
            assert parts_of(found, "test") == oracles.rows(*oracles.npz_part(file, "_test"))
            trained = sorted(parts_of(found, "train", "validation"))
            own = [key for key in file.files if key.startswith("x_") and key not in ("x_train", "x_test")]
            if not own:
                assert trained == oracles.rows(*oracles.npz_part(file, "_train"))
    return f"{way} {kind}"


def _member(rng):
    return lambda _, data: mutations.bytes_(rng, data)[1]


def png(rng: random.Random, source: Seeds, place: Path) -> str:
    """PNG files damaged, and sound ones of every kind; what is read are the samples that were written."""
    folder = copied(source.root / "png", place)
    path = rng.choice(sorted(folder.rglob("*.png")))
    stored = {p: np.asarray(Image.open(p)) for p in folder.rglob("*.png")}
    if rng.random() < 0.5:
        kind, content = mutations.bytes_(rng, path.read_bytes())
        path.write_bytes(content)
    else:
        colour = rng.choice(sorted(CHANNELS))
        depth = rng.choice([8, 8, 16] if colour != PALETTE else [1, 4, 8])
        kind = f"colour {colour} depth {depth}"
        size = rng.choice([(6, 5), (6, 5), (5, 6), (1, 1)])
        numpy = np.random.default_rng(rng.randrange(2**32))
        samples = numpy.integers(0, 2**depth, (*size, CHANNELS[colour]))
        palette = numpy.integers(0, 256, (2**depth, 3)) if colour == PALETTE else None
        if colour in (4, 6) and rng.random() < 0.5:
            samples[..., -1] = 255
        extra = [(rng.choice([b"tRNS", b"eXIf", b"acTL", b"gAMA", b"zTXt", b"iCCP", b"IHDR"]), rng.randbytes(8))]
        before, after = rng.choice([([], []), (extra, []), ([], extra)])
        interlaced = rng.random() < 0.5
        content = png_bytes(samples, depth, colour, interlaced=interlaced, palette=palette, before=before, after=after)
        path.write_bytes(content)
        stored[path] = palette[samples[..., 0]] if colour == PALETTE else samples[..., :3]
    _check_folder(folder, stored)
    return kind


def jpg(rng: random.Random, source: Seeds, place: Path) -> str:
    """JPEG files have no checksum: what is read is what the decoder gives of the same bytes."""
    folder = copied(source.root / "jpg", place)
    path = rng.choice(sorted(folder.rglob("*.jpg")))
    kind, content = mutations.bytes_(rng, path.read_bytes())
    path.write_bytes(content)
    stored = {}
    for file in folder.rglob("*.jpg"):
        with warnings.catch_warnings(), contextlib.suppress(OSError, SyntaxError, ValueError):
            warnings.simplefilter("ignore")
            stored[file] = np.asarray(Image.open(file).convert("RGB"))
    _check_folder(folder, stored)
    return kind


def _check_folder(folder: Path, stored) -> None:
    show_spec(f"folder:{folder}")
    for split, name in (("train", "train"), ("test", "test")):
        try:
            found = load(DataSpec(name=f"folder:{folder}"), split)
        except RobenchError:
            continue
        right = [(array, "ab".index(file.parent.name)) for file, array in stored.items() if file.parts[-3] == name]
        if split == "train" and len(found) != len(right):
            continue
        expected = oracles.rows(
            [np.moveaxis(a.astype(np.float64), -1, 0) / 255 for a, _ in right], [k for _, k in right]
        )
        assert sorted(parts_of({split: found}, split)) == expected


def tree(rng: random.Random, source: Seeds, place: Path) -> str:
    """Odd names, links, folders and twins in class folders."""
    folder = copied(source.root / "png", place)
    spot = rng.choice([folder, *(p for p in folder.rglob("*") if p.is_dir())])
    name = rng.choice(
        ["Thumbs.db", "._a.png", "x.png", "README", "A", "val", "Train", "é", "e\u0301", "🦆.png", "a\nb", ".."]
    )
    kind = rng.choice(["file", "folder", "link", "loop", "remove", "rename", "copy"])
    with contextlib.suppress(OSError, shutil.Error):
        if kind == "file":
            (spot / name).write_bytes(rng.choice([b"", b"text", (folder / "test" / "a" / "000.png").read_bytes()]))
        elif kind == "folder":
            (spot / name).mkdir()
        elif kind == "link":
            (spot / name).symlink_to(rng.choice(["nowhere", str(folder / "test" / "a"), "/dev/null", "."]))
        elif kind == "loop":
            (spot / name).symlink_to(spot / name)
        elif kind == "remove":
            (shutil.rmtree if spot != folder else Path.exists)(spot)
        elif kind == "rename":
            spot.rename(spot.parent / name)
        else:
            shutil.copytree(source.root / "png" / "test", spot / name)
    command("train", "--recipe", "plain", "--data", f"folder:{folder}", "--arch", "mlp", "--show-spec", codes=(0, 2))
    splits(f"folder:{folder}")
    return kind


def idx(rng: random.Random, source: Seeds, place: Path) -> str:
    """The four files of an idx set, raw and packed."""
    folder = copied(source.root / "idx" / rng.choice(["raw", "packed"]), place)
    kind = damage(rng, rng.choice(sorted(folder.iterdir())))
    show_spec("mnist", folder)
    found = splits("mnist", folder)
    if found is not None:
        for names, key in ((("test",), "t10k"), (("train", "validation"), "train")):
            pixels, labels = (
                oracles.idx(folder, f"{key}-images-idx3-ubyte"),
                oracles.idx(folder, f"{key}-labels-idx1-ubyte"),
            )
            assert sorted(parts_of(found, *names)) == oracles.rows(pixels.astype(np.float64) / 255, labels)
    return kind


def cifar(rng: random.Random, source: Seeds, place: Path) -> str:
    """The six files of CIFAR-10's binary version."""
    folder = copied(source.root / "cifar", place)
    kind = damage(rng, rng.choice(sorted(folder.iterdir())))
    show_spec("cifar10", folder)
    found = splits("cifar10", folder)
    if found is not None:
        content = (folder / "test_batch.bin").read_bytes()
        records = [content[i : i + 3073] for i in range(0, len(content), 3073)]
        pixels = [np.frombuffer(record[1:], np.uint8).astype(np.float64) / 255 for record in records]
        assert sorted(parts_of(found, "test")) == oracles.rows(pixels, [record[0] for record in records])
    return kind


def celeba(rng: random.Random, source: Seeds, place: Path) -> str:
    """The list of attributes and the faces."""
    folder = copied(source.root / "celeba", place)
    target = folder / "list_attr_celeba.txt" if rng.random() < 0.6 else rng.choice(sorted(folder.rglob("*.jpg")))
    kind = damage(rng, target)
    show_spec("celeba", folder)
    return kind


def model(rng: random.Random, source: Seeds, place: Path) -> str:
    """`model.json`, the weights and the record of the training of a model folder."""
    folder = copied(source.model, place)
    target = folder / rng.choice(
        ["model.json", "model.json", "model.safetensors", "model.safetensors", "training.json"]
    )
    kind = _tensors(rng, target) if target.suffix == ".safetensors" and rng.random() < 0.6 else damage(rng, target)
    result = command("audit", folder, "--json", codes=(0, 2))
    if result.code == 0:
        w = oracles.safetensors((folder / "model.safetensors").read_bytes())
        names = ("dense1.weight", "dense1.bias", "head.weight", "head.bias")
        oracles.check_bound(result.data, [w[name] for name in names], oracles.groupsort2)
    return f"{target.name} {kind}"


def _tensors(rng: random.Random, path: Path) -> str:
    """A sound safetensors file with odd tensors or an odd header."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length].decode(), content[8 + length :]
    if rng.random() < 0.5:
        kind, header = mutations.json_(rng, header)
    else:
        kind = "data"
        values = np.frombuffer(data[: len(data) // 4 * 4], "<f4").copy()
        odd = rng.choice([np.nan, np.inf, 0.0, 1e-40, 3e38, -1.0, 1e19])
        with np.errstate(all="ignore"):
            values[rng.randrange(len(values))] = odd
            values *= np.float32(rng.choice([1, 1, 1e-30, 1e10, 0]))
        data = values.tobytes()
    raw = header.encode("utf-8", errors="surrogatepass")
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return f"tensors {kind}"


def weights(rng: random.Random, source: Seeds, place: Path) -> str:
    """Weights for a factory: safetensors, the zip and the old format of torch."""
    path = copied(source.root / rng.choice(["net.safetensors", "net.pt", "net.pth"]), place)
    if path.suffix == ".safetensors" and rng.random() < 0.7:
        kind = _tensors(rng, path)
    elif path.suffix == ".pt" and rng.random() < 0.7:
        path.write_bytes(mutations.rezipped(rng, path.read_bytes(), _member(rng)))
        kind = "member"
    else:
        kind = damage(rng, path)
    shape = rng.choice(["4", "4", "4", "4", "3", "1,2,2", "99999999999"])
    result = command(
        "audit", f"{source.root / 'net.py'}:make", "--weights", path, "--input-shape", shape, "--json", codes=(0, 2)
    )
    if result.code == 0:
        if path.suffix == ".safetensors":
            state = oracles.safetensors(path.read_bytes())
        else:
            loaded = torch.load(path, weights_only=True)
            tensors = loaded.get("model", loaded)
            state = {k: np.asarray(v, np.float64) for k, v in tensors.items() if isinstance(v, torch.Tensor)}
        names = ("0.weight", "0.bias", "2.weight", "2.bias")
        if set(names) <= set(state):
            oracles.check_bound(result.data, [state[name] for name in names], oracles.relu)
    return f"{path.suffix} {kind}"


def program(rng: random.Random, source: Seeds, place: Path) -> str:
    """An exported program: its archive, its graph and its sizes."""
    path = copied(source.root / "net.pt2", place)
    kind = "bytes"
    if rng.random() < 0.8:
        kind = "member"

        def change(name, data):
            if name.endswith(".json"):
                return mutations.json_(rng, data.decode())[1].encode("utf-8", errors="surrogatepass")
            return mutations.bytes_(rng, data)[1]

        path.write_bytes(mutations.rezipped(rng, path.read_bytes(), change))
    else:
        kind = damage(rng, path)
    result = command("audit", path, "--json", codes=(0, 2))
    if result.code == 0:
        assert np.isfinite(result.data["lipschitz_upper"])
        assert result.data["lipschitz_lower"] <= result.data["lipschitz_upper"]
    return kind


def _run(rng: random.Random, source: Seeds, place: Path, name: str) -> tuple[Path, str]:
    folder = copied(source.root / "runs" / name, place)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    pick = ["manifest.json", "records.jsonl", "summary.json", rng.choice(files).relative_to(folder).as_posix()]
    target = folder / rng.choice(pick)
    return folder, f"{name}/{target.name} {damage(rng, target)}"


def verify(rng: random.Random, source: Seeds, place: Path) -> str:
    """A run folder that is executed again: what passes has the classes of the sound run, and no radius far above."""
    name = rng.choice(["certify", "attack"])
    folder, kind = _run(rng, source, place, name)
    result = command("verify", folder, "--json")
    if result.code == 0:
        honest = {row["index"]: row for row in _lines(source.root / "runs" / name / "records.jsonl")}
        for row in _lines(folder / "records.jsonl"):
            right = honest[row["index"]]
            assert [row[key] for key in ("input_sha256", "label")] == [right[key] for key in ("input_sha256", "label")]
            radius = "radius_pairwise" if name == "certify" else "certified_radius"
            assert row[radius] <= right[radius] * 1.01 or row["predicted"] != row["label"]
    return kind


def _lines(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def resume(rng: random.Random, source: Seeds, place: Path) -> str:
    """The same command on a damaged run folder: the rates are those of the records that are there afterwards."""
    folder, kind = _run(rng, source, place, "certify")
    result = command("certify", source.model, "--data", f"npz:{source.npz}", "--eps", "0.1", "--out", folder, "--json")
    if result.code == 0 and "records" in kind:
        rows = _lines(folder / "records.jsonl")
        right = [row["label"] == row["predicted"] for row in rows]
        assert result.data["clean_accuracy"] == np.mean(right)
        certified = [ok and row["radius_pairwise"] > 0.1 for ok, row in zip(right, rows, strict=True)]
        assert result.data["n_certified"]["pairwise"]["0.1"] == sum(certified)
    return kind


def report(rng: random.Random, source: Seeds, place: Path) -> str:
    """A report over a sound and a damaged run folder."""
    name = rng.choice(["certify", "attack"])
    _, kind = _run(rng, source, place, name)
    command("report", place, "--out", place / "out", codes=(0, 1, 2))
    return kind


EPSILONS = ["0.5", "36/255", "1", "1e-3", "½", "٣", "1_0", " 2 ", "+1", "0x1p3", "1e400", "1e-400", "1e999999999"]
EPSILONS += ["nan", "inf", "-inf", "-0", "0", "1/0", "1//2", "1/2/3", "", ",", ",,", "1,,2", "abc", "9" * 5000, "1/3e2"]


def epsilon(rng: random.Random, source: Seeds, place: Path) -> str:
    """ε as people write it, and as nobody does."""
    text = rng.choice(EPSILONS)
    if rng.random() < 0.5:
        text = (
            mutations.bytes_(rng, rng.choice(EPSILONS).encode())[1].decode("utf-8", "replace").replace("\0", "")[:6000]
        )
    command("certify", source.root / "absent", "--data", "digits", "--eps", text, codes=(2,))
    with contextlib.suppress(RobenchError):
        for part in split_epsilons([text]):
            numerator, _, denominator = part.partition("/")
            value = float(numerator) / float(denominator or 1)
            assert 0 < value < float("inf")
            assert np.isclose(value, float(numerator) / float(denominator or 1), rtol=1e-15)
    return "epsilon"


LONG = "9" * 30
NUMBERS = ["0", "1", "2", "-1", "1.5", "x", "", LONG, "9" * 5000, "\u0663"]
REALS = ["0", "0.5", "1", "-1", "2", "nan", "inf", "1e400", "1e-320", "x", ""]
NAMES = ["", "digits", "two-moons", "mnist:0-0", "npz:", "folder:.", "two-moons:0-1", "digits:8-0", "digits:0-99"]
NAMES += ["npz:/dev/null", "npz:\udcff", "npz:/", "folder:/dev/null", "digits:0-8:1-0", f"digits:0-{LONG}", "cifar10"]
PATHS = ["", "absent", "/dev/null", ".", "a\nb", "\udcff", "x" * 300]
CHANGES = ["loss.alpha=nan", "loss.alpha=NaN", "loss.alpha=1e999", "loss.alpha=" + "[" * 100_000, f"loss.alpha={LONG}"]
CHANGES += ["optimizer.lr=-1", "=", "a.b=1", "model={}", "epochs=1.5", "epochs=true", "data=null", "seed=-1", "limit=0"]
CHANGES += ["model.layers=[]", "model.input_shape=[0]", "model.classes=1", "optimizer=\ud800", "loss.margin=-0.0", "x"]
ATTACKS = [
    "fgsm",
    "pgd:steps=-1",
    "pgd:steps=0",
    "pgd:steps=1",
    "pgd:",
    ":",
    "",
    "fgsm:x=[",
    "pgd:steps=nan",
    "cw:steps=1",
]
ATTACKS += [
    "deepfool:steps=2",
    "ddn:steps=1",
    f"pgd:steps={'9' * 5000}",
    "pgd:steps=1,steps=2",
    "fgsm:loss=x",
    "cw:steps=1.5",
]
ODD = {
    "--limit": NUMBERS,
    "--subset-seed": NUMBERS,
    "--seed": NUMBERS,
    "--epochs": NUMBERS,
    "--batch-size": NUMBERS,
    "--threads": ["1", "0", "-1", "x", "", "1.5"],
    "--fail-under": REALS,
    "--alpha": REALS,
    "--margin": REALS,
    "--threshold": REALS,
    "--split": ["train", "validation", "test", "val", "", "TEST"],
    "--subset": ["first", "draw", "last", ""],
    "--suite": ["paper", "x", ""],
    "--deploy-dtype": ["float32", "float64", "float16", ""],
    "--device": ["cpu", "auto", "cuda", "cuda:9", "cuda:-1", "meta", "mps", "cpu:3", "x", ""],
    "--data": NAMES,
    "--input-shape": ["4", "3", "1,28,28", "1,,2", "0", "-4", "", LONG, "4,", "x"],
    "--attack": ATTACKS,
    "--set": CHANGES,
    "--eps": EPSILONS,
    "--recipe": ["hkr", "kr", "adv", "margin", "x", ""],
    "--arch": ["mlp", "x", *PATHS],
    "--format": ["pt2", "onnx", "x", ""],
    **dict.fromkeys(("--weights", "--data-dir", "--model", "--out"), PATHS),
}
"""By option: values that are odd, and some that are not."""


def options(rng: random.Random, source: Seeds, place: Path) -> str:
    """Sound commands with one to three of their own options replaced by odd values."""
    data = ["--data", f"npz:{source.npz}"]
    images = [str(source.model), *data, "--limit", "2", "--threads", "1", "--out", str(place / "out")]
    base = {
        "train": [*data, "--recipe", "plain", "--arch", "mlp", "--show-spec"],
        "certify": [*images, "--eps", "0.1"],
        "attack": [*images, "--eps", "0.1", "--attack", "fgsm"],
        "audit": [str(source.model)],
        "verify": [str(source.root / "runs" / "certify")],
        "export": [str(source.model), "--format", "pt2", "--out", str(place / "net.pt2")],
        "potential": [*images, "--alpha", "1", "--margin", "1"],
    }
    name = rng.choice(["train", "train", "certify", "certify", "attack", "audit", "verify", "export", "potential"])
    known = [option.opts[0] for option in click_group.get_command(None, name).params if option.opts[0] in ODD]
    argv = base[name]
    for option in rng.sample(known, min(len(known), rng.choice([1, 1, 2, 3]))):
        argv += [option, rng.choice(ODD[option])]
    before = Path.cwd()
    os.chdir(place)
    try:
        command(name, *argv)
    finally:
        os.chdir(before)
    return name


KINDS = {
    "npz": (npz, 2200),
    "png": (png, 1300),
    "jpg": (jpg, 500),
    "tree": (tree, 400),
    "idx": (idx, 700),
    "cifar": (cifar, 500),
    "celeba": (celeba, 200),
    "model": (model, 1000),
    "weights": (weights, 900),
    "program": (program, 200),
    "verify": (verify, 700),
    "resume": (resume, 300),
    "report": (report, 100),
    "epsilon": (epsilon, 800),
    "options": (options, 400),
}
"""By name: what makes one, and how many the slow suite makes."""
