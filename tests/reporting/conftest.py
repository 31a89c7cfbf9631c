from pathlib import Path

import pytest

from robench.reporting import build_report
from tests.reporting.synthetic import Synthetic


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on one data set, more certified than attacked: one in full with a gallery, one by an ensemble."""
    root = tmp_path_factory.mktemp("runs")
    careful, plain = Synthetic(name="hkr"), Synthetic(name="plain <b>&_$x^2$|", seed=1, margin=0.5, looseness=6.0)
    careful.write_certify(root / "certify-hkr", 120)
    careful.write_attack(root / "attack-hkr", 60, full=True, gallery=5)
    plain.write_certify(root / "certify-plain", 120)
    plain.write_attack(root / "attack-plain", 60)
    return root


@pytest.fixture(scope="session")
def report(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report over those runs."""
    return build_report([runs], tmp_path_factory.mktemp("report"), title="A <script>alert(1)</script> & title")
