"""The Python of README.md, docs/ and examples/ runs, on embedded data instead of MNIST."""

import json
import re
import runpy
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "tour.ipynb"
SCRIPT = NOTEBOOK.with_suffix(".py")


def blocks(document: str) -> list[str]:
    """The Python blocks of a Markdown file."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def notebook_cells(kind: str) -> list[str]:
    """The sources of the cells of one kind, `code` or `markdown`."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def embedded(code: str) -> str:
    """The same on the embedded digits, with fewer images."""
    code = code.replace('"mnist"', '"digits"').replace("1, 28, 28", "1, 8, 8")
    return re.sub(r"epochs=\d+", "epochs=4", re.sub(r"limit=\d+", "limit=40", code))


def execute(parts: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run parts of a program one after the other, in an empty folder and without a screen."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names: dict[str, object] = {"__name__": "example"}
    assert parts
    with mpl.rc_context({"backend": "agg"}):
        for number, part in enumerate(parts):
            exec(compile(embedded(part), f"part {number}", "exec"), names)


@pytest.mark.parametrize("document", ["README.md", "docs/python.md", "docs/smoothing.md"])
def test_the_python_of_a_document_runs(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(blocks(document), tmp_path, monkeypatch)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(notebook_cells("code"), tmp_path, monkeypatch)


def test_the_notebook_is_made_of_its_script_executed_and_small() -> None:
    written = runpy.run_path(str(NOTEBOOK.with_name("make_notebook.py")))["cells"](SCRIPT.read_text(encoding="utf-8"))
    for kind in ("code", "markdown"):
        assert notebook_cells(kind) == [source for which, source in written if which == kind]
    assert NOTEBOOK.stat().st_size < 400_000
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
