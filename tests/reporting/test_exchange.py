"""Runs in the layouts of other projects, read again by parsers that know nothing of robench."""

import csv
import json
import math
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.errors import RunError
from robench.reporting import formats
from robench.reporting.evaluations import read_evaluations
from robench.reporting.exchange import write_exchange
from robench.reporting.tables import bounds
from robench.specs.epsilon import epsilon_value
from tests.reporting.synthetic import ATTACKS, EPS, Synthetic

MODEL = Synthetic(seed=2)


def certified_accuracy(path: Path, radii: list[float]) -> list[float]:
    """As `code/analyze.py` of locuslab/smoothing computes it."""
    frame = pd.read_csv(path, delimiter="\t")
    return [(frame["correct"] & (frame["radius"] > radius)).mean() for radius in radii]


def test_the_table_of_locuslab_gives_the_same_certified_accuracy(tmp_path: Path) -> None:
    MODEL.write_certify(tmp_path / "runs" / "one", 80)
    (file,) = write_exchange([tmp_path / "runs"], tmp_path / "out", ["tsv"])
    assert file == tmp_path / "out" / "tsv" / "one.tsv"
    radii = [epsilon_value(text) for text in EPS]
    expected = [
        np.mean([record.certified_to("pairwise", radius) for record in MODEL.certificates(80)]) for radius in radii
    ]
    assert certified_accuracy(file, radii) == pytest.approx(expected, abs=0)
    rows = list(csv.DictReader(file.read_text().splitlines(), delimiter="\t"))
    assert list(rows[0]) == ["idx", "label", "predict", "radius", "correct", "time"]
    assert [float(row["radius"]) for row in rows] == [record.radius_pairwise for record in MODEL.certificates(80)]


def read_attackbench(info_file: Path) -> dict[str, float]:
    """As `analysis/read.py` of AttackBench reads it."""
    config = json.loads((info_file.parent / "config.json").read_text())
    info = json.loads(info_file.read_text())
    distances = np.array(info["best_optim_distances"][config["attack"]["threat_model"]])
    original, found = np.array(info["ori_success"]), np.array(info["adv_success"])
    assert not np.count_nonzero(distances[original])
    distances[~found] = math.inf
    distances[original] = 0
    return dict(zip(info["hashes"], distances.tolist(), strict=True))


@pytest.mark.parametrize("full", [False, True])
def test_attackbench_reads_the_distances(tmp_path: Path, full: bool) -> None:
    MODEL.write_attack(tmp_path / "run", 60, full=full)
    files = write_exchange([tmp_path / "run"], tmp_path / "out", ["attackbench"])
    infos = {file.parent.name.removeprefix("robench_"): file for file in files if file.name == "info.json"}
    assert list(infos) == ["combined", *(ATTACKS if full else ())]
    assert files[0].relative_to(tmp_path / "out" / "attackbench").parts[:4] == ("mnist", "l2", "hkr", "batch_size_60")
    for attack, file in infos.items():
        read = read_attackbench(file)
        for record in MODEL.attacked(60, full=full):
            expected = record.distance_of(attack) if record.correct else 0.0
            assert read[record.input_sha256] == (math.inf if expected is None else expected)


def test_robustbench_gets_one_file_an_eps_with_numbers_as_texts(tmp_path: Path) -> None:
    MODEL.write_attack(tmp_path / "run", 60)
    files = write_exchange([tmp_path / "run"], tmp_path / "out", ["robustbench"])
    records = MODEL.attacked(60)
    assert len(files) == len(EPS)
    for text, file in zip(EPS, files, strict=True):
        entry = json.loads(file.read_text())
        assert (entry["eps"], entry["dataset"], entry["autoattack_acc"]) == (text, "mnist", None)
        standing = sum(record.robust_at(epsilon_value(text)) for record in records)
        proven = sum(record.certified_at(epsilon_value(text)) for record in records)
        assert 0 <= Fraction(entry["reported"]) - Fraction(100 * standing, 60) < Fraction(1, 100)
        assert 0 <= Fraction(100 * proven, 60) - Fraction(entry["certified_acc"]) < Fraction(1, 100)
        assert float(entry["certified_acc"]) <= float(entry["reported"]) <= float(entry["clean_acc"])


def test_a_layout_without_a_run_for_it_is_refused(tmp_path: Path) -> None:
    MODEL.write_certify(tmp_path / "run", 5)
    with pytest.raises(RunError, match="layout `attackbench`"):
        write_exchange([tmp_path / "run"], tmp_path / "out", ["attackbench"])


def test_two_runs_of_one_model_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        MODEL.write_attack(tmp_path / "runs" / name, 10)
    with pytest.raises(RunError, match="two runs would write"):
        write_exchange([tmp_path / "runs"], tmp_path / "out", ["attackbench"])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no TeX here")
def test_the_latex_of_a_table_compiles(tmp_path: Path) -> None:
    MODEL.write_certify(tmp_path / "runs" / "a", 20)
    MODEL.write_attack(tmp_path / "runs" / "b", 20)
    table = formats.to_latex(bounds(read_evaluations([tmp_path / "runs"])), "A & caption of 5 %.", "bounds")
    text = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}" + table + "\\end{document}"
    (tmp_path / "t.tex").write_text(text)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
