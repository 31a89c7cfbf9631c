"""CelebA's layout, splits and crop, against small sets written here."""

import numpy as np
import pytest
from PIL import Image

from robench.data import load
from robench.data.celeba import split_rows
from robench.specs.data import DataSpec
from tests.data.formats import Told, hint_of_refusal, write_celeba, write_image

GLASSES = [i % 3 == 0 for i in range(30)]
ATTRIBUTE_FILE = "list_attr_celeba.txt"


def get(folder, split="test", **options):
    return load(DataSpec(name="celeba"), split, data_dir=folder, **options)


def refused(folder, *parts, split="test"):
    hint_of_refusal(lambda: get(folder, split), *parts)


def edit(folder, change):
    path = folder / ATTRIBUTE_FILE
    path.write_text(change(path.read_text()))


def test_the_counts_of_the_paper_with_as_many_images_as_celeba():
    labels = np.zeros(202_599, dtype=np.int64)
    labels[np.random.default_rng(0).permutation(len(labels))[:13_193]] = 1
    rows = split_rows(labels)
    for split in ("train", "test"):
        assert len(rows[split]) == 16_914
        assert labels[rows[split]].sum() == 6_427
    together = np.concatenate(list(rows.values()))
    assert len(set(together.tolist())) == len(together)
    assert abs(labels[rows["validation"]].mean() - 0.38) < 0.001
    assert labels[rows["validation"]].sum() == 13_193 - 2 * 6_427
    for label in (0, 1):
        highest_train = max(rows["train"][labels[rows["train"]] == label])
        lowest_test = min(rows["test"][labels[rows["test"]] == label])
        assert highest_train < lowest_test


@pytest.mark.parametrize("n_glasses", [2, 3, 10, 60, 400])
@pytest.mark.parametrize("n_others", [3, 20, 700])
def test_fewer_images_give_disjoint_splits_of_the_same_proportion(n_glasses, n_others):
    labels = np.array([1] * n_glasses + [0] * n_others)
    labels = labels[np.random.default_rng(1).permutation(len(labels))]
    rows = split_rows(labels)
    together = np.concatenate(list(rows.values()))
    assert len(set(together.tolist())) == len(together)
    assert len(rows["train"]) == len(rows["test"])
    for split in ("train", "test"):
        wearing = labels[rows[split]].sum()
        assert abs(wearing - 0.38 * len(rows[split])) <= 0.6


@pytest.mark.parametrize("place", [".", "celeba", "CelebA"])
def test_reads_the_canonical_layout(tmp_path, place):
    write_celeba(tmp_path / place, GLASSES)
    rows = split_rows(np.array(GLASSES, dtype=np.int64))
    for split in ("train", "test"):
        data = get(tmp_path, split)
        assert data.inputs.shape == (len(rows[split]), 3, 128, 128)
        assert data.inputs.dtype == np.uint8
        assert data.class_names == ("no eyeglasses", "eyeglasses")
        np.testing.assert_array_equal(data.labels, np.array(GLASSES)[rows[split]])
        for row, pixels in zip(rows[split], data.inputs, strict=True):
            with Image.open(tmp_path / place / "img_align_celeba" / f"{row + 1:06d}.jpg") as image:
                colour = np.asarray(image)[100, 100]
            np.testing.assert_array_equal(pixels, np.broadcast_to(colour[:, None, None], (3, 128, 128)))


def test_reads_the_layout_as_distributed(tmp_path):
    write_celeba(tmp_path, GLASSES)
    (tmp_path / "Anno").mkdir()
    (tmp_path / "Img").mkdir()
    (tmp_path / ATTRIBUTE_FILE).rename(tmp_path / "Anno" / ATTRIBUTE_FILE)
    (tmp_path / "img_align_celeba").rename(tmp_path / "Img" / "img_align_celeba")
    assert len(get(tmp_path)) > 0


def test_the_crop_is_the_centered_square(tmp_path):
    write_celeba(tmp_path, GLASSES)
    pixels = np.zeros((218, 178, 3), dtype=np.uint8)
    pixels[:20], pixels[198:] = 255, 255
    pixels[20:198, :, 1] = np.linspace(0, 250, 178).astype(np.uint8)
    for path in (tmp_path / "img_align_celeba").iterdir():
        write_image(path, pixels, quality=95)
    centered = get(tmp_path, limit=1).inputs[0].astype(float)
    assert centered[[0, 2]].max() < 60
    columns = centered[1, 20:-20].mean(0)
    expected = np.interp((np.arange(128) + 0.5) * 178 / 128 - 0.5, np.arange(178), np.linspace(0, 250, 178))
    assert np.abs(columns - expected)[2:-2].max() < 4


def test_a_limit_decodes_that_many_and_changes_no_sum(tmp_path):
    write_celeba(tmp_path, GLASSES)
    told = Told()
    part, whole = get(tmp_path, limit=3, progress=told), get(tmp_path)
    assert ("decoding images", 3) in told.stages
    assert [total for _, total in told.stages] == told.steps
    assert part.sha256 == whole.sha256
    np.testing.assert_array_equal(part.inputs, whole.inputs[:3])


def test_missing_parts_are_named(tmp_path):
    refused(tmp_path, ATTRIBUTE_FILE)
    write_celeba(tmp_path, GLASSES)
    (tmp_path / "img_align_celeba" / "000030.jpg").unlink()
    refused(tmp_path, "000030.jpg", "does not exist")
    (tmp_path / "img_align_celeba").rename(tmp_path / "other")
    refused(tmp_path, "img_align_celeba")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: "", "number of images"),
        (lambda text: text.replace("30\n", "thirty\n", 1), "number of images"),
        (lambda text: "9" * 5000 + text, "number of images"),
        (lambda text: text.replace("30\n", "31\n", 1), "31 images and lists 30"),
        (lambda text: text.rsplit("\n", 2)[0] + "\n", "30 images and lists 29"),
        (lambda text: text[:-6] + "\n", "line 32"),
        (lambda text: text.replace("Eyeglasses", "Hat"), "Eyeglasses"),
        (lambda text: text.replace("000004.jpg  -1  1", "000004.jpg  -1  2"), "line 6"),
        (lambda text: text.replace("000004.jpg  -1  1", "000004.jpg  -1  0"), "line 6"),
        (lambda text: text.replace("000004.jpg", "../../../etc/passwd.jpg"), "line 6"),
        (lambda text: text.replace("000004.jpg", "/etc/passwd"), "line 6"),
        (lambda text: text.replace("000004.jpg", "000005.jpg"), "twice"),
        (lambda text: text.replace("000004.jpg", "000004.jpg\0"), "line 6"),
    ],
)
def test_a_broken_attribute_list_is_refused(tmp_path, change, reason):
    write_celeba(tmp_path, GLASSES)
    edit(tmp_path, change)
    refused(tmp_path, ATTRIBUTE_FILE, reason)


def test_images_of_another_size_or_broken_are_refused(tmp_path):
    write_celeba(tmp_path, GLASSES)
    last = tmp_path / "img_align_celeba" / "000030.jpg"
    whole = last.read_bytes()
    write_image(last, np.zeros((128, 128, 3), dtype=np.uint8))
    refused(tmp_path, "000030.jpg", "128 x 128", "178 x 218")
    write_image(last, np.zeros((218, 178), dtype=np.uint8))
    refused(tmp_path, "000030.jpg", "grey")
    for content in (b"", b"GIF89a", whole[:100], whole[: len(whole) // 2]):
        last.write_bytes(content)
        refused(tmp_path, "000030.jpg")


@pytest.mark.parametrize("glasses", [[True] * 10, [False] * 10, [True], []])
def test_too_few_images_of_a_class_are_refused(tmp_path, glasses):
    (tmp_path / "img_align_celeba").mkdir()
    write_celeba(tmp_path, glasses)
    refused(tmp_path, ATTRIBUTE_FILE, "too few", split="train")
