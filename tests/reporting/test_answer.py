"""The first screen: five people's questions, each answered on made-up runs whose answer is known."""

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest

from robench.cli.main import run as command_line
from robench.errors import SpecError
from robench.reporting import build_report, tables
from robench.reporting.evaluations import read_evaluations
from robench.reporting.page import Answer
from robench.reporting.sections.answer import answer
from robench.reporting.tables.standings import ranking, target_of
from robench.specs.epsilon import epsilon_value
from tests.reporting.synthetic import EPS, Synthetic
from tests.reporting.test_report import read


def answer_of(path: Path, target: str | None = None) -> Answer:
    group = read_evaluations([path])
    names = {item.name: item.name for item in group}
    data = group[0].data_name
    return answer(ranking(data, group, target_of(group, target)), names, names, 1)


def asked(answer: Answer) -> dict[str, str]:
    return {question.asked: question.answer for question in answer.questions}


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model that is clearly better than two, which are as good as each other; the second is cheaper."""
    root = tmp_path_factory.mktemp("contest")
    for seed, (name, margin) in enumerate((("good", 3.0), ("fair", 1.2), ("also fair", 1.25))):
        model = Synthetic(name=name, seed=seed, margin=margin)
        model.write_certify(root / f"c-{name}", 400)
        model.write_attack(root / f"a-{name}", 100)
    return root


def test_which_is_best_and_why(contest: Path) -> None:
    found = answer_of(contest, "1")
    model = Synthetic(name="good", margin=3.0)
    count = sum(record.radius_pairwise > 1 for record in model.certificates(400))
    rate = f"{1000 * count // 400 / 10:.1f}"
    assert found.headline == "Ship good"
    assert f"good is proven to stay right on {rate} % of 400 images" in found.advice
    assert "by more than the sampling error" in found.advice
    assert "L2 changes of size ε or less" in found.limits
    assert asked(found)["Which is best?"].startswith(f"good {rate} %, certified at ε = 1.")
    assert [row.badge for row in found.contenders] == ["best", "", ""]


def test_an_only_model_is_not_called_the_best(tmp_path: Path) -> None:
    Synthetic(name="lonely").write_certify(tmp_path / "c", 60)
    found = answer_of(tmp_path, "1")
    assert found.headline == "lonely is the only model: nothing to choose from"
    assert [row.badge for row in found.contenders] == [""]


def test_the_images_of_the_interval_are_the_attacked_ones(contest: Path) -> None:
    found = answer_of(contest, "1")
    row = dict(zip([c.name for c in found.table.table.columns], found.table.table.strings[0], strict=True))
    records = Synthetic(name="good", margin=3.0).attacked(100)
    low, high = (sum(found) for found in zip(*((r.certified_at(1.0), r.robust_at(1.0)) for r in records), strict=True))
    shown = [float(row[f"of the attacked images % {leaf}"]) for leaf in ("certified", "attacked", "open")]
    assert shown == [low, high, high - low]
    assert (
        f"On the 100 attacked images the truth for good lies between {low}.0 and {high}.0 %"
        in asked(found)["Which is best?"]
    )


def test_is_the_difference_real(contest: Path) -> None:
    text = asked(answer_of(contest, "1"))["Is the difference real?"]
    assert text.startswith("Yes, from ")
    assert "(p < 0.001)" in text
    found = read_evaluations([contest])
    standings = ranking("mnist test", [item for item in found if item.name != "good"], "1").standings
    assert [item.rank for item in standings] == [1, 1]
    assert standings[1].against_best.n == 400


def test_a_tie_is_called_a_tie(contest: Path, tmp_path: Path) -> None:
    for name in ("fair", "also fair"):
        (tmp_path / name).symlink_to(contest / f"c-{name}")
    for seed, (name, margin) in enumerate((("fair", 1.2), ("also fair", 1.25)), start=1):
        Synthetic(name=name, seed=seed, margin=margin).write_certify(tmp_path / f"real-{name}", 400)
    found = answer_of(tmp_path, "1")
    assert re.fullmatch(r"Ship (fair or also fair|also fair or fair): they cannot be told apart", found.headline)
    assert "within the sampling error" in found.advice
    assert asked(found)["Is the difference real?"].startswith("Not between ")
    assert {row.badge for row in found.contenders} == {"tie"}


def test_what_does_it_cost(contest: Path) -> None:
    text = asked(answer_of(contest))["What does it cost?"]
    assert text.startswith("good: 3.3 s certifying, 45.7 s attacking. An attacked image took ")
    assert "The cost of its training is not in the runs." in text
    manifest = json.loads((contest / "c-good" / "manifest.json").read_text())
    noted = {**manifest, "facts": {**manifest["facts"], "training": {"seconds": 200.0, "epochs": 3}}}
    (contest / "c-good" / "manifest.json").write_text(json.dumps(noted))
    text = asked(answer_of(contest))["What does it cost?"]
    (contest / "c-good" / "manifest.json").write_text(json.dumps(manifest))
    assert text.startswith("good: 4 min training, 3.3 s certifying")


def test_may_i_trust_it(contest: Path) -> None:
    assert asked(answer_of(contest, "1"))["May I trust it?"] == (
        "0 contradictions in 300 attacks on certified images; no flags."
    )
    text = asked(answer_of(contest, "0.7"))["May I trust it?"]
    assert "The attacks were not asked about ε = 0.7" in text


def test_a_contradicted_model_is_not_recommended_and_has_no_rank(tmp_path: Path) -> None:
    Synthetic(name="plain", seed=1, margin=1.0).write_certify(tmp_path / "c", 40)
    folder = Synthetic(name="liar").write_attack(tmp_path / "a", 40)
    records = (folder / "records.jsonl").read_text()
    (folder / "records.jsonl").write_text(re.sub(r'"certified_radius":[\d.e-]+', '"certified_radius":99.0', records))
    found = answer_of(tmp_path, "1")
    assert found.headline.startswith("Ship none yet")
    assert asked(found)["May I trust it?"].startswith("No. ")
    assert [(row.name, row.badge) for row in found.contenders] == [("plain", "best"), ("liar", "contradicted")]
    assert [row[1] for row in found.table.table.strings] == ["1", "–"]


def test_what_was_run(contest: Path) -> None:
    text = asked(answer_of(contest))["What was run?"]
    assert text == (
        "6 runs of 3 models on mnist test; 400 images certified; 100 attacked by fgsm, pgd, cw and deepfool; "
        "by robench 0.1.0."
    )


def test_a_model_that_knows_nothing_is_not_recommended(tmp_path: Path) -> None:
    Synthetic(accuracy=0.05).write_certify(tmp_path / "c", 60)
    assert answer_of(tmp_path).headline.startswith("Ship none for this ε")


def test_without_a_certificate_attacks_rank_and_nothing_is_called_proven(tmp_path: Path) -> None:
    for seed, (name, margin) in enumerate((("good", 3.0), ("fair", 0.6))):
        Synthetic(name=name, seed=seed, margin=margin, audit=False).write_attack(tmp_path / name, 200)
    found = answer_of(tmp_path, "1")
    assert found.headline == "No model is proven; under these attacks good stands best"
    assert "proven" not in found.advice
    assert found.table.table.strings[0][2] == "–"


def test_ranks_are_those_of_the_definition(contest: Path) -> None:
    found = ranking("mnist test", read_evaluations([contest]), "1.58")
    rates = [Fraction(row.certified.count, row.certified.n) for row in found.standings]
    assert rates == sorted(rates, reverse=True)
    assert [row.rank for row in found.standings] == [1, 2, 2]


@pytest.mark.parametrize(
    ("data", "asked_for", "target"),
    [("mnist", None, "1.58"), ("cifar10", None, "36/255"), ("digits", None, "1"), ("mnist", "0.5", "0.5")],
)
def test_the_target_is_the_usual_one_or_the_middle_one(
    data: str, asked_for: str | None, target: str, tmp_path: Path
) -> None:
    Synthetic(data=data).write_certify(tmp_path / "c", 20)
    assert target_of(read_evaluations([tmp_path]), asked_for) == target
    assert answer_of(tmp_path, asked_for).where == f"{data} test at ε = {target}"
    assert epsilon_value(EPS[2]) == 1.0


@pytest.mark.usefixtures("blank_figures")
def test_the_command_takes_one_radius(contest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["report", str(contest), "--target-eps", "2", "--out", str(tmp_path / "out")]) == 0
    assert "mnist test at ε = 2" in read(tmp_path / "out" / "report.html").text
    for wrong in ("1,2", "0", "x"):
        assert command_line(["report", str(contest), "--target-eps", wrong, "--out", str(tmp_path / "no")]) == 2
    assert "hint:" in capsys.readouterr().err
    with pytest.raises(SpecError):
        build_report([contest], tmp_path / "no", target_eps="-1")


def test_one_card_a_model_with_all_its_runs(tmp_path: Path) -> None:
    """Three runs that once became three cards."""
    Synthetic().write_certify(tmp_path / "c", 60)
    Synthetic().write_certify(tmp_path / "c2", 30)
    Synthetic().write_attack(tmp_path / "a", 30)
    Synthetic().write_attack(tmp_path / "a2", 20, full=True)
    (item,) = read_evaluations([tmp_path])
    table = tables.further_runs(item, "1").text
    assert sorted(table["runs"]) == ["c, a", "c, a2", "c2"]
    assert table["runs"][0] == "c, a"
    assert len(answer_of(tmp_path).contenders) == 1


def test_a_line_never_parts_a_symbol_from_its_number(tmp_path: Path) -> None:
    Synthetic(name="ε = 1").write_certify(tmp_path / "runs", 40)
    build_report([tmp_path / "runs"], tmp_path / "out", target_eps="2")
    body = (tmp_path / "out" / "report.html").read_text(encoding="utf-8").partition("<body")[2]
    text = body.partition("<script")[0]
    assert "ε\u00a0=\u00a02" in text
    assert not re.search(r"\b[εp] [=<] \d", text)
