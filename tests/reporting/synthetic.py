"""Run folders with made-up but consistent records: certified below, attacked above, some misclassified or unbroken."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from robench.records.record import (
    SCHEMA_VERSION,
    AttackOutcome,
    AttackRecord,
    AttackStatus,
    CertifyRecord,
    Status,
    to_line,
)
from robench.specs.epsilon import epsilon_value

ATTACKS = ("fgsm", "pgd", "cw", "deepfool")
EPS = ("36/255", "0.5", "1", "1.58", "2", "3")


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """A made-up model: how well it classifies, how large its margins are, how loose its certificate is."""

    name: str = "hkr"
    recipe: str | None = "hkr"
    seed: int = 0
    accuracy: float = 0.96
    margin: float = 1.8
    looseness: float = 1.3
    data: str = "mnist"
    shape: tuple[int, ...] = (1, 28, 28)
    classes: int = 10
    audit: bool = True
    scaled: bool = False

    @property
    def weights(self) -> str:
        return hashlib.sha256(f"{self.name}{self.seed}".encode()).hexdigest()

    def certificates(self, n: int) -> list[CertifyRecord]:
        rng = np.random.default_rng(self.seed)
        records = []
        for index in range(n):
            label = int(rng.integers(self.classes))
            other = int((label + rng.integers(1, self.classes)) % self.classes)
            correct = rng.random() < self.accuracy
            true = float(rng.gamma(3.0, self.margin / 3.0))
            pairwise = true / (1.0 + rng.random() * (self.looseness - 1.0)) if self.audit else 0.0
            paper = pairwise * float(0.75 + 0.2 * rng.random())
            records.append(
                CertifyRecord(
                    index=index,
                    input_sha256=hashlib.sha256(f"{self.data}{index}".encode()).hexdigest(),
                    label=label,
                    predicted=label if correct else other,
                    runner_up=other if correct else label,
                    margin=true,
                    radius_paper=paper if correct else 0.0,
                    radius_pairwise=pairwise if correct else 0.0,
                    radius_scaled=None if not self.scaled else (pairwise + true) / 2 if correct else 0.0,
                    status=Status.CERTIFIED if correct and self.audit else
                    Status.NOT_CERTIFIED if correct else Status.MISCLASSIFIED,
                )
            )  # fmt: skip
        return records

    def attacked(self, n: int, eps: tuple[str, ...] = EPS, full: bool = False) -> list[AttackRecord]:
        rng = np.random.default_rng(self.seed + 1)
        return [self._attacked(record, eps, full, rng) for record in self.certificates(n)]

    def _attacked(self, record: CertifyRecord, eps: tuple[str, ...], full: bool, rng: Any) -> AttackRecord:
        largest = max(map(epsilon_value, eps))
        correct = record.predicted == record.label
        outcomes: dict[str, AttackOutcome] = {}
        for place, name in enumerate(ATTACKS):
            distance = record.margin * float(1.001 + 0.05 * rng.gamma(1.0 + (3 - place) * 0.5))
            if name in ("fgsm", "pgd"):  # of fixed budget: they find at an asked radius or not at all
                distance = min([epsilon_value(text) for text in eps if epsilon_value(text) >= distance], default=np.inf)
            broken = any(outcome.status is AttackStatus.FOUND for outcome in outcomes.values())
            if not correct or record.certified_radius > largest or (broken and not full):
                outcomes[name] = AttackOutcome(AttackStatus.NOT_RUN, None, None)
            elif distance > largest * (1.2 if name in ("cw", "deepfool") else 1.0):
                outcomes[name] = AttackOutcome(AttackStatus.NOT_FOUND, None, None)
            else:
                outcomes[name] = AttackOutcome(AttackStatus.FOUND, distance, record.runner_up)
        found = {name: outcome.distance for name, outcome in outcomes.items() if outcome.distance is not None}
        nearest = min(found, key=lambda name: found[name]) if found else None
        return AttackRecord(
            index=record.index,
            input_sha256=record.input_sha256,
            label=record.label,
            predicted=record.predicted,
            certified_radius=record.certified_radius,
            attacks=outcomes,
            distance=0.0 if not correct else None if nearest is None else found[nearest],
            attack=nearest,
            eps=eps,
        )

    def manifest(self, command: str, n: int, **changes: Any) -> dict[str, Any]:
        audit = {
            "lipschitz_upper": 1.0000031415,
            "lipschitz_lower": 0.9712345,
            "body_upper": 1.0000031415,
            "head": "unit_rows",
            "layers": [
                {"name": f"{place}.conv", "operation": "conv 3x3 of 16", "lipschitz_upper": 1.0000001 + place * 1e-7}
                for place in range(4)
            ],
        }  # fmt: skip
        facts = {
            "model": {
                "name": self.name, "recipe": self.recipe, "input_shape": list(self.shape), "outputs": self.classes,
                "classes": self.classes, "n_params": 1_234_567,
            },
            "data": {
                "name": self.data, "split": "test", "n": n, "classes": self.classes,
                "class_names": [str(place) for place in range(self.classes)], "shape": list(self.shape),
                "bounds": [0.0, 1.0], "sha256": hashlib.sha256(self.data.encode()).hexdigest(), "canonical": True,
                "subset": {"kind": "first", "seed": None, "of": 10000},
            },
            "audit": audit if self.audit else {"refused": "the operation `roll` of layer `3` has no rule"},
            "certificate": {
                "rules": ["paper", "pairwise", *(["scaled"] if self.scaled else [])], "region": "all inputs",
                "arithmetic": "float64", "model": "base",
            } if self.audit else None,
            "device": "cpu", "device_name": "x86_64", "threads": 2,
        }  # fmt: skip
        return {
            "schema_version": SCHEMA_VERSION,
            "command": command,
            "status": "success",
            "created": "2026-01-02T03:04:05Z",
            "finished": "2026-01-02T03:05:06Z",
            "spec": {"data": {"name": self.data, "subset": "first", "subset_seed": 0}, "split": "test"},
            "spec_digest": "d" * 64,
            "identity": {"weights_sha256": self.weights, "data_sha256": facts["data"]["sha256"]},
            "facts": facts,
            "argv": [command, f"models/{self.name}", "--data", self.data],
            "environment": {
                "versions": {"python": "3.11.9", "robench": "0.1.0", "torch": "2.13.0", "foolbox": "3.3.4"},
                "platform": "Linux-x86_64",
                "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
            },
            **changes,
        }

    def write_certify(self, folder: Path, n: int = 200, eps: tuple[str, ...] = EPS, **changes: Any) -> Path:
        records = self.certificates(n)
        rates = {
            rule: {
                text: sum(getattr(record, f"radius_{rule}") > epsilon_value(text) for record in records) / max(n, 1)
                for text in eps
            }
            for rule in ("paper", "pairwise")
        }
        summary = {"n": n, "certified_accuracy": rates, "seconds": 3.21}
        return _write(folder, self.manifest("certify", n, **changes), records, summary)

    def write_attack(
        self,
        folder: Path,
        n: int = 100,
        eps: tuple[str, ...] = EPS,
        full: bool = False,
        gallery: int = 0,
        **changes: Any,
    ) -> Path:
        records = self.attacked(n, eps, full)
        manifest = self.manifest("attack", n, **changes)
        manifest["spec"] |= {"eps": list(eps), "suite": "paper", "attacks": {}, "full": full, "seed": 7}
        summary = {
            "n": n, "full": full, "passes": {"forward": 12345, "backward": 6789}, "seconds": 45.6, "violations": 0,
            "flags": [],
        }  # fmt: skip
        _write(folder, manifest, records, summary)
        self.write_effort(folder)
        if gallery:
            self.write_gallery(folder, records, gallery)
        return folder

    def write_effort(self, folder: Path) -> None:
        """Three parts of a run: passes of each attack, and some of none."""
        rng = np.random.default_rng(self.seed + 2)
        for _ in range(3):
            spent = {f"{name} {way}": int(rng.integers(10_000)) for name in ATTACKS for way in ("forward", "backward")}
            whole = {way: sum(spent[f"{name} {way}"] for name in ATTACKS) + 200 for way in ("forward", "backward")}
            with (folder / "effort.jsonl").open("a") as file:
                file.write(json.dumps({"seconds": 1.5, **whole, **spent}) + "\n")

    def write_gallery(self, folder: Path, records: list[AttackRecord], k: int) -> None:
        rng = np.random.default_rng(5)
        chosen = [record for record in records if record.correct and record.distance is not None][:k]
        axis = np.linspace(-1, 1, self.shape[-1])
        clean = np.stack([_glyph(axis, record.label, self.shape) for record in chosen])
        tensors = {"clean": clean}
        for name in ATTACKS:
            adversarial = np.clip(clean + 0.06 * rng.standard_normal(clean.shape), 0, 1)
            for place, record in enumerate(chosen):
                if record.attacks[name].distance is None:
                    adversarial[place] = np.nan
            tensors[f"adversarial/{name}"] = adversarial
        tensors["transport"] = np.stack([_glyph(axis, record.label + 1, self.shape) for record in chosen])
        facts = {
            "index": [record.index for record in chosen],
            "label": [record.label for record in chosen],
            "predicted": [record.predicted for record in chosen],
            "reached": {name: [record.attacks[name].predicted for record in chosen] for name in ATTACKS},
        }
        save_file(
            {name: value.astype(np.float32) for name, value in tensors.items()},
            folder / "gallery.safetensors",
            metadata={"robench": json.dumps(facts)},
        )


def _glyph(axis: np.ndarray, label: int, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:
        return np.array([np.cos(label), np.sin(label)])
    x, y = np.meshgrid(axis, axis)
    angle = label * 0.6
    stroke = np.exp(-(((x * np.cos(angle) + y * np.sin(angle)) * 6) ** 2)) * (x**2 + y**2 < 0.6)
    return np.broadcast_to(stroke, shape)


def _write(folder: Path, manifest: dict[str, Any], records: list[Any], summary: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "records.jsonl").write_text("".join(to_line(record) + "\n" for record in records))
    if manifest["status"] == "success":
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder
