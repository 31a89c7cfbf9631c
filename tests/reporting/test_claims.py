"""Claims of the paper against runs in which the truth is planted: true, false, half true, too little to tell."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robench.errors import RunError
from robench.records.direction import Direction
from robench.records.record import AttackOutcome, AttackRecord, AttackStatus, CertifyRecord, Status, to_line
from robench.reporting.claims import Claim, Verdict, held_against, read_evidence, write_claims
from robench.reporting.claims.claim import PAPER
from robench.runs.directions import write_directions
from tests.reporting.synthetic import ATTACKS, Synthetic

EPS = ("0.5", "1", "2")
HOLDS, PARTLY, FAILS, OPEN = Verdict.HOLDS, Verdict.PARTLY, Verdict.FAILS, Verdict.OPEN


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A model of which is known how far its images stand under each attack; 0 is misclassified."""

    recipe: str
    distances: np.ndarray
    weaker: dict[str, float] = field(default_factory=dict)
    ratio: float = 1.05
    slope: float = 1.0
    cosine: float = 0.99
    margin: float | None = None
    seconds: float = 30.0
    seed: int = 0
    arch: str = "dense"
    attacks: tuple[str, ...] = ATTACKS
    constraint: str = "bjorck"

    def write(self, folder: Path) -> None:
        """Its certify run, its attack run and what the gradient says."""
        margin = self.margin if self.margin is not None else 1.0
        loss: dict[str, Any] = {"type": self.recipe}
        if self.recipe in ("hkr", "gnp-hinge"):
            loss |= {"margin": margin} | ({"alpha": 50.0} if self.recipe == "hkr" else {})
        training = {
            "recipe": self.recipe, "arch": self.arch, "constraint": self.constraint, "seed": self.seed, "epochs": 10,
            "kept_epoch": 10, "seconds": self.seconds, "device": "a chip",
            "settings": f"{self.recipe} {margin} {self.constraint}",
            "loss": loss, "points": list(range(1, 11)), "curves": {"clean_accuracy": [0.9] * 10},
        }  # fmt: skip
        name = f"{self.recipe}-{margin:g}-{self.constraint}-{self.seed}"
        base = Synthetic(name=name, recipe=self.recipe, seed=self.seed)
        for command, records in (("certify", self.certified()), ("attack", self.attacked())):
            run = folder / f"{command}-{name}"
            run.mkdir(parents=True)
            manifest = base.manifest(command, len(records))
            manifest["facts"]["training"] = training
            if command == "attack":
                manifest["spec"] |= {"eps": list(EPS), "full": True, "seed": 0}
            (run / "manifest.json").write_text(json.dumps(manifest))
            (run / "records.jsonl").write_text("".join(to_line(record) + "\n" for record in records))
            (run / "summary.json").write_text(json.dumps({"n": len(records)}))
        found = [
            Direction(index=index, slope=self.slope, cosine=self.cosine if distance else None)
            for index, distance in enumerate(self.distances.tolist())
        ]
        write_directions(run, found)

    def certified(self) -> list[CertifyRecord]:
        return [
            CertifyRecord(
                index=index, input_sha256=_image(index), label=0, predicted=int(distance == 0),
                runner_up=int(distance != 0), margin=1.0, radius_paper=distance / self.ratio,
                radius_pairwise=distance / self.ratio,
                status=Status.CERTIFIED if distance else Status.MISCLASSIFIED,
            )
            for index, distance in enumerate(self.distances.tolist())
        ]  # fmt: skip

    def attacked(self) -> list[AttackRecord]:
        return [self._record(index, distance) for index, distance in enumerate(self.distances.tolist())]

    def _record(self, index: int, distance: float) -> AttackRecord:
        found = {name: distance * (1 + self.weaker.get(name, 0.0)) for name in self.attacks}
        nearest = min(found, key=lambda name: found[name])
        missing = AttackOutcome(AttackStatus.NOT_RUN, None, None)
        outcomes = {name: AttackOutcome(AttackStatus.FOUND, value, 1) for name, value in found.items()}
        return AttackRecord(
            index=index, input_sha256=_image(index), label=0, predicted=int(distance == 0),
            certified_radius=distance / self.ratio, attacks=outcomes if distance else dict.fromkeys(found, missing),
            distance=found[nearest] if distance else 0.0, attack=nearest if distance else None, eps=EPS,
        )  # fmt: skip


def _image(index: int) -> str:
    return hashlib.sha256(str(index).encode()).hexdigest()


def standing(n: int, mean: float, correct: float = 1.0, seed: int = 0) -> np.ndarray:
    """Distances around a mean; the images and their difficulties are the same for every model."""
    rng = np.random.default_rng(9)
    distances = mean * rng.gamma(8.0, 1 / 8, size=n) + 0.01 * np.random.default_rng(seed).random(n)
    distances[: round(n * (1 - correct))] = 0.0
    return distances


def rivals(n: int, mean: float, **changes: Any) -> list[Planted]:
    return [
        Planted(recipe=recipe, distances=standing(n, mean, seed=place), **changes)
        for place, recipe in enumerate(("adv", "1lip-log", "gnp-hinge", "gnp-log"), start=1)
    ]


def claims(folder: Path, models: list[Planted]) -> dict[int, list[Claim]]:
    for model in models:
        model.write(folder)
    found: dict[int, list[Claim]] = {}
    for claim in held_against(read_evidence([folder])):
        found.setdefault(claim.number, []).append(claim)
    assert set(found) == set(PAPER)
    return found


def verdicts(found: dict[int, list[Claim]], *numbers: int) -> list[Verdict]:
    return [found[number][0].verdict for number in numbers]


def test_what_is_true_holds(tmp_path: Path) -> None:
    plain = Planted(recipe="plain", distances=standing(300, 0.3), seconds=12.0)
    found = claims(tmp_path, [Planted(recipe="hkr", distances=standing(300, 1.6)), plain, *rivals(300, 1.0)])
    assert verdicts(found, 1, 2, 3, 4, 5, 6, 7, 8, 12, 14) == 10 * [HOLDS]
    assert found[14][0].figure.startswith("2.5 times")
    assert "1.05" in found[6][0].figure
    assert verdicts(found, 9, 10, 11, 13) == 4 * [OPEN]


def test_what_is_false_does_not_hold(tmp_path: Path) -> None:
    worse = Planted(
        recipe="hkr", distances=standing(300, 0.8, correct=0.85), weaker={"fgsm": 2.0}, ratio=1.8, slope=0.6,
        cosine=0.3, seconds=50.0,
    )  # fmt: skip
    plain = Planted(recipe="plain", distances=standing(300, 0.3), seconds=12.0)
    found = claims(tmp_path, [worse, plain, *rivals(300, 1.4)])
    assert verdicts(found, 1, 2, 3, 4, 5, 6, 7, 8, 12, 14) == 10 * [FAILS]
    assert "15.0 points below" in found[12][0].figure


def test_what_is_half_true_holds_partly(tmp_path: Path) -> None:
    half = Planted(
        recipe="hkr",
        distances=standing(300, 1.8, correct=0.96),
        weaker={"fgsm": 0.1},
        ratio=1.3,
        slope=0.97,
        cosine=0.9,
    )
    slopes = [Planted(recipe="gnp-log", distances=standing(300, 1.0), seed=0)]
    found = claims(tmp_path, [half, *slopes])
    assert verdicts(found, 1, 2) == [HOLDS, PARTLY]  # ahead at 1 and 2, behind at 0.5 by the images that it misses
    assert verdicts(found, 4, 6, 8, 12) == 4 * [PARTLY]


def test_too_little_is_not_measured(tmp_path: Path) -> None:
    found = claims(tmp_path / "few", [Planted(recipe="hkr", distances=standing(15, 1.6)), *rivals(15, 1.0)])
    assert verdicts(found, 1, 2, 3, 4, 5, 6, 7, 8, 14) == 9 * [OPEN]
    same = [Planted(recipe="hkr", distances=standing(60, 1.0)), *rivals(60, 1.0)]
    assert verdicts(claims(tmp_path / "same", same), 1, 2, 3, 4) == 4 * [OPEN]
    alone = claims(tmp_path / "alone", [Planted(recipe="hkr", distances=standing(300, 1.6))])
    assert verdicts(alone, 1, 2, 3, 4, 12) == 5 * [OPEN]
    assert verdicts(alone, 5, 6, 7, 8) == 4 * [HOLDS]


def test_shares_that_are_whole_tenths_are_not_rounded_up(tmp_path: Path) -> None:
    for seed in range(3):  # 3 of 500 stand at 1, and the mean of three such floats lies above 0.006
        distances = np.where(np.arange(500) < 3, 1.5, 0.6)
        Planted(recipe="gnp-log", distances=distances, seed=seed).write(tmp_path)
    evidence = read_evidence([tmp_path])
    text = write_claims(tmp_path / "claims.md", held_against(evidence), evidence).read_text(encoding="utf-8")
    assert "0.6 (0.6 to 0.6)" in text


def test_hinges_are_compared_at_one_margin_and_seeds_are_pooled(tmp_path: Path) -> None:
    own = [Planted(recipe="hkr", distances=standing(300, 1.6, seed=seed), seed=seed) for seed in range(3)]
    stronger = Planted(recipe="gnp-hinge", distances=standing(300, 3.0), margin=2.12)
    found = claims(tmp_path, [*own, stronger, *rivals(300, 1.0)])
    assert verdicts(found, 1, 2) == [HOLDS, HOLDS]
    assert "(3 seeds)" in found[1][0].models
    page = write_claims(tmp_path / "claims.md", held_against(read_evidence([tmp_path])), read_evidence([tmp_path]))
    text = page.read_text()
    assert "hKR, α = 50, m = 1" in text
    assert "holds: 1" in text
    assert (tmp_path / "claims.csv").read_text().count("\n") == 1 + sum(map(len, found.values()))


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    both = [
        Planted(recipe="hkr", distances=standing(50, 1.6, seed=place), seed=place, constraint=constraint)
        for place, constraint in enumerate(("bjorck", "polar"))
    ]
    found = claims(tmp_path, [*both, *rivals(50, 1.0)])
    assert [claim.models for claim in found[7]] == [
        f"mnist test, dense: hKR, α = 50, m = 1, {constraint}" for constraint in ("bjorck", "polar")
    ]


def test_they_are_told_apart_by_the_names_of_their_models_where_nothing_else_does(tmp_path: Path) -> None:
    for place, keep in enumerate(("best", "last")):
        folder = tmp_path / keep
        Planted(recipe="hkr", distances=standing(50, 1.6, seed=place), seed=place).write(folder)
        for file in folder.rglob("manifest.json"):
            manifest = json.loads(file.read_text())
            manifest["facts"]["training"]["settings"] += keep
            file.write_text(json.dumps(manifest))
    found = held_against(read_evidence([tmp_path]))
    names = [claim.models.rpartition(", ")[2] for claim in found if claim.number == 7]
    assert names == ["hkr-1-bjorck-0", "hkr-1-bjorck-1"]


def test_a_deep_network_that_learns_nothing(tmp_path: Path) -> None:
    """Its depth is that of the bound: 4 convolutions of the fixture are not deep, 13 layers are."""
    for name, correct, layers, expected in (("deep", 0.1, 13, HOLDS), ("flat", 0.1, 4, OPEN), ("well", 1.0, 13, FAILS)):
        lip = Planted(recipe="1lip-log", distances=standing(300, 1.0, correct=correct))
        for model in (lip, Planted(recipe="hkr", distances=standing(300, 1.0))):
            model.write(tmp_path / name)
        for file in (tmp_path / name).rglob("manifest.json"):
            manifest = json.loads(file.read_text())
            manifest["facts"]["audit"]["layers"] = [{"name": str(k), "operation": "dense"} for k in range(layers)]
            file.write_text(json.dumps(manifest))
        for file in (tmp_path / name).rglob("records.jsonl"):  # ten classes, of which one is a tenth
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            for row in rows:
                shift = row["index"] % 10
                row["label"], row["predicted"] = row["label"] + shift, row["predicted"] + shift
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = held_against(read_evidence([tmp_path / name]))
        assert next(claim.verdict for claim in found if claim.number == 13) is expected, name


def potential(folder: Path, recipe: str, share: float | None, overlap: float, cosine: float, exceeded: bool) -> None:
    folder.mkdir(parents=True)
    estimate = {"value": cosine, "low": cosine - 0.01, "high": cosine, "n": 200}
    facts = {"model": {"name": recipe, "recipe": recipe}, "data": {"name": "two-moons", "split": "train"}}
    duality = {"share": share, "exceeded": exceeded, "margin": 0.1, "alpha": 50.0}
    data = {"n": 200, "n_correct": round(200 * (1 - overlap / 2)), "overlap": overlap, "facts": facts}
    (folder / "potential.json").write_text(json.dumps({**data, "plan": {"cosine": estimate}, "duality": duality}))


@pytest.mark.parametrize(
    ("share", "overlap", "cosine", "exceeded", "expected"),
    [
        (0.99, 0.0, 0.97, False, [HOLDS, HOLDS, HOLDS]),
        (0.70, 0.2, 0.85, False, [PARTLY, PARTLY, PARTLY]),
        (1.02, 0.6, 0.50, True, [FAILS, FAILS, FAILS]),
    ],
)
def test_the_transport_problem(
    tmp_path: Path, share: float, overlap: float, cosine: float, exceeded: bool, expected: list[Verdict]
) -> None:
    potential(tmp_path / "hkr", "hkr", share, overlap, cosine, exceeded)
    potential(tmp_path / "kr", "kr", None, 0.4, 0.9, False)
    found = {claim.number: claim.verdict for claim in held_against(read_evidence([tmp_path]))}
    assert [found[number] for number in (9, 10, 11)] == expected
    assert found[1] is OPEN


def test_without_any_run_there_is_nothing_to_hold_claims_against(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        read_evidence([tmp_path])


def test_runs_and_potentials_may_lie_in_two_folders(tmp_path: Path) -> None:
    found = claims(tmp_path / "runs", [Planted(recipe="hkr", distances=standing(300, 1.6)), *rivals(300, 1.0)])
    potential(tmp_path / "potentials" / "hkr", "hkr", 0.99, 0.0, 0.97, False)
    both = held_against(read_evidence([tmp_path / "runs", tmp_path / "potentials"]))
    assert {claim.number for claim in both if claim.verdict is not OPEN} > {
        number for number, rows in found.items() if any(row.verdict is not OPEN for row in rows)
    }
    next((tmp_path / "runs").rglob("records.jsonl")).write_text("{")
    with pytest.raises(RunError):
        read_evidence([tmp_path / "runs", tmp_path / "potentials"])


def test_a_larger_run_of_one_attack_hides_no_run_of_all(tmp_path: Path) -> None:
    small = [Planted(recipe="hkr", distances=standing(300, 1.6)), *rivals(300, 1.0)]
    large = [replace(model, distances=model.distances.repeat(2), attacks=("deepfool",)) for model in small]
    for model in large:
        model.write(tmp_path / "deepfool")
    found = claims(tmp_path, small)
    assert verdicts(found, 1, 3, 5) == 3 * [HOLDS]
    assert {row.models.rpartition(", ")[2] for row in found[1]} == {"under all attacks", "under deepfool"}


def test_earlier_pages_are_joined_with_runs_and_with_each_other(tmp_path: Path) -> None:
    sets = {
        "dense": [Planted(recipe="hkr", distances=standing(300, 1.6)), *rivals(300, 1.0)],
        "conv": [
            Planted(recipe="hkr", distances=standing(300, 1.0), arch="conv", seed=1),
            *rivals(300, 1.6, arch="conv", seed=1),
        ],
    }
    for name, models in sets.items():
        for model in models:
            model.write(tmp_path / name)
        evidence = read_evidence([tmp_path / name])
        write_claims(tmp_path / name / "claims.md", held_against(evidence), evidence)
    at_once = held_against(read_evidence([tmp_path / "dense", tmp_path / "conv"]))
    pages = [tmp_path / name / "claims.csv" for name in sets]
    for paths in (pages, [tmp_path / "dense", pages[1]]):
        evidence = read_evidence(paths)
        joined = held_against(evidence)
        assert sorted(map(repr, joined)) == sorted(map(repr, at_once))
        text = write_claims(tmp_path / "claims.md", joined, evidence).read_text(encoding="utf-8")
        assert "[conv/claims.md](conv/claims.md)" in text
    with pytest.raises(RunError, match="there twice"):
        held_against(read_evidence([tmp_path / "dense", pages[0]]))


@pytest.mark.parametrize("fault", ["", "a,b\n1,2\n", "verdict", "number", "text", "short"])
def test_a_csv_that_is_no_page_of_claims_is_refused(fault: str, tmp_path: Path) -> None:
    Planted(recipe="hkr", distances=standing(300, 1.6)).write(tmp_path / "runs")
    evidence = read_evidence([tmp_path / "runs"])
    file = write_claims(tmp_path / "claims.md", held_against(evidence), evidence).with_suffix(".csv")
    kept = file.read_text(encoding="utf-8")
    edits = {
        "verdict": kept.replace("not measured", "proven"),
        "number": kept.replace("\n1,", "\n99,"),
        "text": kept.replace("at large ε", "at every size"),
        "short": kept + "1,2\n",
    }
    file.write_text(edits.get(fault, fault), encoding="utf-8")
    with pytest.raises(RunError, match="holds no claims"):
        read_evidence([file])
