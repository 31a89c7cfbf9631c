"""`robench gate`, against counts and p-values by hand."""

import dataclasses
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from scipy.stats import binomtest

from robench.records.record import CertifyRecord, Status
from robench.records.smoothed import SmoothedRecord, SmoothedStatus
from robench.specs.smoothing import Sampling
from tests.cli.test_json import described
from tests.reporting.synthetic import Synthetic, _write


def write_certify(folder: Path, radii: list[float], **more: Any) -> Path:
    """A certify run whose images have these radii; all are right."""
    model = Synthetic(**more)
    records = [
        CertifyRecord(index=i, input_sha256=f"{i:064x}", label=i % 2, predicted=i % 2, runner_up=1 - i % 2, margin=1.0,
                      radius_paper=radius, radius_pairwise=radius,
                      status=Status.CERTIFIED if radius else Status.NOT_CERTIFIED)
        for i, radius in enumerate(radii)
    ]  # fmt: skip
    return _write(folder, model.manifest("certify", len(records)), records, {"n": len(records)})


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    return write_certify(tmp_path / "baseline", [2.0] * 150 + [0.5] * 50)


def test_a_fall_beyond_tolerance_and_chance_fails(robench: Any, baseline: Path, tmp_path: Path) -> None:
    run = write_certify(tmp_path / "run", [2.0] * 130 + [0.2] * 20 + [0.5] * 45 + [2.0] * 5)
    result = robench("gate", run, "--baseline", baseline, "--tolerance", 0.01, "--json")
    assert result.code == 1
    assert set(result.data) == described("Every command") | described("gate")
    lines = {line["name"]: line for line in result.data["lines"]}
    line = lines["certified@1"]
    assert (line["count"], line["baseline"], line["lost"], line["gained"]) == (135, 150, 20, 5)
    each = binomtest(5, 25).pvalue
    assert each <= line["p"] <= len(lines) * each * (1 + 1e-9)
    assert "fell from 150 to 135 of 200 images: 20 lost, 5 gained" in line["reason"]
    assert lines["clean"]["reason"] == ""
    assert "FELL: certified@1: " in result.stderr
    assert robench("gate", run, "--baseline", baseline, "--tolerance", 0.1).code == 0


def test_a_fall_that_chance_explains_is_said_and_passes(robench: Any, baseline: Path, tmp_path: Path) -> None:
    run = write_certify(tmp_path / "run", [2.0] * 147 + [0.9] * 3 + [0.5] * 50)
    result = robench("gate", run, "--baseline", baseline, "--format", "github")
    assert result.code == 0
    assert "::notice title=robench gate::certified@1: fell from 150 to 147" in result.stdout
    assert robench("gate", baseline, "--baseline", baseline).code == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("certified@1=0.75", 0),
        ("certified@1=0.7501", 1),
        ("clean=1", 0),
        ("certified@0.123=1", 0),
        ("certified@2=0", 0),
    ],
)
def test_required_rates_are_compared_exactly(robench: Any, baseline: Path, text: str, code: int) -> None:
    assert robench("gate", baseline, "--require", text).code == code


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (("--require", "certified=0.5"), "is no requirement"),
        (("--require", "certified@1=1.5"), "is no requirement"),
        (("--require", "attacked@1=0.5"), "says nothing of `attacked@1`"),
        ((), "nothing is asked"),
        (("--baseline", "absent"), "absent"),
        (("--require", "clean=0", "--out", "x.xml"), "--format junit"),
    ],
)
def test_what_cannot_be_asked_is_refused(robench: Any, baseline: Path, argv: tuple[str, ...], named: str) -> None:
    result = robench("gate", baseline, *argv)
    assert (result.code, result.stdout) == (2, "")
    assert named in result.stderr


def test_runs_of_other_images_and_other_commands_are_not_compared(robench: Any, baseline: Path, tmp_path: Path) -> None:
    fewer = write_certify(tmp_path / "fewer", [2.0] * 150)
    other = write_certify(tmp_path / "other", [2.0] * 150 + [0.5] * 50, data="other")
    model = Synthetic()
    attack = model.write_attack(tmp_path / "attack", 60)
    for run, named in ((fewer, "image 150"), (other, "differ in the data"), (attack, "differ in the command")):
        result = robench("gate", run, "--baseline", baseline)
        assert result.code == 2
        assert named in result.stderr
    assert robench("gate", attack, "--baseline", attack).code == 0
    assert "holds 4 runs" in robench("gate", tmp_path, "--baseline", baseline).stderr


def test_junit_is_what_a_parser_reads(robench: Any, baseline: Path, tmp_path: Path) -> None:
    run = write_certify(tmp_path / "run", [2.0] * 100 + [0.1] * 100, name="a <model> & more")
    out = tmp_path / "gate.xml"
    result = robench("gate", run, "--baseline", baseline, "--format", "junit", "--out", out)
    assert (result.code, result.stdout) == (1, f"{out}\n")
    root = ElementTree.parse(out).getroot()
    (suite,) = root
    cases = suite.findall("testcase")
    failed = [case for case in cases if case.find("failure") is not None]
    assert (root.tag, suite.get("tests"), suite.get("failures")) == ("testsuites", str(len(cases)), str(len(failed)))
    assert {case.get("name") for case in failed} >= {"certified@1"}
    assert "a <model> & more" in (cases[0].get("classname") or "")


def test_a_constant_fails_whatever_its_rate(robench: Any, tmp_path: Path) -> None:
    folder = write_certify(tmp_path / "run", [2.0] * 20)
    model = Synthetic()
    records = [
        dataclasses.replace(
            record,
            predicted=0,
            radius_paper=0.0,
            status=Status.CERTIFIED if record.label == 0 else Status.MISCLASSIFIED,
        )
        for record in model.certificates(20)
    ]
    constant = _write(tmp_path / "constant", model.manifest("certify", 20), records, {"n": 20})
    assert robench("gate", folder, "--require", "clean=0").code == 0
    result = robench("gate", constant, "--require", "clean=0")
    assert result.code == 1
    assert "one class for all 20 images" in result.stderr


def write_smoothed(folder: Path, radii: list[float | None], sigma: float = 0.5) -> Path:
    """A run of a smoothed classifier with these radii; it abstains where there is none."""
    records = [
        SmoothedRecord(index=i, input_sha256=f"{i:064x}", label=i % 2, predicted=None if radius is None else i % 2,
                       chosen=i % 2, chosen_count=90, count=9000, offset=0.0, radius=radius or 0.0,
                       status=SmoothedStatus.ABSTAINED if radius is None else SmoothedStatus.CERTIFIED)
        for i, radius in enumerate(radii)
    ]  # fmt: skip
    manifest = Synthetic().manifest("certify-smoothed", len(records))
    manifest["spec"] |= {"sampling": Sampling(sigma=sigma, alpha=0.001).to_dict()}
    return _write(folder, manifest, records, {"n": len(records)})


def test_smoothed_classifiers_are_compared_with_each_other_only(robench: Any, baseline: Path, tmp_path: Path) -> None:
    before = write_smoothed(tmp_path / "before", [2.0] * 150 + [None] * 50)
    after = write_smoothed(tmp_path / "after", [2.0] * 120 + [0.9] * 20 + [None] * 60)
    result = robench("gate", after, "--baseline", before, "--require", "certified@2=0", "--json")
    assert result.code == 1
    lines = {line["name"]: line for line in result.data["lines"]}
    assert (lines["certified@1"]["count"], lines["certified@1"]["lost"], lines["clean"]["lost"]) == (120, 30, 10)
    assert lines["certified@2 >= 0"]["count"] == 0  # a radius does not hold at itself
    assert result.data["confidence"] == pytest.approx(1 - 200 * 0.001)
    assert "probability 80 %" in " ".join(robench("gate", after, "--baseline", before).stdout.split())
    other = write_smoothed(tmp_path / "other", [2.0] * 200, sigma=0.25)
    for argv, named in [((other, before), "sigma"), ((after, baseline), "command"), ((baseline, after), "command")]:
        refused = robench("gate", argv[0], "--baseline", argv[1])
        assert refused.code == 2
        assert named in refused.stderr
