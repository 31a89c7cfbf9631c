"""Where the published files lie, and their checksums: for downloads, and to recognise a file by its content.

`Remote.checksum` are the published ones, of the files as downloaded. The sums of contents are SHA-256 of the data
without gzip, so they hold for every way of packing.
"""

from __future__ import annotations

from typing import NamedTuple


class Remote(NamedTuple):
    """A file to download.

    Fields:
        name: file name, below the cache folder of its set.
        urls: mirrors, tried in order.
        checksum: `md5:…` or `sha256:…` of the file.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str


def _idx_remotes(mirrors: tuple[str, ...], md5: dict[str, str]) -> dict[str, Remote]:
    return {
        name: Remote(f"{name}.gz", tuple(f"{mirror}{name}.gz" for mirror in mirrors), f"md5:{sum_}")
        for name, sum_ in md5.items()
    }


TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

IDX: dict[str, dict[str, Remote]] = {
    "mnist": _idx_remotes(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        {
            TRAIN_IMAGES: "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            TRAIN_LABELS: "d53e105ee54ea40749a09fcbcd1e9432",
            TEST_IMAGES: "9fb629c4189551a2d022fa330f9573f3",
            TEST_LABELS: "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": _idx_remotes(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        {
            TRAIN_IMAGES: "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            TRAIN_LABELS: "25c81989df183df01b3e8a0aad5dffbe",
            TEST_IMAGES: "bef4ecab320f06d8554ea6380940ec79",
            TEST_LABELS: "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}
"""By set, then by file name without `.gz`."""

IDX_CONTENTS: dict[str, tuple[str, str]] = {
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db": ("mnist", TRAIN_IMAGES),
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5": ("mnist", TRAIN_LABELS),
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7": ("mnist", TEST_IMAGES),
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2": ("mnist", TEST_LABELS),
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888": ("fashion-mnist", TRAIN_IMAGES),
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9": ("fashion-mnist", TRAIN_LABELS),
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b": ("fashion-mnist", TEST_IMAGES),
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34": ("fashion-mnist", TEST_LABELS),
}
"""SHA-256 of the content of an idx file to the set and the file name that it belongs to."""

CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"

CIFAR10: dict[str, Remote] = {
    CIFAR10_ARCHIVE: Remote(
        CIFAR10_ARCHIVE,
        (f"https://www.cs.toronto.edu/~kriz/{CIFAR10_ARCHIVE}",),
        "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    )
}

CIFAR10_CONTENTS: dict[str, str] = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
"""File name to the SHA-256 of its content."""
