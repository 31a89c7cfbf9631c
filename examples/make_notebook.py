"""Make a notebook from its script and execute it: `python examples/make_notebook.py NAME [DATA_DIR]`.

NAME is `tour`, `own_module` or `smoothing`. Needs nbformat, nbclient and ipykernel (`pip install -e '.[dev]'`).
DATA_DIR holds the files of MNIST, which the tour uses. Without it robench downloads them.
"""

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def cells(script: str) -> list[tuple[str, str]]:
    """The cells of a script in the percent format: kind (`markdown` or `code`) and source."""
    found = []
    for part in script.split("\n# %%")[1:]:
        head, _, body = part.partition("\n")
        body = body.strip()
        if "[markdown]" in head:
            body = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.splitlines())
        found.append(("markdown" if "[markdown]" in head else "code", body))
    return found


def main() -> None:
    """Execute the cells in an empty folder, and write them with their outputs."""
    import nbformat
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    script = (HERE / sys.argv[1]).with_suffix(".py")
    if len(sys.argv) > 2:
        os.environ["ROBENCH_DATA_DIR"] = str(Path(sys.argv[2]).resolve())
    make = {"markdown": new_markdown_cell, "code": new_code_cell}
    written = cells(script.read_text(encoding="utf-8"))
    notebook = new_notebook(cells=[make[kind](source, id=f"cell-{n}") for n, (kind, source) in enumerate(written)])
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}  # times of execution, which differ at each run
        if cell.cell_type == "code":  # warnings of libraries name folders of this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
