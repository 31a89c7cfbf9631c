"""Commands take named parameters with types."""

import ast
from pathlib import Path

import pytest

from robench import cli
from robench.cli.main import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_named_typed_parameters(command: str) -> None:
    module = ast.parse((Path(cli.__file__).parent / f"{command}.py").read_text(encoding="utf-8"))
    (function,) = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == command)
    assert function.args.kwarg is None
    assert not function.args.args
    for parameter in function.args.kwonlyargs:
        assert parameter.annotation is not None
        assert "Any" not in ast.unparse(parameter.annotation)
