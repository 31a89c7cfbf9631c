import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robench.errors import RunError
from robench.records.record import (
    RULES,
    AttackOutcome,
    AttackRecord,
    AttackStatus,
    CertifyRecord,
    Status,
    attack_record,
    certify_record,
    to_line,
)

radius = st.floats(0, 1e3)
labels = st.integers(0, 9)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
certify_records = st.builds(
    CertifyRecord,
    index=st.integers(0, 10**6),
    input_sha256=hashes,
    label=labels,
    predicted=labels,
    runner_up=labels,
    margin=radius,
    radius_paper=radius,
    radius_pairwise=radius,
    radius_scaled=st.none() | radius,
    radius_local=st.none() | radius,
    status=st.sampled_from([Status.CERTIFIED, Status.NOT_CERTIFIED]),
).map(lambda record: consistent(record))


def consistent(record: CertifyRecord) -> CertifyRecord:
    ascending = sorted(record.claimed(rule) for rule in record.rules)
    status = record.status if record.predicted == record.label else Status.MISCLASSIFIED
    radii = {f"radius_{rule}": value for rule, value in zip(record.rules, ascending, strict=True)}
    return replace(record, **radii, status=status)


def nearest(record: AttackRecord) -> float | None:
    found = [outcome.distance for outcome in record.attacks.values() if outcome.distance is not None]
    return min(found, default=None) if record.correct else 0.0


outcomes = st.builds(AttackOutcome, st.sampled_from(AttackStatus), st.none() | radius, st.none() | labels)
attack_records = st.builds(
    AttackRecord,
    index=st.integers(0, 10**6),
    input_sha256=hashes,
    label=labels,
    predicted=labels,
    certified_radius=radius,
    attacks=st.dictionaries(st.sampled_from(["fgsm", "pgd", "cw"]), outcomes),
    distance=st.none() | radius,
    attack=st.none() | st.just("pgd"),
    eps=st.lists(st.sampled_from(["0.5", "36/255"]), unique=True).map(tuple),
).map(lambda record: replace(record, distance=nearest(record)))


@given(certify_records)
def test_a_certify_record_survives_its_line(record: CertifyRecord) -> None:
    line = to_line(record)
    assert "\n" not in line
    assert certify_record(json.loads(line)) == record
    assert to_line(certify_record(json.loads(line))) == line
    assert [rule for rule in RULES if f"radius_{rule}" in json.loads(line)] == list(record.rules)


@given(certify_records)
def test_the_largest_radius_is_that_of_the_last_rule(record: CertifyRecord) -> None:
    assert record.certified_radius == record.radius(record.rules[-1]) == record.radius(record.largest)
    assert all(record.certified_radius >= record.radius(rule) for rule in RULES)


@given(attack_records)
def test_an_attack_record_survives_its_line(record: AttackRecord) -> None:
    line = to_line(record)
    assert attack_record(json.loads(line)) == record
    assert to_line(attack_record(json.loads(line))) == line


@given(attack_records, radius, radius)
def test_success_at_one_epsilon_is_success_at_every_larger_one(record: AttackRecord, a: float, b: float) -> None:
    small, large = sorted((a, b))
    assert record.robust_at(small) >= record.robust_at(large)
    assert record.certified_at(small) >= record.certified_at(large)


def make(predicted: int, distance: float | None) -> AttackRecord:
    outcome = AttackOutcome(AttackStatus.FOUND, distance, 1)
    return AttackRecord(
        index=0,
        input_sha256="0" * 64,
        label=0,
        predicted=predicted,
        certified_radius=0.5,
        attacks={"pgd": outcome},
        distance=distance,
        attack="pgd",
        eps=("0.5",),
    )


def test_an_image_is_certified_strictly_below_its_radius_and_broken_from_its_distance_on() -> None:
    record = make(0, 0.75)
    assert not record.certified_at(0.5)
    assert record.certified_at(0.4999)
    assert record.robust_at(0.7499)
    assert not record.robust_at(0.75)
    assert not record.robust_to("pgd", 0.75)


def test_a_misclassified_image_is_broken_at_zero_whatever_its_radius() -> None:
    record = make(1, None)
    assert not record.correct
    assert not record.robust_at(0.0)
    assert not record.certified_at(0.0)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_line(make(0, float("nan")))


@pytest.mark.parametrize("change", [{"status": "fine"}, {"extra": 1}, {"label": None, "status": None}])
def test_a_record_of_another_schema_is_refused(change: dict[str, object]) -> None:
    data = {"index": 0, "input_sha256": "", "label": 0, "predicted": 0, "runner_up": 1, "margin": 1.0}
    data |= {"radius_paper": 0.5, "radius_pairwise": 0.5, "status": "certified"}
    certify_record(data)
    with pytest.raises(RunError, match="schema version"):
        certify_record({**data, **change})
    with pytest.raises(RunError, match="schema version"):
        attack_record(data)


@given(attack_records, radius)
def test_a_distance_that_no_attack_found_is_refused(record: AttackRecord, distance: float) -> None:
    for other in (distance, None):
        if other != record.distance:
            with pytest.raises(RunError, match="its attacks at"):
                attack_record(json.loads(to_line(replace(record, distance=other))))


@given(certify_records, radius)
def test_a_larger_radius_by_the_papers_rule_is_refused(record: CertifyRecord, more: float) -> None:
    wrong = replace(record, radius_paper=record.radius_pairwise + 1e-3 + more)
    with pytest.raises(RunError, match="by `paper` than by `pairwise`"):
        certify_record(json.loads(to_line(wrong)))
