"""CIFAR-10's binary version as folder and tar, against files written here and against the real ones where present."""

import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robench.data import cifar, load
from robench.specs.data import DataSpec
from tests.data.formats import CIFAR_FILES, Told, cifar_bytes, hint_of_refusal, real_data, write_cifar, write_tar

FOLDER = "cifar-10-batches-bin"
SIZE = 3073


def get(folder, split="test", **options):
    return load(DataSpec(name="cifar10"), split, data_dir=folder, **options)


def refused(folder, *parts, split="test"):
    hint_of_refusal(lambda: get(folder, split), *parts)


def members(folder):
    return [(f"{FOLDER}/{name}", (folder / name).read_bytes()) for name in CIFAR_FILES]


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_round_trip(tmp_path_factory, data):
    n = data.draw(st.integers(1, 3))
    images = data.draw(hnp.arrays(np.uint8, (n, 3, 32, 32)))
    labels = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 9)))
    folder = tmp_path_factory.mktemp("cifar")
    (folder / "test_batch.bin").write_bytes(cifar_bytes(images, labels))
    loaded = get(folder)
    np.testing.assert_array_equal(loaded.inputs, images)
    np.testing.assert_array_equal(loaded.labels, labels)


@pytest.mark.parametrize("place", [".", FOLDER, "cifar10", f"cifar10/{FOLDER}"])
def test_validation_is_the_last_tenth_of_the_training_images(tmp_path, place):
    images, labels = write_cifar(tmp_path / place, per_batch=4)["train"]
    train, validation = get(tmp_path, "train"), get(tmp_path, "validation")
    assert (len(train), len(validation)) == (18, 2)
    np.testing.assert_array_equal(np.concatenate([train.inputs, validation.inputs]), images)
    np.testing.assert_array_equal(np.concatenate([train.labels, validation.labels]), labels)


@pytest.mark.parametrize(("name", "mode"), [("cifar-10-binary.tar.gz", "w:gz"), ("cifar-10-binary.tar", "w")])
def test_the_tar_gives_what_the_folder_gives(tmp_path, name, mode):
    write_cifar(tmp_path / FOLDER)
    (tmp_path / "tar").mkdir()
    write_tar(tmp_path / "tar" / name, members(tmp_path / FOLDER), mode)
    for split in ("train", "validation", "test"):
        folder = get(tmp_path, split)
        for place in (tmp_path / "tar", tmp_path / "tar" / name):
            archive = get(place, split)
            assert archive.sha256 == folder.sha256
            np.testing.assert_array_equal(archive.inputs, folder.inputs)
    assert sorted(path.name for path in (tmp_path / "tar").iterdir()) == [name]


def test_missing_files_are_named(tmp_path):
    refused(tmp_path, str(tmp_path))
    write_cifar(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    refused(tmp_path, "data_batch_3.bin", split="train")
    assert len(get(tmp_path)) == 3


@pytest.mark.parametrize("length", [0, 1, 100, SIZE + 1, 4 * SIZE - 1])
def test_truncation_within_a_record_is_refused(tmp_path, length):
    write_cifar(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:length])
    refused(tmp_path, "data_batch_2.bin", split="train")


def test_truncation_between_records_is_refused(tmp_path):
    write_cifar(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[: 3 * SIZE])
    refused(tmp_path, "data_batch_2.bin", "3 records, not 4", split="train")


def test_a_short_test_file_beside_full_ones_is_refused(tmp_path):
    write_cifar(tmp_path)
    with (tmp_path / "data_batch_1.bin").open("wb") as file:
        file.truncate(10_000 * SIZE)
    refused(tmp_path, "test_batch.bin", "3 records, not 10000")


def test_a_file_of_more_records_than_published_is_refused(tmp_path):
    write_cifar(tmp_path)
    with (tmp_path / "test_batch.bin").open("wb") as file:
        file.truncate(10_001 * SIZE)
    refused(tmp_path, "test_batch.bin")


def test_labels_above_9_are_refused(tmp_path):
    write_cifar(tmp_path)
    path = tmp_path / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[SIZE] = 10
    path.write_bytes(content)
    refused(tmp_path, "test_batch.bin", "label 10 in record 1")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    write_cifar(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    (tmp_path / "test_batch.bin").mkdir()
    refused(tmp_path, "test_batch.bin", "folder")


def test_files_in_the_place_of_others_are_refused(tmp_path, monkeypatch):
    import hashlib

    write_cifar(tmp_path)
    published = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in CIFAR_FILES}
    monkeypatch.setattr(cifar, "CIFAR10_CONTENTS", published)
    assert get(tmp_path, "train").canonical
    (tmp_path / "data_batch_1.bin").write_bytes((tmp_path / "data_batch_2.bin").read_bytes())
    refused(tmp_path, "data_batch_1.bin", "content of `data_batch_2.bin`", split="train")


def test_unpublished_files_are_noted(tmp_path):
    write_cifar(tmp_path)
    told = Told()
    assert get(tmp_path, progress=told).canonical is False
    assert any("not the published" in note for note in told.notes)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
@pytest.mark.parametrize("cut", [1, 10, 200, 3000, -200])
def test_a_torn_archive_is_refused(tmp_path, cut, mode):
    write_cifar(tmp_path / FOLDER)
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_tar(path, members(tmp_path / FOLDER), mode)
    path.write_bytes(path.read_bytes()[:cut])
    refused(path, path.name)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_a_damaged_archive_is_refused(tmp_path, mode):
    write_cifar(tmp_path / FOLDER)
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_tar(path, members(tmp_path / FOLDER), mode)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    refused(path, path.name)


def test_an_archive_without_a_batch_is_refused(tmp_path):
    write_cifar(tmp_path)
    path = tmp_path / "some.tar.gz"
    write_tar(path, members(tmp_path)[:4])
    refused(path, "some.tar.gz", "data_batch_5.bin", split="train")


def hostile(kind):
    info = tarfile.TarInfo(f"{FOLDER}/test_batch.bin")
    info.type = {"symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}[kind]
    info.linkname = "/etc/passwd"
    return info


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "device"])
def test_links_and_devices_in_an_archive_are_refused(tmp_path, kind):
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_tar(path, [("", hostile(kind))])
    refused(path, path.name, "test_batch.bin")


def test_members_that_point_outside_write_nothing(tmp_path):
    write_cifar(tmp_path / FOLDER)
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "cifar-10-binary.tar.gz"
    write_tar(path, [("../../evil.txt", b"evil"), ("/tmp/robench-evil.txt", b"evil"), *members(tmp_path / FOLDER)])
    assert len(get(path)) == 3
    assert not (tmp_path / "evil.txt").exists()
    assert [item.name for item in (tmp_path / "inner").iterdir()] == [path.name]


def test_a_member_twice_is_refused(tmp_path):
    write_cifar(tmp_path / FOLDER)
    path = tmp_path / "cifar-10-binary.tar"
    write_tar(path, [*members(tmp_path / FOLDER), members(tmp_path / FOLDER)[5]], "w")
    refused(path, path.name, "twice")


def test_an_oversized_member_is_refused_by_its_header(tmp_path):
    path = tmp_path / "cifar-10-binary.tar"
    info = tarfile.TarInfo(f"{FOLDER}/test_batch.bin")
    info.size = 2**40
    path.write_bytes(info.tobuf() + b"\0" * 1024)
    refused(path, path.name)


def test_real_cifar10_has_its_published_content():
    real = real_data()
    if real is None or not (real / FOLDER).is_dir():
        pytest.skip("real CIFAR-10 is absent: put `cifar-10-batches-bin` into ROBENCH_TEST_DATA")
    sizes = {split: get(real, split) for split in ("train", "validation", "test")}
    assert {split: len(data) for split, data in sizes.items()} == {"train": 45_000, "validation": 5_000, "test": 10_000}
    assert all(data.canonical for data in sizes.values())
    assert sizes["train"].labels[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7]
    assert sizes["test"].labels[:8].tolist() == [3, 8, 8, 0, 6, 6, 1, 6]
