"""Write expected numbers anew: `python -m tests.golden.make NAME...`. For a change that is meant, and said."""

import json
import sys
import tempfile
from pathlib import Path

import torch

from tests.golden.cases import CASES, EXPECTED
from tests.golden.quantities import measure

torch.set_num_threads(1)
for name in sys.argv[1:]:
    with tempfile.TemporaryDirectory() as folder:
        quantities = measure(CASES[name], Path(folder))
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in quantities.items()]
    (EXPECTED / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
