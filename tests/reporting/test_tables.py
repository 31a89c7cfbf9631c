"""Tables against numbers computed from the raw records, and the direction of every rounding."""

import json
import math
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest

from robench.reporting import tables
from robench.reporting.evaluation import Evaluation
from robench.reporting.evaluations import read_evaluations
from robench.specs.epsilon import epsilon_value
from tests.reporting.synthetic import ATTACKS, EPS, Synthetic


def evaluate(root: Path) -> list[Evaluation]:
    return read_evaluations([root])


@pytest.fixture
def thirds(tmp_path: Path) -> Evaluation:
    """A model whose counts are out of 3 · 2^k images, so that no rate has a finite decimal."""
    model = Synthetic(accuracy=0.8, seed=3)
    model.write_certify(tmp_path / "c", 93)
    model.write_attack(tmp_path / "a", 93, full=True)
    return evaluate(tmp_path)[0]


def test_certified_is_never_rounded_up_and_attacked_never_down(thirds: Evaluation) -> None:
    frame = tables.accuracy(thirds).text.set_index("ε")
    certificates, attacked = Synthetic(accuracy=0.8, seed=3).certificates(93), thirds.attack.records
    for text in EPS:
        epsilon = epsilon_value(text)
        for rule in ("paper", "pairwise"):
            true = Fraction(100 * sum(getattr(r, f"radius_{rule}") > epsilon for r in certificates), 93)
            shown = Fraction(frame.loc[text, f"certified % ({rule})"])
            assert 0 <= true - shown < Fraction(1, 10)
        for name in ATTACKS:
            true = Fraction(100 * sum(r.robust_to(name, epsilon) for r in attacked), 93)
            assert 0 <= Fraction(frame.loc[text, f"{name} %"]) - true < Fraction(1, 10)
        true = Fraction(100 * sum(r.robust_at(epsilon) for r in attacked), 93)
        assert 0 <= Fraction(frame.loc[text, "combined %"]) - true < Fraction(1, 10)


def test_printed_bounds_keep_their_order(thirds: Evaluation) -> None:
    frame = tables.bounds([thirds]).text.drop(columns=["model", "", "n"]).map(Fraction)
    paper, pairwise, attacked = (frame.iloc[row] for row in range(3))
    assert (paper <= pairwise).all()
    assert (pairwise <= attacked).all()
    assert (attacked <= Fraction(tables.models([thirds]).text["clean %"][0])).all()


def test_intervals_hold_the_printed_rate(thirds: Evaluation) -> None:
    for _, row in tables.accuracy(thirds).text.iterrows():
        low, high = map(float, row["95 % interval, combined"].split(" to "))
        assert low <= float(row["combined %"]) <= high


def test_lipschitz_bounds_and_radii_are_rounded_outwards(thirds: Evaluation) -> None:
    row = tables.models([thirds]).text.iloc[0]
    assert (row["Lipschitz upper"], row["Lipschitz lower"]) == ("1.0001", "0.9712")
    radii = [record.radius_pairwise for record in Synthetic(accuracy=0.8, seed=3).certificates(93)]
    assert 0 <= math.fsum(radii) / 93 - float(row["mean radius (pairwise)"]) < 1e-4
    assert list(tables.audit(thirds).text["Lipschitz upper"]) == ["1.000001"] * 4


def test_table_1_has_the_combined_rule_below_every_attack(thirds: Evaluation) -> None:
    frame = tables.attack_accuracy([thirds]).text
    cells = {(attack, eps): float(value) for attack, eps, value in frame.itertuples(index=False, name=None)}
    assert cells["none (base rate)", "0"] < cells["none (clean)", "0"]
    for text in EPS:
        assert cells["combined", text] == min(cells[name, text] for name in (*ATTACKS, "combined"))
        assert cells["certified (pairwise)", text] <= cells["combined", text] <= cells["none (clean)", "0"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_single_attacks_of_an_ensemble_have_counts_and_no_accuracy(seed: int, tmp_path: Path) -> None:
    folder = Synthetic(seed=seed).write_attack(tmp_path / "a", 40)
    raw = [json.loads(line)["attacks"] for line in (folder / "records.jsonl").read_text().splitlines()]
    evaluation = evaluate(tmp_path)[0]
    frame = tables.attack_accuracy([evaluation]).text.set_index(["attack", "ε"])["hkr"]
    for name in ATTACKS:
        given = [outcomes[name] for outcomes in raw if outcomes[name]["status"] != "not_run"]
        for text in EPS:
            broken = sum(item["distance"] is not None and item["distance"] <= epsilon_value(text) for item in given)
            assert frame[name, text] == (f"broke {broken} of {len(given)}" if given else "–")
    assert all(0 <= float(cell) <= 100 for cell in frame["combined"])
    assert set(tables.rates([evaluation])["measure"]) == {"attacked combined", "certified pairwise"}
    assert list(tables.accuracy(evaluation).text[ATTACKS[0]]) == list(frame[ATTACKS[0]])


@pytest.mark.parametrize("attacked", [0, 40, 93])
@pytest.mark.parametrize("full", [False, True])
def test_the_classes_by_themselves_are_counted_on_the_same_images(attacked: int, full: bool, tmp_path: Path) -> None:
    model = Synthetic(accuracy=0.7, seed=5, classes=4)
    model.write_certify(tmp_path / "c", 93)
    if attacked:
        model.write_attack(tmp_path / "a", attacked, full=full)
    evaluation = evaluate(tmp_path)[0]
    frame = tables.by_class(evaluation).text
    n = attacked or 93
    proofs = pd.DataFrame([vars(record) for record in model.certificates(93)[:n]])
    assert frame["n"].astype(int).sum() == frame["predicted"].astype(int).sum() == n
    for place, (label, members) in enumerate(proofs.groupby("label")):
        row = frame.iloc[place]
        assert row["n"] == str(len(members))
        assert row["predicted"] == str((proofs["predicted"] == label).sum())
        for text in EPS:
            rate = Fraction(100 * int((members["radius_pairwise"] > epsilon_value(text)).sum()), len(members))
            assert 0 <= rate - Fraction(row[f"certified % (pairwise) ε = {text}"]) < Fraction(1, 10)
            if attacked:
                records = [record for record in evaluation.attack.records if record.label == label]
                rate = Fraction(100 * sum(record.robust_at(epsilon_value(text)) for record in records), len(records))
                assert 0 <= Fraction(row[f"attacked % (combined) ε = {text}"]) - rate < Fraction(1, 10)


@pytest.mark.parametrize("attacked", [20, 50, 93])
def test_certified_and_attacked_of_one_table_are_of_the_same_images(attacked: int, tmp_path: Path) -> None:
    model = Synthetic(seed=7)
    model.write_certify(tmp_path / "c", 93)
    model.write_attack(tmp_path / "a", attacked)
    evaluations = evaluate(tmp_path)
    bounds, alone = tables.bounds(evaluations).text, tables.certified_alone(evaluations).text
    assert set(bounds["n"]) == {str(attacked)}
    assert set(alone["n"]) == {"93"}
    wide = tables.comparison(evaluations).text.iloc[0]
    for text in EPS:
        count = sum(r.radius_pairwise > epsilon_value(text) for r in model.certificates(93)[:attacked])
        shown = Fraction(bounds.loc[1, f"accuracy % at ε = {text}"])
        assert 0 <= Fraction(100 * count, attacked) - shown < Fraction(1, 10)
        assert wide[f"certified % (pairwise) ε = {text}"] == bounds.loc[1, f"accuracy % at ε = {text}"]


def test_a_radius_that_no_attack_was_asked_about_is_left_open(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "c", 40)
    Synthetic().write_attack(tmp_path / "a", 40, eps=("0.5", "1"))
    frame = tables.accuracy(evaluate(tmp_path)[0]).text.set_index("ε")
    assert frame.loc["2", "combined %"] == "–"
    assert frame.loc["2", "certified % (pairwise)"] != "–"
    assert frame.loc["1", "combined %"] != "–"


def test_a_contradiction_is_listed_with_both_numbers_in_full(tmp_path: Path) -> None:
    model = Synthetic()
    folder = model.write_attack(tmp_path / "a", 40)
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    victim = next(line for line in lines if line["distance"])
    victim["certified_radius"] = math.nextafter(victim["distance"], math.inf)
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    frame = tables.contradictions(evaluate(tmp_path)).text
    assert frame[["image", "certified radius", "distance"]].to_numpy().tolist() == [
        [str(victim["index"]), repr(victim["certified_radius"]), repr(victim["distance"])]
    ]


def test_no_contradiction_where_distance_equals_the_radius(tmp_path: Path) -> None:
    folder = Synthetic().write_attack(tmp_path / "a", 40)
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    victim = next(line for line in lines if line["distance"])
    victim["certified_radius"] = victim["distance"]
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert not tables.contradictions(evaluate(tmp_path)).cells


def test_rates_are_exact_numbers(thirds: Evaluation) -> None:
    frame = tables.rates([thirds])
    assert (frame["rate"] == frame["count"] / frame["n"]).all()
    assert ((frame["interval_low"] <= frame["rate"]) & (frame["rate"] <= frame["interval_high"])).all()
    assert set(frame["measure"]) == {"certified paper", "certified pairwise", "attacked combined"} | {
        f"attacked {name}" for name in ATTACKS
    }


def test_flags_of_manifest_and_summary_are_each_shown_once(tmp_path: Path) -> None:
    flag = {"name": "zero-gradients", "message": "3 of 40 images have none"}
    folder = Synthetic().write_attack(tmp_path / "a", 40)
    for name in ("manifest.json", "summary.json"):
        data = json.loads((folder / name).read_text())
        (data["facts"] if name == "manifest.json" else data)["flags"] = [flag]
        (folder / name).write_text(json.dumps(data))
    assert tables.flags(evaluate(tmp_path)).text.to_numpy().tolist() == [["hkr", "a", flag["name"], flag["message"]]]


def test_a_model_may_be_called_like_a_column(tmp_path: Path) -> None:
    Synthetic(name="attack").write_attack(tmp_path / "a", 20)
    frame = tables.attack_accuracy(evaluate(tmp_path)).text
    assert list(frame.columns) == ["attack", "ε", "attack"]
    assert frame.shape[0] == 2 + 6 * 6


def test_two_digits_above_a_thousand_images(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "c", 1001)
    frame = tables.bounds(evaluate(tmp_path)).text
    assert all(len(cell.split(".")[1]) == 2 for cell in frame.iloc[0, 3:])


def test_the_wide_comparison_holds_both_narrow_tables(thirds: Evaluation) -> None:
    wide = tables.comparison([thirds]).text
    pd.testing.assert_frame_equal(wide[tables.models([thirds]).text.columns], tables.models([thirds]).text)
    expected = [f"{measure} ε = {text}" for measure in ("certified % (paper)", "attacked % (combined)") for text in EPS]
    assert set(expected) <= set(wide.columns)


def test_the_numbers_of_a_table_are_exact_and_its_text_is_rounded_from_them(thirds: Evaluation) -> None:
    frame, text = tables.accuracy(thirds).frame, tables.accuracy(thirds).text
    records = thirds.attack.records
    for place, eps in enumerate(EPS):
        robust = sum(record.robust_at(epsilon_value(eps)) for record in records)
        assert frame.loc[place, "combined %"] == 100 * robust / 93
        assert 0 <= float(text.loc[place, "combined %"]) - frame.loc[place, "combined %"] < 0.1
        assert 0 <= frame.loc[place, "certified % (paper)"] - float(text.loc[place, "certified % (paper)"]) < 0.1
        assert frame.loc[place, "combined %"] in frame.loc[place, "95 % interval, combined"]
    kinds = {name: str(kind) for name, kind in tables.models([thirds]).frame.dtypes.items()}
    assert kinds == {
        "model": "string", "recipe": "string", "n certified": "Int64", "n attacked": "Int64", "clean %": "float64",
        "base rate %": "float64", "mean radius (paper)": "float64", "mean radius (pairwise)": "float64",
        "Lipschitz upper": "float64", "Lipschitz lower": "float64",
    }  # fmt: skip


def test_what_does_not_exist_is_missing_among_the_numbers(tmp_path: Path) -> None:
    Synthetic(audit=False, recipe=None).write_attack(tmp_path / "a", 20, eps=("0.5",))
    table = tables.models(evaluate(tmp_path))
    absent = [
        "recipe",
        "n certified",
        "mean radius (paper)",
        "mean radius (pairwise)",
        "Lipschitz upper",
        "Lipschitz lower",
    ]
    assert table.frame.columns[table.frame.isna().all()].tolist() == absent
    assert set(table.text[absent].iloc[0]) == {"–"}


def test_a_rule_is_shown_of_the_models_that_have_it(tmp_path: Path) -> None:
    with_scaled = Synthetic(name="ordinary", scaled=True, seed=5)
    with_scaled.write_certify(tmp_path / "sc", 60)
    with_scaled.write_attack(tmp_path / "sa", 60)
    Synthetic().write_certify(tmp_path / "c", 60)
    hkr, ordinary = sorted(evaluate(tmp_path), key=lambda item: item.name)
    assert [item.rules for item in (hkr, ordinary)] == [("paper", "pairwise"), ("paper", "pairwise", "scaled")]
    headings = [column for column in tables.accuracy(ordinary).text.columns if "certified" in column]
    rules = [f"certified % ({rule})" for rule in ordinary.rules]
    assert headings == [*rules, "95 % interval, certified"]
    assert not any("scaled" in column for column in tables.accuracy(hkr).text.columns)
    rows = tables.bounds([hkr, ordinary]).text
    assert rows["model"][rows[""] == "certified (scaled)"].tolist() == ["ordinary"]
    assert tables.models([hkr, ordinary]).text["mean radius (scaled)"].tolist()[0] == "–"
    frame = tables.rates([hkr, ordinary])
    assert set(frame["model"][frame["measure"] == "certified scaled"]) == {"ordinary"}
    counts = {rule: ordinary.certified_on_attacked(rule).counts(0.5) for rule in ordinary.rules}
    assert counts["paper"] <= counts["pairwise"] <= counts["scaled"] == ordinary.certified_on_attacked().counts(0.5)
    assert not ordinary.contradictions


def test_radii_of_attack_records_are_of_the_rule_that_the_run_names(tmp_path: Path) -> None:
    folder = Synthetic(scaled=True).write_attack(tmp_path / "a", 40)
    (only,) = evaluate(tmp_path)
    assert only.rules == ("scaled",)
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    victim = next(line for line in lines if line["distance"])
    victim["certified_radius"] = math.nextafter(victim["distance"], math.inf)
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = evaluate(tmp_path)[0].contradictions
    assert (found.index, found.rule) == (victim["index"], "scaled")
