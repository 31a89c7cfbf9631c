"""Image files of every kind in class folders: the pixels on disk exactly, or refused by name."""

import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robench.data import load
from robench.specs.data import DataSpec
from tests.data.formats import Told, hint_of_refusal, refusal, write_class_folders
from tests.data.png_writer import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, exif, png_bytes

RANDOM = np.random.default_rng(3)
SIZE = (7, 9)


def draw(depth, channels=1):
    return RANDOM.integers(0, 2**depth, (*SIZE, channels))


def written(folder, contents, suffix=".png"):
    """Two classes of the given files; which one an image is of does not matter here."""
    for name in "ab":
        (folder / name).mkdir()
        for i, content in enumerate(contents):
            (folder / name / f"{i}{suffix}").write_bytes(content)
    return folder


def images(folder, told=None):
    """All images of class 0, (N, C, H, W) in the order of their bytes."""
    parts = [load(DataSpec(name=f"folder:{folder}"), split, progress=told) for split in ("train", "validation", "test")]
    rows = np.concatenate([part.inputs[part.labels == 0] for part in parts])
    assert rows.dtype == np.uint8
    return sorted(rows, key=lambda image: image.tobytes())


def exactly(folder, expected, told=None):
    """The folder holds the expected (H, W, C) bytes and nothing else."""
    channels_first = [np.moveaxis(np.asarray(image, dtype=np.uint8), -1, 0) for image in expected]
    found, right = images(folder, told), sorted(channels_first, key=lambda image: image.tobytes())
    assert len(found) == len(right)
    for one, other in zip(found, right, strict=True):
        np.testing.assert_array_equal(one, other)


def refused(folder, *parts):
    hint = hint_of_refusal(lambda: images(folder), *parts)
    assert "delete" not in hint
    return hint


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_of_each_depth_is_exact(tmp_path, depth, interlaced):
    samples = [draw(depth) for _ in range(10)]
    written(tmp_path, [png_bytes(s, depth, GREY, interlaced=interlaced) for s in samples])
    exactly(tmp_path, [s * 255 // (2**depth - 1) for s in samples])  # 1, 3 and 15 divide 255: no rounding


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_are_looked_up(tmp_path, depth, interlaced):
    palette = RANDOM.integers(0, 256, (2**depth, 3))
    samples = [draw(depth) for _ in range(10)]
    written(tmp_path, [png_bytes(s, depth, PALETTE, interlaced=interlaced, palette=palette) for s in samples])
    exactly(tmp_path, [palette[s[..., 0]] for s in samples])


@pytest.mark.parametrize("interlaced", [False, True])
def test_rgb_is_exact(tmp_path, interlaced):
    samples = [draw(8, 3) for _ in range(10)]
    written(tmp_path, [png_bytes(s, 8, RGB, interlaced=interlaced) for s in samples])
    exactly(tmp_path, samples)


@pytest.mark.parametrize(("kind", "channels"), [(GREY_ALPHA, 1), (RGBA, 3)])
def test_an_alpha_channel_is_dropped_where_it_is_opaque_and_else_refused(tmp_path, kind, channels):
    colours = [draw(8, channels) for _ in range(10)]
    opaque = np.full((*SIZE, 1), 255)
    written(tmp_path, [png_bytes(np.concatenate([c, opaque], -1), 8, kind) for c in colours])
    exactly(tmp_path, colours)
    clear = opaque.copy()
    clear[3, 4] = 254
    (tmp_path / "a" / "3.png").write_bytes(png_bytes(np.concatenate([colours[0], clear], -1), 8, kind))
    refused(tmp_path, "3.png", "transparent")


@pytest.mark.parametrize(("kind", "channels"), [(GREY, 1), (RGB, 3), (GREY_ALPHA, 2), (RGBA, 4)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_sixteen_bits_are_refused(tmp_path, kind, channels, interlaced):
    written(tmp_path, [png_bytes(draw(16, channels), 16, kind, interlaced=interlaced)])
    assert "8-bit" in refused(tmp_path, ".png", "16 bits")


@pytest.mark.parametrize(
    ("kind", "channels", "data"), [(GREY, 1, b"\0\7"), (RGB, 3, b"\0\1\0\2\0\3"), (PALETTE, 1, b"\xff\x80")]
)
def test_transparent_colours_are_refused(tmp_path, kind, channels, data):
    palette = [[1, 2, 3], [4, 5, 6]] if kind == PALETTE else None
    samples = draw(1 if kind == PALETTE else 8, channels)
    written(tmp_path, [png_bytes(samples, 8, kind, palette=palette, before=[(b"tRNS", data)])])
    refused(tmp_path, ".png", "transparent")


def test_several_pictures_in_a_file_are_refused(tmp_path):
    frames = [Image.fromarray(draw(8, 3).astype(np.uint8)) for _ in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    written(tmp_path, [file.getvalue()])
    refused(tmp_path, ".png", "several pictures")


def test_several_pictures_in_a_jpeg_are_refused(tmp_path):
    frames = [Image.fromarray(draw(8, 3).astype(np.uint8)) for _ in range(2)]
    file = io.BytesIO()
    frames[0].save(file, "MPO", save_all=True, append_images=frames[1:])
    written(tmp_path, [file.getvalue()], ".jpg")
    refused(tmp_path, ".jpg", "several pictures")


def test_cmyk_is_refused(tmp_path):
    file = io.BytesIO()
    Image.new("CMYK", (9, 7)).save(file, "JPEG")
    written(tmp_path, [file.getvalue()], ".jpg")
    refused(tmp_path, ".jpg", "CMYK")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_said_and_not_applied(tmp_path, orientation, order):
    samples = [draw(8, 3) for _ in range(10)]
    block = (b"eXIf", exif(orientation, order))
    written(tmp_path, [png_bytes(s, 8, RGB, before=[block]) for s in samples])
    told = Told()
    exactly(tmp_path, samples, told)
    assert any("EXIF orientation" in note for note in told.notes) == (orientation != 1)


def test_an_orientation_of_jpeg_files_is_counted(tmp_path):
    for name, value in (("a", 6), ("b", 1)):
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "train" / name).mkdir(parents=True)
        image = Image.fromarray(draw(8, 3).astype(np.uint8))
        tags = Image.Exif()
        tags[0x0112] = value
        for split in ("train", "test"):
            image.save(tmp_path / split / name / "0.jpg", exif=tags)
    told = Told()
    data = load(DataSpec(name=f"folder:{tmp_path}"), "test", progress=told)
    assert any(note.startswith("1 of 2 images") for note in told.notes)
    for pixels, label in zip(data.inputs, data.labels, strict=True):
        stored = np.asarray(Image.open(tmp_path / "test" / "ab"[label] / "0.jpg"))
        np.testing.assert_array_equal(pixels, np.moveaxis(stored, -1, 0))


def test_damaged_exif_harms_nothing(tmp_path):
    samples = [draw(8, 3) for _ in range(10)]
    blocks = [b"", b"II", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", RANDOM.bytes(40)] * 2
    written(tmp_path, [png_bytes(s, 8, RGB, before=[(b"eXIf", b)]) for s, b in zip(samples, blocks, strict=True)])
    exactly(tmp_path, samples)


def test_a_wrong_checksum_is_refused_wherever_it_lies(tmp_path):
    content = png_bytes(draw(8, 3), 8, RGB)
    for at in range(8, len(content), 5):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        folder = tmp_path / str(at)
        folder.mkdir()
        refused(written(folder, [bytes(damaged)]), ".png")


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"\0"]
)
def test_what_is_no_image_inside_is_refused(tmp_path, content):
    hint = refused(written(tmp_path, [content]), ".png")
    assert "sound copy" in hint


def test_a_header_after_the_pixels_or_twice_is_refused(tmp_path):
    header = png_bytes(draw(16, 3), 16, RGB)[16:29]
    written(tmp_path, [png_bytes(draw(8, 3), 8, RGB, before=[(b"IHDR", header)])])
    refused(tmp_path, ".png", "header")


def test_images_of_one_and_two_kinds_that_hold_the_same_colours_make_one_set(tmp_path):
    palette = RANDOM.integers(0, 256, (256, 3))
    indices, colours = draw(8), draw(8, 3)
    opaque = np.concatenate([colours, np.full((*SIZE, 1), 255)], -1)
    contents = [png_bytes(indices, 8, PALETTE, palette=palette), png_bytes(opaque, 8, RGBA)] * 5
    exactly(written(tmp_path, contents), [palette[indices[..., 0]], colours] * 5)
    (tmp_path / "a" / "7.png").write_bytes(png_bytes(draw(8), 8, GREY))
    refused(tmp_path, "7.png", "grey")


CLUTTER = ["Thumbs.db", "thumbs.db", "ehthumbs.db", ".DS_Store", "desktop.ini", "Desktop.ini", "._0.png", "Icon\r"]
CLUTTER_FOLDERS = [
    ".ipynb_checkpoints",
    "__MACOSX",
    "@eaDir",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
]


@pytest.mark.parametrize("name", [*CLUTTER, *CLUTTER_FOLDERS])
@pytest.mark.parametrize("place", ["", "a"])
def test_what_systems_leave_is_passed_over(tmp_path, name, place):
    samples = [draw(8, 3) for _ in range(10)]
    written(tmp_path, [png_bytes(s, 8, RGB) for s in samples])
    if name in CLUTTER_FOLDERS:
        (tmp_path / place / name).mkdir()
        (tmp_path / place / name / "0-checkpoint.png").write_bytes(b"torn")
    else:
        (tmp_path / place / name).write_bytes(b"torn")
    exactly(tmp_path, samples)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("README.txt", "no PNG or JPEG"),
        ("labels.csv", "no PNG or JPEG"),
        ("3.webp", "no PNG or JPEG"),
        ("3.png.part", "no PNG or JPEG"),
        ("deeper/", "folder within"),
        ("deeper.png/", "folder within"),
        ("gone.png@", "link to nothing"),
        ("pipe.png|", "no PNG or JPEG"),
    ],
)
def test_other_things_in_a_class_folder_are_refused_by_name(tmp_path, name, reason):
    write_class_folders(tmp_path, {"a": 10, "b": 10})
    path = tmp_path / "a" / name.rstrip("/@|")
    if name.endswith("/"):
        path.mkdir()
    elif name.endswith("@"):
        path.symlink_to(tmp_path / "nowhere")
    elif name.endswith("|"):
        os.mkfifo(path)
    else:
        path.write_bytes(b"text")
    assert "elsewhere" in refused(tmp_path, path.name, reason)


def test_links_to_images_and_to_class_folders_are_followed(tmp_path):
    samples = [draw(8, 3) for _ in range(10)]
    (tmp_path / "real").mkdir()
    written(tmp_path / "real", [png_bytes(s, 8, RGB) for s in samples])
    (tmp_path / "set" / "a").mkdir(parents=True)
    for path in (tmp_path / "real" / "a").iterdir():
        (tmp_path / "set" / "a" / path.name).symlink_to(path)
    (tmp_path / "set" / "b").symlink_to(tmp_path / "real" / "b", target_is_directory=True)
    exactly(tmp_path / "set", samples)


def test_an_image_outside_of_the_class_folders_is_refused(tmp_path):
    write_class_folders(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "a" / "000.png").rename(tmp_path / "stray.PNG")
    refused(tmp_path, "stray.PNG", "outside")


@pytest.mark.parametrize("names", [("Cat", "cat"), ("\u00e9", "e\u0301"), ("STRASSE", "straße")])
def test_class_folders_that_differ_in_capitals_only_are_refused(tmp_path, names):
    write_class_folders(tmp_path, dict.fromkeys(names, 10))
    assert "delete" not in refused(tmp_path, "capitals", *names)


VALIDATION = ["val", "valid", "validation", "dev", "Val", "VALID", "Validation"]


@pytest.mark.parametrize("name", VALIDATION)
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing")])
def test_a_validation_folder_validates_under_each_of_its_names(tmp_path, name, train, test):
    parts = {
        split: write_class_folders(tmp_path / folder, {"a": n, "b": 1}, seed=n)
        for n, (split, folder) in enumerate((("train", train), ("validation", name), ("test", test)), start=2)
    }
    for split, pixels in parts.items():
        data = load(DataSpec(name=f"folder:{tmp_path}"), split)
        pairs = zip(data.inputs, data.labels, strict=True)
        found = sorted((np.moveaxis(p, 0, -1).tobytes(), data.class_names[k]) for p, k in pairs)
        assert found == sorted((array.tobytes(), path[0]) for path, array in pixels.items())


def test_two_folders_of_one_split_are_refused(tmp_path):
    for name in ("train", "val", "valid", "test"):
        write_class_folders(tmp_path / name, {"a": 2, "b": 2})
    refused(tmp_path, "`val`", "`valid`", "validation")


def test_splits_without_class_folders_are_refused(tmp_path):
    write_class_folders(tmp_path, {"train": 10, "test": 10})
    refused(tmp_path, "`test`, `train`", "without class folders")


def test_a_class_may_be_called_train(tmp_path):
    write_class_folders(tmp_path, {"train": 10, "plane": 10, "car": 10})
    assert load(DataSpec(name=f"folder:{tmp_path}"), "test").class_names == ("car", "plane", "train")


def test_folders_of_no_split_are_named(tmp_path):
    for name in ("train", "test", "unlabelled"):
        write_class_folders(tmp_path / name, {"a": 5, "b": 5})
    told = Told()
    load(DataSpec(name=f"folder:{tmp_path}"), "test", progress=told)
    assert any("unlabelled" in note for note in told.notes)


def test_classes_that_a_split_lacks_are_named(tmp_path):
    write_class_folders(tmp_path / "train", {"a": 5, "b": 5, "c": 5})
    write_class_folders(tmp_path / "test", {"c": 5, "a": 5})
    told = Told()
    data = load(DataSpec(name=f"folder:{tmp_path}"), "test", progress=told)
    assert set(data.labels.tolist()) == {0, 2}
    assert any("no images of the classes b" in note for note in told.notes)


def test_numbers_as_class_names_are_explained_where_they_are_not_the_classes(tmp_path):
    write_class_folders(tmp_path, {str(i): 10 for i in range(11)}, shape=(2, 2))
    told = Told()
    assert load(DataSpec(name=f"folder:{tmp_path}"), "test", progress=told).class_names[2] == "10"
    assert any("class 2 is `10`" in note for note in told.notes)


def test_nearly_black_images_are_named(tmp_path):
    dark = [draw(1) for _ in range(10)]  # a mask of 0 and 1 saved as if it were grey
    written(tmp_path, [png_bytes(s, 8, GREY) for s in dark])
    told = Told()
    load(DataSpec(name=f"folder:{tmp_path}"), "train", progress=told)
    assert any("is above 1, where 255 is white" in note for note in told.notes)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_png_files_are_never_read_as_other_pixels(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("png")
    samples = draw(8, 3)
    content = bytearray(png_bytes(samples, 8, RGB))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    written(folder, [bytes(content)] * 10)
    found = []
    message = refusal(lambda: found.extend(images(folder)))
    assert message is None or ".png" in message
    assert all(np.array_equal(image, np.moveaxis(samples, -1, 0)) for image in found)
