"""The public face: names that are found without torch, and examples that run."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from importlib import metadata

import pytest

import robench
from robench.cli.main import run

FUNCTIONS = [name for name in robench.__all__ if inspect.isfunction(getattr(robench, name))]


def test_every_public_name_is_found_and_listed() -> None:
    assert set(robench.__all__) <= set(dir(robench))
    assert all(getattr(robench, name) is not None for name in robench.__all__)
    with pytest.raises(AttributeError, match="no attribute `certfy`"):
        robench.certfy  # noqa: B018


def test_a_source_tree_that_is_not_installed_runs_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"robench, version {metadata.version('robench')}\n"

    def missing(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    assert robench.__version__ == "0+unknown"
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == "robench, version 0+unknown\n"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_public_function_runs(name: str) -> None:
    function = getattr(robench, name)
    (found,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert found.examples, "it has no example"
    assert doctest.DocTestRunner().run(found).failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_parameters_of_a_public_function_are_typed_and_explained(name: str) -> None:
    function = getattr(robench, name)
    described = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        assert f"\n    {parameter.name}: " in described, parameter.name


def test_asking_for_what_runs_on_records_loads_no_torch() -> None:
    code = (
        "import sys, robench; dir(robench); robench.Certificates, robench.crosscheck, robench.workflows\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
