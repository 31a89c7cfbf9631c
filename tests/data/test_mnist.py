"""The idx format and the two sets in it, against files written here and against the real ones where present."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robench.data import load, mnist
from robench.data.idx import read_idx
from robench.specs.data import DataSpec
from tests.data.formats import Told, hint_of_refusal, idx_bytes, real_data, refusal, write_idx_set

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def get(folder, split="test", name="mnist", **options):
    return load(DataSpec(name=name), split, data_dir=folder, **options)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6)), st.booleans())
def test_idx_round_trip(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "file"
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if packed else content)
    read = read_idx(path, array.ndim)
    np.testing.assert_array_equal(read.array, array)
    assert read.content == content


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60), st.integers(0, 40), st.booleans())
def test_damaged_idx_files_are_read_or_refused_never_worse(tmp_path_factory, noise, at, packed):
    content = bytearray(idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2)))
    content = gzip.compress(bytes(content)) if packed else bytes(content)
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])
    message = refusal(lambda: read_idx(path, 3))
    assert message is None or str(path) in message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw"])
def test_reads_raw_and_gz_in_each_usual_folder(tmp_path, packed, place):
    written = write_idx_set(tmp_path / place, packed=packed)
    images, labels = written["test"]
    data = get(tmp_path)
    np.testing.assert_array_equal(data.inputs[:, 0], images)
    np.testing.assert_array_equal(data.labels, labels)
    assert data.shape == (1, 28, 28)
    assert data.canonical is False


def test_validation_is_the_last_sixth_of_the_training_file(tmp_path):
    images, labels = write_idx_set(tmp_path, train=60)["train"]
    train, validation = get(tmp_path, "train"), get(tmp_path, "validation")
    assert (len(train), len(validation)) == (50, 10)
    np.testing.assert_array_equal(np.concatenate([train.inputs, validation.inputs])[:, 0], images)
    np.testing.assert_array_equal(np.concatenate([train.labels, validation.labels]), labels)


def test_both_sets_in_one_data_folder(tmp_path):
    digits = write_idx_set(tmp_path / "mnist", seed=1)["test"]
    clothes = write_idx_set(tmp_path / "fashion-mnist", seed=2)["test"]
    np.testing.assert_array_equal(get(tmp_path).inputs[:, 0], digits[0])
    fashion = get(tmp_path, name="fashion-mnist")
    np.testing.assert_array_equal(fashion.inputs[:, 0], clothes[0])
    assert fashion.class_names[9] == "Ankle boot"


def test_unpublished_files_are_noted(tmp_path):
    write_idx_set(tmp_path)
    told = Told()
    get(tmp_path, progress=told)
    assert any("not the published" in note for note in told.notes)


def refused(folder, *parts, split="test", name="mnist"):
    hint_of_refusal(lambda: get(folder, split, name), *parts)


def test_missing_files_and_folders_are_named(tmp_path):
    refused(tmp_path / "nowhere", "nowhere", "does not exist")
    refused(tmp_path, TEST_IMAGES, str(tmp_path))
    write_idx_set(tmp_path)
    (tmp_path / TEST_LABELS).unlink()
    refused(tmp_path, TEST_LABELS, str(tmp_path))


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_is_refused(tmp_path, packed):
    write_idx_set(tmp_path, packed=packed)
    path = tmp_path / (TEST_IMAGES + (".gz" if packed else ""))
    content = path.read_bytes()
    for length in [0, 1, 3, 4, 9, 15, 16, len(content) // 2, len(content) - 9, len(content) - 1]:
        path.write_bytes(content[:length])
        refused(tmp_path, path.name)


def test_a_longer_file_is_refused(tmp_path):
    write_idx_set(tmp_path)
    path = tmp_path / TEST_IMAGES
    path.write_bytes(path.read_bytes() + b"\0")
    refused(tmp_path, TEST_IMAGES, "too long")


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_promises_4_billion_images_costs_no_memory(tmp_path, packed, monkeypatch):
    write_idx_set(tmp_path)
    content = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 28, 28) + b"\0" * 100
    (tmp_path / TEST_IMAGES).write_bytes(gzip.compress(content) if packed else content)
    refused(tmp_path, TEST_IMAGES, "4294967295")


def test_a_gzip_bomb_is_read_no_further_than_its_header_promises(tmp_path):
    write_idx_set(tmp_path)
    content = idx_bytes(np.zeros((5, 28, 28))) + b"\0" * 50_000_000
    (tmp_path / TEST_IMAGES).write_bytes(gzip.compress(content, 1))
    refused(tmp_path, TEST_IMAGES, "too long")


@pytest.mark.parametrize("magic", [b"\0\0\x0d\x03", b"\0\0\x08\x01", b"PK\x03\x04", b"<htm"])
def test_wrong_magic_is_refused(tmp_path, magic):
    write_idx_set(tmp_path)
    path = tmp_path / TEST_IMAGES
    path.write_bytes(magic + path.read_bytes()[4:])
    refused(tmp_path, TEST_IMAGES, magic.hex())


def test_wrong_image_size_is_refused(tmp_path):
    write_idx_set(tmp_path)
    (tmp_path / TEST_IMAGES).write_bytes(idx_bytes(np.zeros((5, 32, 28))))
    refused(tmp_path, TEST_IMAGES, "32 x 28")


def test_label_count_and_range_are_checked(tmp_path):
    write_idx_set(tmp_path)
    path = tmp_path / TEST_LABELS
    path.write_bytes(idx_bytes(np.zeros(4)))
    refused(tmp_path, TEST_LABELS, "4 labels", "5 images")
    path.write_bytes(idx_bytes(np.array([1, 2, 10, 3, 9])))
    refused(tmp_path, TEST_LABELS, "label 10 at position 2")


def test_no_images_at_all_is_refused(tmp_path):
    write_idx_set(tmp_path, test=0)
    refused(tmp_path, "test", "no images")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    write_idx_set(tmp_path)
    (tmp_path / TEST_IMAGES).unlink()
    (tmp_path / TEST_IMAGES).mkdir()
    refused(tmp_path, TEST_IMAGES, "folder")


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    write_idx_set(tmp_path)
    whole = Path.open

    def forbidden(self, *args, **options):
        if self.name == TEST_IMAGES:
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self, *args, **options)

    monkeypatch.setattr(Path, "open", forbidden)
    refused(tmp_path, TEST_IMAGES, "permission")


@pytest.fixture
def real():
    folder = real_data()
    if folder is None or not (folder / "mnist").is_dir():
        pytest.skip("real MNIST is absent: set ROBENCH_TEST_DATA")
    return folder


def test_real_mnist_has_the_splits_of_the_paper(real):
    sizes = {split: get(real, split) for split in ("train", "validation", "test")}
    assert {split: len(data) for split, data in sizes.items()} == {
        "train": 50_000,
        "validation": 10_000,
        "test": 10_000,
    }
    assert all(data.canonical for data in sizes.values())
    assert sizes["train"].labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert sizes["test"].labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    counts = sum(np.bincount(sizes[split].inputs.ravel(), minlength=256) for split in ("train", "validation"))
    grey, share = np.arange(256) / 255, counts / counts.sum()
    mean = share @ grey
    assert abs(mean - 0.1307) < 5e-5
    assert abs(np.sqrt(share @ (grey - mean) ** 2) - 0.3081) < 5e-5


def link(real, folder, **names):
    folder.mkdir(exist_ok=True)
    for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS):
        (folder / f"{name}.gz").symlink_to(real / "mnist" / f"{names.get(name.replace('-', '_'), name)}.gz")


def test_real_mnist_under_the_name_of_the_other_set_is_refused(real, tmp_path):
    link(real, tmp_path / "fashion-mnist")
    refused(tmp_path, "of mnist, not", name="fashion-mnist")


def test_real_mnist_with_swapped_files_is_refused(real, tmp_path):
    link(real, tmp_path / "a", t10k_images_idx3_ubyte=TRAIN_IMAGES, t10k_labels_idx1_ubyte=TRAIN_LABELS)
    refused(tmp_path / "a", TRAIN_IMAGES)


def test_real_mnist_with_other_labels_is_refused(real, tmp_path):
    link(real, tmp_path)
    labels = gzip.decompress((tmp_path / f"{TEST_LABELS}.gz").read_bytes())
    (tmp_path / f"{TEST_LABELS}.gz").unlink()
    (tmp_path / TEST_LABELS).write_bytes(labels[:8] + labels[9:] + labels[8:9])
    refused(tmp_path, TEST_LABELS, "published labels")


def test_the_guard_is_what_refuses_the_other_set(real, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "IDX_CONTENTS", {})
    link(real, tmp_path / "fashion-mnist")
    assert get(tmp_path, name="fashion-mnist").canonical is False
