import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from robench.cli.main import run


class Result(NamedTuple):
    code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.stdout)


def invoke(*argv: object) -> Result:
    """The command line in this process; exit code and both streams."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = run([str(part) for part in argv])
    return Result(code, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="session")
def robench() -> Any:
    return invoke


@pytest.fixture(scope="session")
def digits_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small hKR network on the embedded digits, trained through the command line."""
    out = tmp_path_factory.mktemp("models") / "hkr"
    result = invoke("train", "--recipe", "hkr", "--data", "digits", "--epochs", 3, "--seed", 0, "--out", out)
    assert result.code == 0, result.stderr
    return out


@pytest.fixture(scope="session")
def moons_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small binary network with one logit."""
    out = tmp_path_factory.mktemp("models") / "moons"
    result = invoke("train", "--recipe", "hkr", "--data", "two-moons", "--epochs", 5, "--seed", 0, "--out", out)
    assert result.code == 0, result.stderr
    return out
