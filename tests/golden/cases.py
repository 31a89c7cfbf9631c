"""The ten small evaluations whose numbers are held: what each covers, and how it is asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

INPUT_SHAPE = (1, 8, 8)
"""Of a factory."""
HERE = Path(__file__).parent
MODELS, EXPECTED = HERE / "models", HERE / "expected"
DIGITS, MOONS = "digits", "two-moons"
QUICK_PAPER = ("--attack", "deepfool", "--attack", "fgsm", "--attack", "pgd:steps=15", "--attack", "cw:steps=60")
"""The attacks of the suite `paper` with fewer steps."""


@dataclass(frozen=True)
class Case:
    """One model on twenty images.

    Fields:
        model: name below `models/`, or a factory in `factories.py` with weights of the same name.
        data: embedded data set.
        eps: as written.
        certify, attack: options of these commands.
    """

    model: str
    data: str = DIGITS
    eps: str = "0.1,0.25,0.5,1"
    certify: tuple[str, ...] = ()
    attack: tuple[str, ...] = QUICK_PAPER

    @property
    def ref(self) -> str:
        """How the model is named."""
        return f"{HERE / 'factories.py'}:{self.model}" if self.weights else str(MODELS / self.model)

    @property
    def weights(self) -> Path | None:
        """The weights of a factory."""
        path = MODELS / f"{self.model}.safetensors"
        return path if path.exists() else None


CASES = {
    "dense": Case("hkr", attack=("--suite", "paper")),
    "dense-full": Case("hkr", attack=("--suite", "paper", "--full")),
    "convolutional-joint-head": Case("gnp-hinge"),
    "one-logit": Case("moons", MOONS, "0.05,0.1,0.2,0.3", attack=(*QUICK_PAPER, "--full")),
    "standard": Case("plain", attack=(*QUICK_PAPER, "--full")),
    "unit-row-head": Case("gnp-log", attack=("--attack", "ddn:steps=20", "--attack", "apgd-ce:steps=10",
                                             "--attack", "fab:steps=10", "--attack", "apgd-t:steps=5,targets=3")),
    "max-pooling": Case("1lip-log", eps="0.05,36/255,0.5"),
    "torchlip": Case("by_torchlip"),
    "foreign": Case("Residual", eps="0.02,0.1,0.5"),
    "float32": Case("margin", certify=("--deploy-dtype", "float32"), attack=("--attack", "deepfool", "--full")),
}  # fmt: skip
