"""Class folders of images: order, splits, and files that are not what they should be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robench.data import load
from robench.specs.data import DataSpec
from tests.data.formats import Told, hint_of_refusal, refusal, write_class_folders, write_image

COUNTS = {"cat": 10, "ant": 20}


def get(path, split="test", **options):
    return load(DataSpec(name=f"folder:{path}"), split, **options)


def refused(path, *parts, split="train"):
    hint_of_refusal(lambda: get(path, split), *parts)


def pairs(data):
    """Pixels as (H, W, C) bytes with the class name, without order."""
    names = [data.class_names[label] for label in data.labels]
    return sorted((np.moveaxis(p, 0, -1).tobytes(), name) for p, name in zip(data.inputs, names, strict=True))


def expected(written):
    return sorted((pixels.tobytes(), name.split("/")[0]) for name, pixels in written.items())


def test_one_level_is_split_70_10_20_by_class(tmp_path):
    written = write_class_folders(tmp_path, COUNTS)
    parts = [get(tmp_path, split) for split in ("train", "validation", "test")]
    assert parts[0].class_names == ("ant", "cat")
    assert [np.bincount(part.labels).tolist() for part in parts] == [[14, 7], [2, 1], [4, 2]]
    assert sorted(pair for part in parts for pair in pairs(part)) == expected(written)
    assert parts[0].shape == (3, 6, 5)


def test_train_and_test_folders_are_the_splits(tmp_path):
    train = write_class_folders(tmp_path / "train", COUNTS, seed=1)
    test = write_class_folders(tmp_path / "test", {"cat": 3, "ant": 2}, seed=2)
    assert pairs(get(tmp_path)) == expected(test)
    parts = [get(tmp_path, split) for split in ("train", "validation")]
    assert [len(part) for part in parts] == [27, 3]
    assert sorted(pair for part in parts for pair in pairs(part)) == expected(train)
    validation = write_class_folders(tmp_path / "validation", {"cat": 1, "ant": 1}, seed=3)
    assert pairs(get(tmp_path, "validation")) == expected(validation)
    assert pairs(get(tmp_path, "train")) == expected(train)


def test_the_first_images_are_of_all_classes(tmp_path):
    write_class_folders(tmp_path, {"a": 30, "b": 30})
    assert set(get(tmp_path, "train", limit=10).labels.tolist()) == {0, 1}


def test_grey_images_have_one_channel(tmp_path):
    written = write_class_folders(tmp_path, COUNTS, shape=(6, 5))
    assert get(tmp_path).shape == (1, 6, 5)
    parts = [get(tmp_path, split) for split in ("train", "validation", "test")]
    assert sorted(pair for part in parts for pair in pairs(part)) == expected(written)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".PNG"])
def test_jpeg_and_upper_case_suffixes(tmp_path, suffix):
    write_class_folders(tmp_path, COUNTS, suffix=suffix)
    assert len(get(tmp_path)) == 6


def test_a_limit_decodes_that_many_and_changes_no_sum(tmp_path):
    write_class_folders(tmp_path, COUNTS)
    told = Told()
    part, whole = get(tmp_path, limit=2, progress=told), get(tmp_path)
    assert ("decoding images", 2) in told.stages
    assert part.sha256 == whole.sha256
    np.testing.assert_array_equal(part.inputs, whole.inputs[:2])


def test_sha256_changes_with_a_pixel_and_with_a_label(tmp_path):
    write_class_folders(tmp_path / "a" / "test", COUNTS)
    write_class_folders(tmp_path / "a" / "train", COUNTS)
    before = get(tmp_path / "a").sha256
    pixels = np.asarray(Image.open(tmp_path / "a" / "test" / "cat" / "000.png")).copy()
    pixels[0, 0, 0] ^= 1
    write_image(tmp_path / "a" / "test" / "cat" / "000.png", pixels)
    changed = get(tmp_path / "a").sha256
    (tmp_path / "a" / "test" / "cat" / "009.png").rename(tmp_path / "a" / "test" / "ant" / "020.png")
    assert len({before, changed, get(tmp_path / "a").sha256}) == 3


def test_missing_and_empty_folders_are_named(tmp_path):
    refused(tmp_path / "none", "none", "not a folder")
    refused(tmp_path, "0 class folders")
    write_class_folders(tmp_path, {"only": 3})
    refused(tmp_path, "1 class folders")
    (tmp_path / "empty").mkdir()
    refused(tmp_path, "empty", "no images")


def test_a_split_that_is_not_there_is_refused(tmp_path):
    write_class_folders(tmp_path / "train", COUNTS)
    refused(tmp_path, "no folder for the test split", "`train`", split="test")
    (tmp_path / "train").rename(tmp_path / "test")
    for split in ("train", "validation"):
        refused(tmp_path, "no folder for the train split", "`test`", split=split)


@pytest.mark.parametrize(("name", "split"), [("test", "test"), ("Testing", "test"), ("val", "validation")])
def test_what_is_evaluated_needs_no_training_images(tmp_path, name, split):
    written = write_class_folders(tmp_path / name, COUNTS)
    told = Told()
    data = load(DataSpec(name=f"folder:{tmp_path}"), split, progress=told)
    assert pairs(data) == expected(written)
    assert any("no training images" in note for note in told.notes)


def test_images_of_another_size_than_the_training_images_are_refused(tmp_path):
    write_class_folders(tmp_path / "train", COUNTS)
    write_class_folders(tmp_path / "test", COUNTS, shape=(7, 5, 3))
    refused(tmp_path, "5 x 7 pixels", "5 x 6", split="test")
    assert get(tmp_path, "train").shape == (3, 6, 5)


def test_a_test_class_that_training_lacks_is_refused(tmp_path):
    write_class_folders(tmp_path / "train", COUNTS)
    write_class_folders(tmp_path / "test", {"dog": 2, "ant": 2})
    refused(tmp_path, "dog", "ant, cat", split="test")


@pytest.mark.parametrize("name", ["notes.txt", "labels.csv", "image.gif", "deeper.png/"])
def test_what_is_no_image_file_is_refused(tmp_path, name):
    write_class_folders(tmp_path, COUNTS)
    path = tmp_path / "cat" / name
    if name.endswith("/"):
        path.mkdir()
    else:
        path.write_bytes(b"text")
    refused(tmp_path, path.name)


def test_classes_are_numbered_by_sorted_name(tmp_path):
    names = ["b", "a10", "a9", "Z", "é", *(f"c{i}" for i in range(20, 0, -1))]
    write_class_folders(tmp_path, dict.fromkeys(names, 2))
    assert get(tmp_path, "train").class_names == tuple(sorted(names))


def test_hidden_files_are_passed_over(tmp_path):
    write_class_folders(tmp_path, COUNTS)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    assert get(tmp_path).classes == 2


def everywhere_refused(folder, *parts):
    """Some split holds the file, and that one is refused."""
    messages = [refusal(lambda split=split: get(folder, split)) for split in ("train", "validation", "test")]
    for part in parts:
        assert any(part in message for message in messages if message)


def test_other_sizes_and_modes_are_refused_with_the_file(tmp_path):
    write_class_folders(tmp_path, COUNTS)
    odd = tmp_path / "cat" / "004.png"
    write_image(odd, np.zeros((5, 6, 3), dtype=np.uint8))
    everywhere_refused(tmp_path, "004.png", "6 x 5 pixels")
    write_image(odd, np.zeros((6, 5), dtype=np.uint8))
    everywhere_refused(tmp_path, "004.png", "grey")
    write_image(odd, np.zeros((6, 5, 4), dtype=np.uint8))
    everywhere_refused(tmp_path, "004.png", "RGBA")


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [5000, 12_000, 60_000, 2**31 - 1])
def test_decompression_bombs_are_refused_by_their_header(tmp_path, side):
    write_class_folders(tmp_path, COUNTS)
    for path in (tmp_path / "ant").iterdir():
        path.write_bytes(png_header(side, side))
    refused(tmp_path, ".png", "too many")


def test_truncated_images_are_refused(tmp_path):
    write_class_folders(tmp_path, COUNTS, shape=(40, 40, 3))
    for path in (tmp_path / "ant").iterdir():
        path.write_bytes(path.read_bytes()[:2000])
    refused(tmp_path, ".png", "truncated or broken")


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_damaged_images_are_read_or_refused_never_worse(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("folder")
    suffix = data.draw(st.sampled_from([".png", ".jpg"]))
    write_class_folders(folder, {"a": 1, "b": 1}, suffix=suffix, shape=(12, 12, 3))
    path = folder / "a" / f"000{suffix}"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    message = refusal(lambda: get(folder, "train"))
    assert message is None or str(folder) in message
