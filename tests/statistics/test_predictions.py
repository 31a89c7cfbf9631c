"""Signs of nonsense in predictions, against counts by pandas and the binomial distribution of scipy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from robench.statistics.predictions import (
    CONSTANT,
    NO_BETTER,
    ONE_CLASS,
    Prediction,
    accuracy_facts,
    by_class,
    record_flags,
)

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def predictions(labels, predicted):
    return [Prediction(int(label), int(guess)) for label, guess in zip(labels, predicted, strict=True)]


def names(labels, predicted):
    return [flag.name for flag in record_flags(predictions(labels, predicted))]


@given(PAIRS)
def test_rates_and_classes_are_those_of_pandas(pairs):
    frame = pd.DataFrame(pairs, columns=["label", "predicted"])
    records = predictions(frame["label"], frame["predicted"])
    right = frame["label"] == frame["predicted"]
    facts = accuracy_facts(records)
    assert (facts["n"], facts["n_correct"], facts["clean_accuracy"]) == (len(pairs), right.sum(), right.mean())
    assert (facts["n_base"], facts["base_rate"]) == (
        frame["label"].value_counts().max(),
        frame["label"].value_counts(normalize=True).max(),
    )
    found = by_class(records, lambda members: {"seen": len(members)})
    assert list(found) == [str(label) for label in sorted(set(frame["label"]) | set(frame["predicted"]))]
    for text, facts in found.items():
        members = frame["label"] == int(text)
        assert facts["n"] == facts["seen"] == members.sum()
        assert facts["n_predicted"] == (frame["predicted"] == int(text)).sum()
        assert facts["n_correct"] == (members & right).sum()
        assert facts["clean_accuracy"] == (right[members].mean() if members.any() else None)


@given(PAIRS)
def test_the_flag_is_the_one_that_the_counts_give(pairs):
    labels, predicted = np.array(pairs).T
    share = pd.Series(labels).value_counts()
    most = next(label for label in labels if share[label] == share.max())
    gained = int(((labels == predicted) & (labels != most)).sum())
    lost = int(((labels != predicted) & (labels == most)).sum())
    if len(share) == 1:
        expected = [ONE_CLASS]
    elif len(set(predicted)) == 1:
        expected = [CONSTANT]
    elif len(labels) - share.max() >= 5 and binom.sf(gained - 1, gained + lost, 0.5) > 0.05:
        expected = [NO_BETTER]
    else:
        expected = []
    assert names(labels, predicted) == expected


@pytest.mark.parametrize("n", [2, 3, 300, 20_000])
@pytest.mark.parametrize("says", [0, 1, 2])
def test_a_constant_is_found_whatever_it_says(n, says):
    labels = np.arange(n) % 2
    assert names(labels, np.full(n, says)) == [CONSTANT]


@pytest.mark.parametrize("n", [1, 2, 300])
def test_one_class_tells_nothing_of_the_model(n):
    assert names(np.zeros(n), np.zeros(n)) == [ONE_CLASS]
    assert names(np.zeros(n), np.ones(n)) == [ONE_CLASS]


def test_all_but_a_constant_is_no_better_than_its_base_rate():
    labels = np.repeat([0, 1], [216, 84])
    assert names(labels, np.where(np.arange(300) == 250, 1, 0)) == [NO_BETTER]  # one image better
    assert names(labels, np.where(np.arange(300) == 3, 1, 0)) == [NO_BETTER]  # one worse
    assert names(labels, 1 - labels) == [NO_BETTER]
    assert names(labels, labels) == []
    digits = np.arange(1000) % 10
    assert names(digits, np.where(np.arange(1000) < 300, digits, 0)) == []  # 37 % of ten classes is far above chance


@pytest.mark.parametrize(("wrong", "expected"), [(0, []), (4, []), (5, [])])
def test_few_images_are_given_the_benefit_of_the_doubt(wrong, expected):
    """Where even a model without a fault could not be told from chance, nothing is said."""
    labels = np.repeat([0, 1], [4, 4])
    predicted = labels.copy()
    predicted[:wrong] = 1 - predicted[:wrong]
    if len(set(predicted.tolist())) > 1:
        assert names(labels, predicted) == expected
