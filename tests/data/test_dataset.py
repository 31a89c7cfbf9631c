"""Datasets, views and subsets, against sets and orders made by hand."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.data import load
from robench.data.dataset import content_sha256
from robench.data.splits import cut, permutation
from robench.errors import DataError, SpecError
from robench.specs.data import DataSpec
from tests.data.formats import Told, write_idx_set


def test_batch_divides_pixels_by_255_as_float32(tmp_path):
    write_idx_set(tmp_path)
    data = load(DataSpec(name="mnist"), "test", data_dir=tmp_path)
    batch = data.batch(slice(1, 3))
    assert batch.dtype == np.float32
    expected = (data.inputs[1:3].astype(np.float64) / 255).astype(np.float32)
    np.testing.assert_array_equal(batch, expected)


def test_batch_is_a_copy_for_floats_too():
    data = load(DataSpec(name="digits"), "test")
    before = data.inputs.copy()
    data.batch(slice(None))[:] = 7
    data.batch(np.array([0, 1]))[:] = 7
    np.testing.assert_array_equal(data.inputs, before)


def test_description_is_plain_json(tmp_path):
    data = load(DataSpec(name="two-moons", subset="draw", subset_seed=3), "test", limit=10)
    described = json.loads(json.dumps(data.describe(), allow_nan=False))
    assert described["n"] == 10
    assert described["subset"] == {"kind": "draw", "seed": 3, "of": 1000}
    assert described["bounds"] == [-4.0, 4.0]
    assert described["classes"] == 2
    assert described["shape"] == [2]
    assert set(described) >= {"name", "split", "class_names", "sha256", "canonical"}


@pytest.mark.parametrize("kind", ["first", "draw"])
def test_a_larger_limit_keeps_the_rows_of_a_smaller_one(kind):
    spec = DataSpec(name="digits", subset=kind, subset_seed=5)
    whole = load(spec, "test")
    for limit in (1, 20, 358):
        part = load(spec, "test", limit=limit)
        np.testing.assert_array_equal(part.index, whole.index[:limit])
        np.testing.assert_array_equal(part.inputs, whole.inputs[:limit])
        np.testing.assert_array_equal(part.labels, whole.labels[:limit])
        assert part.sha256 == whole.sha256
        assert len(whole.take(limit)) == limit


def test_index_is_the_position_in_the_split():
    whole = load(DataSpec(name="digits"), "test")
    drawn = load(DataSpec(name="digits", subset="draw", subset_seed=9), "test", limit=50)
    assert len(set(drawn.index.tolist())) == 50
    assert not np.array_equal(drawn.index, np.sort(drawn.index))
    np.testing.assert_array_equal(drawn.inputs, whole.inputs[drawn.index])
    np.testing.assert_array_equal(drawn.labels, whole.labels[drawn.index])


def test_seeds_draw_differently():
    first, second = (load(DataSpec(name="digits", subset="draw", subset_seed=s), "test", limit=50) for s in (0, 1))
    assert not np.array_equal(first.index, second.index)


def philox_words(n, key):
    """Philox4x64-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3), counters 1, 2, ..."""
    mask, words, counter = 2**64 - 1, [], 0
    while len(words) < n:
        counter += 1
        c, k = [counter, 0, 0, 0], [key, 0]
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [(b >> 64) ^ c[1] ^ k[0], b & mask, (a >> 64) ^ c[3] ^ k[1], a & mask]
            k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
        words += c
    return words[:n]


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_draws_are_the_ranks_of_philox_words(seed):
    words = philox_words(100, seed)
    assert permutation(100, seed).tolist() == sorted(range(100), key=words.__getitem__)


def test_binary_view_takes_two_classes_and_class_1_is_the_second():
    whole = load(DataSpec(name="digits"), "test")
    for name, zero, one in (("digits:0-8", 0, 8), ("digits:8-0", 8, 0)):
        view = load(DataSpec(name=name), "test")
        assert view.class_names == (str(zero), str(one))
        assert set(whole.labels[view.index].tolist()) == {zero, one}
        assert len(view) == np.isin(whole.labels, (zero, one)).sum()
        np.testing.assert_array_equal(view.labels, whole.labels[view.index] == one)
        np.testing.assert_array_equal(view.inputs, whole.inputs[view.index])
        assert view.sha256 == whole.sha256


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("digits:3-3", "0 to 9"),
        ("digits:0-10", "0 to 9"),
        ("minst", "minst"),
        ("mnist:PATH", "mnist:PATH"),
        ("npz:", "npz:"),
        ("folder", "folder"),
        ("mnist:8", "mnist:8"),
        (":0-1", ":0-1"),
    ],
)
def test_unknown_names_are_refused(name, named):
    with pytest.raises(DataError, match=named) as caught:
        load(DataSpec(name=name), "test")
    assert caught.value.hint


def test_unknown_name_suggests_a_known_one():
    with pytest.raises(DataError) as caught:
        load(DataSpec(name="fashion_mnist"), "test")
    assert "did you mean `fashion-mnist`" in caught.value.hint


@pytest.mark.parametrize("limit", [0, -3])
def test_limits_below_1_are_refused(limit):
    with pytest.raises(DataError, match=str(limit)):
        load(DataSpec(name="digits"), "test", limit=limit)
    with pytest.raises(DataError, match=str(limit)):
        load(DataSpec(name="digits"), "test").take(limit)


def test_negative_seed_is_refused():
    with pytest.raises(SpecError, match="-1"):
        DataSpec(name="digits", subset="draw", subset_seed=-1)


def test_a_subset_that_could_hold_all_classes_and_does_not_is_noted():
    told = Told()
    first = load(DataSpec(name="digits"), "test", limit=10, progress=told)
    absent = 10 - len(set(first.labels.tolist()))
    assert absent
    assert any(f"{absent} of 10 classes" in note for note in told.notes)
    told = Told()
    load(DataSpec(name="digits"), "test", limit=1, progress=told)
    load(DataSpec(name="digits"), "test", progress=told)
    assert told.notes == []


def test_sha256_depends_on_every_part():
    inputs, labels = np.arange(12, dtype=np.uint8).reshape(3, 4), np.array([0, 1, 2])
    sums = {
        content_sha256(inputs, labels),
        content_sha256(inputs.reshape(4, 3), labels),
        content_sha256(inputs, labels[::-1]),
        content_sha256(inputs + np.uint8(1), labels),
        content_sha256(inputs.astype(np.float32), labels),
    }
    assert len(sums) == 5
    assert content_sha256(np.asfortranarray(inputs), labels) == content_sha256(inputs, labels)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 2**32))
def test_cut_is_a_partition_with_the_share_of_each_class(labels, seed):
    labels = np.array(labels)
    shares = (0.7, 0.1, 0.2)
    parts = cut(labels, shares, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part, share in zip(parts, shares, strict=True):
        assert np.all(np.diff(part) > 0)
        for label in np.unique(labels):
            assert abs((labels[part] == label).sum() - share * (labels == label).sum()) <= 1


def test_import_loads_neither_torch_nor_the_readers_of_files():
    heavy = ("torch", "sklearn", "scipy", "PIL", "pooch", "requests")
    code = f"import sys, robench.data; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
