"""npz sets: what is taken, what is refused, and that nothing in the file can harm."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.data import load
from robench.errors import DataError
from robench.specs.data import DataSpec
from tests.data.formats import hint_of_refusal, refusal

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 4


def get(path, split="test", **options):
    return load(DataSpec(name=f"npz:{path}"), split, **options)


def saved(folder, compressed=True, **arrays):
    path = folder / "own.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def refused(path, *parts, split="test"):
    hint_of_refusal(lambda: get(path, split), str(path), *parts)


@pytest.mark.parametrize("compressed", [True, False])
def test_one_piece_is_split_70_10_20_by_class(tmp_path, compressed):
    path = saved(tmp_path, compressed, x=PIXELS, y=LABELS)
    parts = [get(path, split) for split in ("train", "validation", "test")]
    assert [np.bincount(part.labels).tolist() for part in parts] == [[7] * 4, [1] * 4, [2] * 4]
    found = sorted((p.tobytes(), int(k)) for part in parts for p, k in zip(part.inputs, part.labels, strict=True))
    assert found == sorted((p.tobytes(), int(k)) for p, k in zip(PIXELS, LABELS, strict=True))
    assert parts[0].class_names == ("0", "1", "2", "3")


def test_the_first_rows_of_a_set_sorted_by_class_are_mixed(tmp_path):
    path = saved(tmp_path, x=np.repeat(PIXELS, 10, axis=0), y=np.sort(np.repeat(LABELS, 10)))
    assert set(get(path, "train", limit=40).labels.tolist()) == {0, 1, 2, 3}


def test_own_test_set_is_kept_in_order_and_a_tenth_of_the_rest_validates(tmp_path):
    path = saved(tmp_path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS[::-1], y_test=LABELS[::-1])
    np.testing.assert_array_equal(get(path).inputs[:, 0], PIXELS[::-1])
    np.testing.assert_array_equal(get(path).labels, LABELS[::-1])
    train, validation = get(path, "train"), get(path, "validation")
    assert (len(train), len(validation)) == (36, 4)
    assert sorted(p.tobytes() for p in [*train.inputs, *validation.inputs]) == sorted(p.tobytes() for p in PIXELS)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((40, 6, 5), (1, 6, 5)),
        ((40, 6, 5, 3), (3, 6, 5)),
        ((40, 3, 6, 5), (3, 6, 5)),
        ((40, 6, 5, 1), (1, 6, 5)),
        ((40, 1, 6, 5), (1, 6, 5)),
        ((40, 7), (7,)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, ">f8"])
def test_shapes_and_types_that_are_taken(tmp_path, shape, expected, dtype):
    whole = RANDOM.integers(0, 2, shape).astype(dtype)
    whole *= 255 if dtype is np.uint8 else 1
    data = get(saved(tmp_path, x_train=whole, y_train=LABELS, x_test=whole, y_test=LABELS))
    assert data.shape == expected
    assert data.inputs.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
    assert data.bounds == (0.0, 1.0)
    channels_first = np.moveaxis(whole, -1, 1) if len(shape) == 4 and shape[3] in (1, 3) else whole
    np.testing.assert_array_equal(data.inputs.reshape(len(whole), -1), channels_first.reshape(len(whole), -1))


@pytest.mark.parametrize(
    "shape",
    [(40,), (40, 6, 5, 2), (40, 3, 5, 3), (40, 1, 5, 3), (40, 1, 5, 1), (40, 3, 6, 5, 2), (40, 0), (0, 6, 5), ()],
)
def test_other_shapes_are_refused(tmp_path, shape):
    refused(saved(tmp_path, x=np.zeros(shape, dtype=np.uint8), y=LABELS), "`x`", str(shape))


@pytest.mark.parametrize("dtype", [np.int64, bool, complex, "U3", "datetime64[s]"])
def test_other_types_are_refused(tmp_path, dtype):
    refused(saved(tmp_path, x=np.zeros((40, 6, 5)).astype(dtype), y=LABELS), "`x`", str(np.dtype(dtype)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 1.001, 255.0])
def test_pixels_that_are_no_pixels_are_refused(tmp_path, value):
    pixels = PIXELS / 255
    pixels[3, 2, 1] = value
    refused(saved(tmp_path, x=pixels, y=LABELS), "`x`")


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (LABELS + 1, "none of class 0"),
        (LABELS * 2, "none of class 1, 3"),
        (LABELS - 1, "from -1"),
        (LABELS * 0, "one class"),
        (LABELS[:39], "39 labels"),
        (LABELS[:0], "no labels"),
        (np.where(LABELS == 3, 2**64 - 1, 0).astype(np.uint64), "18446744073709551615"),
        (np.where(LABELS == 3, 2**62, LABELS), "none of class 3"),
    ],
)
def test_labels_that_are_no_labels_are_refused(tmp_path, labels, reason):
    refused(saved(tmp_path, x=PIXELS, y=labels), reason)


def test_a_class_may_lack_in_the_test_set_only(tmp_path):
    two = LABELS % 2
    path = saved(tmp_path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS, y_test=two)
    assert get(path).classes == 4


@pytest.mark.parametrize(
    "keys", [(), ("x",), ("a", "b"), ("x_train", "y_train"), ("x", "y", "x_train", "y_train", "x_test", "y_test")]
)
def test_other_keys_are_refused_with_what_is_there(tmp_path, keys):
    refused(saved(tmp_path, **dict.fromkeys(keys, LABELS)), *(f"`{key}`" for key in keys))


def test_missing_files_folders_and_other_formats_are_refused(tmp_path):
    refused(tmp_path / "none.npz", "does not exist")
    refused(tmp_path, "folder")
    for content in (b"", b"PK\x03\x04", pickle.dumps([1])):
        (tmp_path / "own.npz").write_bytes(content)
        refused(tmp_path / "own.npz", "no npz file")


def test_every_truncation_is_refused(tmp_path):
    path = saved(tmp_path, x=PIXELS, y=LABELS)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        refused(path)


class Harm:
    done = False

    def __reduce__(self):
        return setattr, (Harm, "done", True)


def test_nothing_is_unpickled(tmp_path):
    harmful = np.empty(40, dtype=object)
    harmful[:] = [Harm() for _ in range(40)]
    refused(saved(tmp_path, x=PIXELS, y=harmful), "objects")
    refused(saved(tmp_path, x=harmful, y=LABELS), "objects")
    assert not Harm.done


def zipped(folder, **members):
    path = folder / "own.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content in members.items():
            archive.writestr(f"{key}.npy", content)
    return path


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_header_that_promises_terabytes_costs_no_memory(tmp_path):
    content = npy_bytes(PIXELS).replace(b"(40, 6, 5)", b"(4000000000, 600, 500)")
    refused(zipped(tmp_path, x=content, y=npy_bytes(LABELS)), "`x`", "promises")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_files_are_read_or_refused_never_worse(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("npz")
    content = bytearray(saved(folder, compressed=data.draw(st.booleans()), x=PIXELS, y=LABELS).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "own.npz").write_bytes(content)
    message = refusal(lambda: get(folder / "own.npz"))
    assert message is None or "own.npz" in message


def test_a_flipped_pixel_is_noticed_by_the_checksum_of_the_zip(tmp_path):
    path = saved(tmp_path, compressed=False, x=PIXELS, y=LABELS)
    content = bytearray(path.read_bytes())
    at = content.find(PIXELS.tobytes())
    content[at + 100] ^= 1
    path.write_bytes(content)
    refused(path)


def test_a_relative_path_may_lie_in_the_data_folder(tmp_path):
    saved(tmp_path, x=PIXELS, y=LABELS)
    assert len(get("own.npz", data_dir=tmp_path)) == 8
    with pytest.raises(DataError, match=r"other\.npz"):
        get("other.npz", data_dir=tmp_path)


def test_binary_view_of_an_own_set(tmp_path):
    view = get(f"{saved(tmp_path, x=PIXELS, y=LABELS)}:1-3", "train")
    assert view.class_names == ("1", "3")
    assert np.bincount(view.labels).tolist() == [7, 7]
