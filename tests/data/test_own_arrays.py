"""Arrays of users in every kind of label, scale and split: read as what they are, or refused with what to store."""

import numpy as np
import pytest

from robench.data import load
from robench.errors import DataError
from robench.specs.data import DataSpec
from tests.data.formats import Told, hint_of_refusal

RANDOM = np.random.default_rng(8)
N = 60
PIXELS = RANDOM.integers(0, 256, (N, 4, 5), dtype=np.uint8)
LABELS = np.arange(N) % 3
ONE_HOT = (LABELS[:, None] == np.arange(3)).astype(np.float32)


def saved(folder, **arrays):
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def own(folder, split="test", told=None, **changes):
    """Arrays for training and test, some of them changed; those that are None are left out.

    Training images have the shape of changed test images.
    """
    if "x_train" not in changes and np.ndim(changes.get("x_test")) > 1:
        changes["x_train"] = np.resize(PIXELS, changes["x_test"].shape)
    arrays = {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[::-1], "y_test": LABELS[::-1], **changes}
    path = saved(folder, **{key: array for key, array in arrays.items() if array is not None})
    return load(DataSpec(name=f"npz:{path}"), split, progress=told)


def refused(folder, *parts, hint="", **changes):
    found = hint_of_refusal(lambda: own(folder, **changes), "own.npz", *parts)
    assert hint in found
    assert "delete" not in found


@pytest.mark.parametrize(
    "labels",
    [ONE_HOT, ONE_HOT.astype(np.uint8), ONE_HOT.astype(bool), ONE_HOT.astype(np.int64), ONE_HOT.astype(np.float16)],
)
def test_one_hot_rows_are_read_and_said(tmp_path, labels):
    told = Told()
    np.testing.assert_array_equal(own(tmp_path, y_test=labels, told=told).labels, LABELS)
    assert any("one-hot rows of `y_test`" in note for note in told.notes)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8", np.longdouble])
def test_whole_numbers_in_floats_are_read_and_said(tmp_path, dtype):
    told = Told()
    data = own(tmp_path, y_test=LABELS.astype(dtype), told=told)
    assert data.labels.dtype == np.int64
    np.testing.assert_array_equal(data.labels, LABELS)
    assert any("`y_test`" in note for note in told.notes)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, ">i2", np.uint64, np.float32])
def test_a_column_of_labels_is_read(tmp_path, dtype):
    np.testing.assert_array_equal(own(tmp_path, y_test=LABELS[:, None].astype(dtype)).labels, LABELS)


def test_truth_values_are_two_classes(tmp_path):
    truth = LABELS == 1
    data = own(tmp_path, y_train=truth, y_test=truth)
    np.testing.assert_array_equal(data.labels, np.where(LABELS == 1, 1, 0))
    assert data.classes == 2


def soft(q):
    return np.full((N, q), 1 / q)


@pytest.mark.parametrize(
    ("labels", "reason", "hint"),
    [
        (LABELS + 1, "none of class 0", "start at 1"),
        (LABELS + 1.0, "none of class 0", "start at 1"),
        ((LABELS + 1).astype(np.uint8)[:, None], "none of class 0", "start at 1"),
        (LABELS % 2 * 2 - 1, "from -1 to 1", "(y_test + 1) // 2"),
        (LABELS % 2 * 2.0 - 1, "from -1", "(y_test + 1) // 2"),
        ((LABELS % 2 * 2 - 1).astype(np.int8), "from -1 to 1", "(y_test + 1) // 2"),
        (LABELS - 1, "from -1 to 1", "from 0 up"),
        (LABELS - 7, "from -7", "from 0 up"),
        (LABELS * 5, "none of class 1", "without a gap"),
        (LABELS + 0.5, "whole numbers", "from 0 up"),
        (np.where(LABELS == 1, np.nan, 0), "whole numbers", "from 0 up"),
        (np.where(LABELS == 1, np.inf, 0), "whole numbers", "from 0 up"),
        (np.where(LABELS == 1, 1e300, 0), "1e+300", "from 0 up"),
        (np.where(LABELS == 1, 2.0**63, 0), "9.22", "from 0 up"),
        (np.array(["ant", "bee", "cat"])[LABELS], "text", "unique"),
        (np.array([b"0", b"1", b"2"])[LABELS], "text", "unique"),
        (np.array(["0", "1", "2"])[LABELS][:, None], "text", "unique"),
        (soft(3), "one-hot", "argmax"),
        (ONE_HOT * 2, "one-hot", "argmax"),
        (np.maximum(ONE_HOT, np.eye(3)[0]), "one-hot", "argmax"),
        (ONE_HOT * (LABELS > 0)[:, None], "one-hot", "argmax"),
        (ONE_HOT[:, :, None], "shape (60, 3, 1)", "(N,)"),
        (np.int64(3), "shape ()", "(N,)"),
        (LABELS[:0], "no labels", "at least one"),
        (LABELS[:, None][:, :0], "no labels", "at least one"),
        (LABELS.astype(complex), "complex", "whole numbers"),
        (LABELS.astype("datetime64[s]"), "datetime64", "whole numbers"),
        (LABELS[:-1], "59 labels", "one label an input"),
    ],
)
def test_labels_that_may_mean_something_else_are_refused(tmp_path, labels, reason, hint):
    both = {"y_train": labels, "y_test": labels} if "none of class" in reason else {"y_test": labels}
    refused(tmp_path, reason, hint=hint, **both)


@pytest.mark.parametrize("shape", [(N, 4, 5), (N, 4, 5, 3), (N, 1, 4, 5), (N, 20)])
def test_bytes_of_0_and_1_are_not_taken_for_nearly_black(tmp_path, shape):
    refused(tmp_path, "0 and 1", hint="x_test * 255", x_test=RANDOM.integers(0, 2, shape).astype(np.uint8))
    as_floats = RANDOM.integers(0, 2, shape).astype(np.float32)
    first = np.moveaxis(as_floats, -1, 1) if len(shape) == 4 and shape[3] == 3 else as_floats
    np.testing.assert_array_equal(own(tmp_path, x_test=as_floats).batch(slice(None)).ravel(), first.ravel())


@pytest.mark.parametrize("pixels", [PIXELS // 16, PIXELS / 255 / 255, (PIXELS // 32).astype(np.uint8)])
def test_nearly_black_arrays_are_said(tmp_path, pixels):
    told = Told()
    own(tmp_path, x_test=pixels, told=told)
    assert any("is white" in note for note in told.notes)
    own(tmp_path, told=(usual := Told()))
    assert usual.notes == []


@pytest.mark.parametrize(
    ("pixels", "hint"),
    [
        (PIXELS.astype(np.float32), "x_test / 255"),
        (PIXELS.astype(np.float64), "x_test / 255"),
        (PIXELS / 127.5 - 1, "(x_test + 1) / 2"),
        ((PIXELS - 127.5) / 60, "std"),
        (PIXELS / 255 + 1e-6, "clip"),
        (PIXELS.astype(np.int64), "floats from 0 to 1"),
        (PIXELS.astype(np.uint16) * 257, "floats from 0 to 1"),
        (PIXELS > 100, "floats from 0 to 1"),
        (np.where(PIXELS > 250, np.nan, 0.5), "NaN"),
        (np.where(PIXELS > 250, np.inf, 0.5), "NaN"),
    ],
)
def test_other_scales_are_refused_with_what_to_store(tmp_path, pixels, hint):
    refused(tmp_path, "`x_test`", hint=hint, x_test=pixels)


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_colours_last_are_moved_first(tmp_path, colours, order):
    pixels = np.asarray(RANDOM.random((N, 4, 5, colours)), dtype=np.float32, order=order)
    batch = own(tmp_path, x_test=pixels).batch(slice(None))
    for channel in range(colours):
        np.testing.assert_array_equal(batch[:, channel], pixels[..., channel])


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Val"])
def test_a_validation_pair_validates_and_leaves_training_whole(tmp_path, name):
    given = {f"x_{name}": PIXELS[5:25], f"y_{name}": LABELS[5:25]}
    validation, train = (own(tmp_path, split, **given) for split in ("validation", "train"))
    np.testing.assert_array_equal(validation.inputs[:, 0], PIXELS[5:25])
    np.testing.assert_array_equal(validation.labels, LABELS[5:25])
    np.testing.assert_array_equal(train.inputs[:, 0], PIXELS)


@pytest.mark.parametrize(
    "keys",
    [
        {"x_val": PIXELS},
        {"y_val": LABELS},
        {"x_val": PIXELS, "y_valid": LABELS, "x_valid": PIXELS},
        {"x_val": PIXELS, "y_val": LABELS, "x_dev": PIXELS, "y_dev": LABELS},
        {"x_train": None},
        {"y_test": None},
        {"x_test": None, "y_test": None},
        {"x": PIXELS, "y": LABELS},
        {"x_train": None, "y_train": None, "x_test": None, "y_test": None, "X": PIXELS, "Y": LABELS},
    ],
)
def test_halves_doubles_and_mixtures_are_refused_by_name(tmp_path, keys):
    refused(tmp_path, "`", **keys)


def test_x_and_y_beside_a_validation_pair_are_refused(tmp_path):
    path = saved(tmp_path, x=PIXELS, y=LABELS, x_val=PIXELS, y_val=LABELS)
    with pytest.raises(DataError, match="x_val"):
        load(DataSpec(name=f"npz:{path}"), "validation")


def test_arrays_that_are_not_used_are_named(tmp_path):
    told = Told()
    own(tmp_path, x_extra=PIXELS, weights=LABELS, told=told)
    assert any("weights, x_extra" in note for note in told.notes)


def test_classes_that_a_split_lacks_are_named(tmp_path):
    told = Told()
    data = own(tmp_path, y_test=LABELS % 2, told=told)
    assert data.classes == 3
    assert any("`y_test` holds no row of class 2" in note for note in told.notes)


def test_one_array_alone_is_told_from_a_file_of_several(tmp_path):
    np.save(tmp_path / "own.npy", PIXELS)
    for name in ("own.npy", "renamed.npz"):
        (tmp_path / name).write_bytes((tmp_path / "own.npy").read_bytes())
        with pytest.raises(DataError, match="is one array") as caught:
            load(DataSpec(name=f"npz:{tmp_path / name}"), "test")
        assert "numpy.savez" in caught.value.hint


def test_capitals_of_x_and_y_do_not_matter(tmp_path):
    data = own(tmp_path, x_test=None, y_test=None, X_test=PIXELS[:9], Y_TEST=LABELS[:9])
    np.testing.assert_array_equal(data.inputs[:, 0], PIXELS[:9])
    refused(tmp_path, "`X_test` and `x_test`", X_test=PIXELS)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_what_is_evaluated_needs_no_training_arrays(tmp_path, split):
    name = split[:4].rstrip("i")
    path = saved(tmp_path, **{f"x_{name}": PIXELS, f"y_{name}": LABELS})
    told = Told()
    data = load(DataSpec(name=f"npz:{path}"), split, progress=told)
    np.testing.assert_array_equal(data.inputs[:, 0], PIXELS)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert any("no training arrays" in note for note in told.notes)
    with pytest.raises(DataError, match="no arrays for the train split"):
        load(DataSpec(name=f"npz:{path}"), "train")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("other", [(N, 5, 4), (N, 3, 4, 5), (N, 4, 5, 3), (N, 20), (N, 4, 6)])
def test_splits_of_different_shapes_are_refused_whichever_is_asked_for(tmp_path, other, split):
    for key in ("x_train", "x_test"):
        arrays = {"x_train": PIXELS, "x_test": PIXELS, key: np.resize(PIXELS, other)}
        refused(tmp_path, "(1, 4, 5)", "`x_train`", "`x_test`", split=split, **arrays)


def test_one_colour_axis_or_none_is_one_shape(tmp_path):
    for key in ("x_train", "x_test"):
        arrays = {"x_train": PIXELS, "x_test": PIXELS, key: PIXELS[..., None]}
        assert own(tmp_path, **arrays).shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("low", "high", "hint", "never"),
    [
        (0.0, 255.0, "/ 255", "clip"),
        (0.0, 16.0, "the value that is white", "/ 255"),
        (0.0, 1.0000001, "clip", "/ 255"),
        (-1e-9, 1.0, "clip", "+ 1"),
        (-1.0, 1.0, "+ 1) / 2", "clip"),
    ],
)
def test_the_hint_fits_the_scale_and_the_message_shows_the_excess(tmp_path, low, high, hint, never):
    with pytest.raises(DataError) as caught:
        own(tmp_path, x_test=np.linspace(low, high, PIXELS.size).reshape(PIXELS.shape))
    assert f"from {low!r} to {high!r}" in caught.value.message
    assert hint in caught.value.hint
    assert never not in caught.value.hint
