"""The files of a model, for workers on nodes that do not see them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from robench.files import create_folder
from robench.workflows.references import ModelRef


@dataclass(frozen=True)
class Parcel:
    """A model as it was named, and its files: those of a model folder, or the one file of a program.

    The code of a factory may import anything, so it is not packed: all nodes must see it.

    Fields:
        model: as named where the command runs.
        files: by path, relative to the folder that holds the model.
    """

    model: ModelRef
    files: dict[str, bytes]

    def unpacked(self) -> ModelRef:
        """The model here: at its own path where there is something, else in a temporary folder of this process."""
        named = Path(self.model.ref)
        if not self.files or named.exists():
            return self.model
        folder = Path(tempfile.mkdtemp(prefix="robench-"))
        for name, content in self.files.items():
            create_folder((folder / name).parent)
            (folder / name).write_bytes(content)
        return ModelRef.of({**self.model.describe(), "path": str(folder / named.name)})


def packed(model: ModelRef) -> Parcel:
    """The parcel of a model.

    Args:
        model: as the user named it.
    """
    path = Path(model.ref)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return Parcel(model, {str(file.relative_to(path.parent)): file.read_bytes() for file in files})
