"""The Python of README.md, docs/ and examples/ runs, on embedded data instead of MNIST."""

import json
import re
import runpy
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

PICTURES = {"tour": 2, "own_module": 1, "smoothing": 1}
ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = {ROOT / "examples" / f"{name}.ipynb": pictures for name, pictures in PICTURES.items()}


def blocks(document: str) -> list[str]:
    """The Python blocks of a Markdown file."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def notebook_cells(notebook: Path, kind: str) -> list[str]:
    """The sources of the cells of one kind, `code` or `markdown`."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
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


@pytest.mark.parametrize(
    "name", ["tour", *(pytest.param(name, marks=pytest.mark.slow) for name in ("own_module", "smoothing"))]
)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(notebook_cells(ROOT / "examples" / f"{name}.ipynb", "code"), tmp_path, monkeypatch)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_made_of_its_script_executed_and_small(notebook: Path) -> None:
    script = notebook.with_suffix(".py").read_text(encoding="utf-8")
    written = runpy.run_path(str(notebook.with_name("make_notebook.py")))["cells"](script)
    for kind in ("code", "markdown"):
        assert notebook_cells(notebook, kind) == [source for which, source in written if which == kind]
    assert notebook.stat().st_size < 400_000
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == NOTEBOOKS[notebook]
