"""The identity of a model: the same in two processes, another after any edit of the function."""

import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robench.certificates.certify import certify_records
from robench.data import Dataset
from robench.data.dataset import Subset
from robench.errors import ModelError
from robench.layers import FullSort, GroupSort2, HouseHolder, InputNormalization, L2NormPool2d, ScaledAvgPool2d
from robench.lipschitz import bound_module, fingerprint
from robench.models import LoadedModel, load_model
from robench.models.identity.contents import contents_digest
from robench.models.identity.function import identify
from robench.models.identity.operations import record_operations
from robench.models.networks.input_copy import Copy
from robench.models.onnx.graph import OnnxGraph
from robench.models.onnx.node import Node

NET = '''
import os
import numpy as np
import torch
from torch import nn
import helper
from parts import shapes

SLOPE = {slope}
LIMIT = {limit}

class Act(nn.Module):
    """Scales by a number kept as an attribute."""
    def __init__(self, gain={gain}):
        super().__init__()
        self.gain = gain
        self.register_buffer("mask", torch.full((4,), {mask}), persistent=False)
        self.register_buffer("mean", torch.full((4,), {mean}))
        self.shift = torch.full((4,), {shift})
        self.array = np.full(4, {array}, dtype=np.float32)
        self.table = {{name: {table} for name in {{"left", "right", "up", "down"}}}}
        self.close = self.closed({closure})
    def closed(self, number):
        return lambda x: x * number
    def forward(self, x):
        x = torch.nn.functional.{function}(x) * self.gain + self.shift - self.mean
        x = self.close(x * self.mask) * self.table["up"] + torch.from_numpy(self.array)
        if float(x.detach().abs().sum()) > LIMIT * 1e6:  # no probe gets here
            x = x * {rare}
        return helper.scale(x) * SLOPE

def make():
    torch.manual_seed({seed})
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), Act(), shapes.reshape(), nn.Linear(4, 3, bias={bias}))
    net[1].register_forward_hook(lambda module, given, out: out + {hook})
    net[4].weight.data.mul_(float(os.environ.get("ROBENCH_TEST_SCALE", "1")))
    with torch.no_grad():
        net[4].weight[1, 2] = {weight}
    return net
'''
HELPER = "def scale(x, by={default}):\n    return x * by\n"
SHAPES = "from torch import nn\nfrom .inner import SIZE\ndef reshape():\n    return nn.Unflatten(1, SIZE)\n"
VALUES: dict[str, Any] = {
    "slope": 0.5, "limit": 5.0, "gain": 1.5, "mask": 1.0, "mean": 0.0, "shift": 0.25, "array": 0.5, "table": 2.0,
    "closure": 3.0, "function": "relu", "rare": 2.0, "seed": 0, "bias": True, "hook": 0.0, "weight": 0.125,
    "default": 1.0,
}  # fmt: skip
FUNCTIONS = ("relu", "tanh", "sigmoid", "elu", "softplus", "hardtanh")


def write(folder: Path, **changes: Any) -> None:
    """The model's files, and nothing left of what an earlier import of them kept."""
    values = {**VALUES, **changes}
    (folder / "parts").mkdir(exist_ok=True)
    files = {"net.py": NET.format(**values), "helper.py": HELPER.format(**values)}
    files |= {"parts/__init__.py": "", "parts/shapes.py": SHAPES, "parts/inner.py": "SIZE = (4,)\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


def load(folder: Path) -> LoadedModel:
    return load_model(f"{folder}/net.py:make", input_shape=(4,))


def edited(name: str, rng: random.Random) -> dict[str, Any]:
    """A value of the model, changed."""
    old = VALUES[name]
    if name == "function":
        return {name: rng.choice([kind for kind in FUNCTIONS if kind != old])}
    if isinstance(old, bool):
        return {name: not old}
    if isinstance(old, int):
        return {name: old + rng.randint(1, 9)}
    return {name: old + rng.choice([-1, 1]) * rng.choice([1e-3, 0.1, 1.0])}


def test_any_edit_of_the_function_gives_another_identity(tmp_path: Path) -> None:
    """The digest of the function alone, so that the bytes of the source cannot help."""
    write(tmp_path)
    known = load(tmp_path).function
    rng = random.Random(7)
    for name in VALUES:
        change = edited(name, rng)
        write(tmp_path, **change)
        assert load(tmp_path).function.sha256 != known.sha256, change
    write(tmp_path)
    assert load(tmp_path).function == known


@pytest.mark.slow
def test_any_two_edits_differ(tmp_path: Path) -> None:
    rng, seen = random.Random(8), {}
    for _ in range(300):
        change = edited(rng.choice(sorted(VALUES)), rng) | edited(rng.choice(sorted(VALUES)), rng)
        write(tmp_path, **change)
        found = load(tmp_path).function.sha256
        assert seen.setdefault(found, change) == change


def test_the_environment_that_a_factory_reads_is_part_of_the_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    known = load(tmp_path).identity
    monkeypatch.setenv("ROBENCH_TEST_SCALE", "100")
    assert load(tmp_path).identity != known
    monkeypatch.setenv("ROBENCH_TEST_SCALE", "1.0")
    assert load(tmp_path).identity == known


@pytest.mark.parametrize("name", ["net.py", "helper.py", "parts/shapes.py", "parts/inner.py", "parts/__init__.py"])
def test_the_source_is_the_file_and_its_neighbours(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / "unused.py").write_text("")
    known = load(tmp_path)
    (tmp_path / "unused.py").write_text("x = 1\n")
    assert load(tmp_path).identity == known.identity
    file = tmp_path / name
    file.write_text(file.read_text() + "# another remark\n")
    found = load(tmp_path)
    assert found.source_sha256 != known.source_sha256
    assert found.function == known.function


def test_two_processes_agree_whatever_the_order_of_their_sets(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import json
        from robench.models import load_model
        print(json.dumps(load_model({str(tmp_path / "net.py:make")!r}, input_shape=(4,)).identity))
    """)
    write(tmp_path)
    mine, order = load(tmp_path).identity, list({"left", "right", "up", "down"})
    environment = {**os.environ, "PYTHONHASHSEED": "1" if order[0] != "up" else "3"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == mine


def test_the_place_of_the_files_does_not_matter(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
        found.append(load(tmp_path / name).identity)
        write(tmp_path / name)  # forgets the helper
    assert found[0] == found[1]


def program(path: Path, module: nn.Module) -> LoadedModel:
    batch = torch.export.Dim("batch", min=1)
    torch.export.save(torch.export.export(module.eval(), (torch.rand(2, 4),), dynamic_shapes=({0: batch},)), path)
    return load_model(str(path))


def test_a_program_written_again_is_another_function(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(4, 4), nn.Linear(4, 3)
    known = program(tmp_path / "net.pt2", nn.Sequential(first, nn.ReLU(), last)).function
    assert known.traced
    assert program(tmp_path / "net.pt2", nn.Sequential(first, nn.Tanh(), last)).function != known
    assert program(tmp_path / "net.pt2", nn.Sequential(first, nn.ReLU(), last)).function == known
    with torch.no_grad():
        last.bias[0] += 1e-3
    assert program(tmp_path / "net.pt2", nn.Sequential(first, nn.ReLU(), last)).function != known


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if float(x.sum()) > 0.5 else x


class Mapped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda row: row * 2)(x)


class Numpy(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.call = eval("lambda x: np.tanh(x) * FACTOR", {"np": np, "FACTOR": factor})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.call(x.numpy()))


def test_what_depends_on_values_of_the_input_is_said() -> None:
    assert identify(nn.Sequential(nn.Linear(4, 2), nn.ReLU()).eval(), (4,)).traced
    assert identify(Mapped().eval(), (4,)).traced
    assert not identify(Branch().eval(), (4,)).traced
    assert not identify(Numpy(1.0).eval(), (4,)).traced
    assert identify(Numpy(1.0).eval(), (4,)) == identify(Numpy(1.0).eval(), (4,))
    assert identify(Numpy(1.0).eval(), (4,)) != identify(Numpy(1.5).eval(), (4,))


class Unwatched(nn.Module):
    """Refuses to run while a dispatch mode is on, as some C++ extensions do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch._C._len_torch_dispatch_stack():
            raise RuntimeError("not while watched")
        return x * len(FACTORS)


FACTORS = [1.0]


def test_what_cannot_be_watched_is_told_by_its_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    known = identify(Unwatched().eval(), (4,))
    assert not known.traced
    assert identify(Unwatched().eval(), (4,)) == known
    monkeypatch.setattr(sys.modules[__name__], "FACTORS", [1.0, 1.0])
    assert identify(Unwatched().eval(), (4,)) != known


@torch.library.custom_op("robench_tests::scaled", mutates_args=())
def scaled(x: torch.Tensor) -> torch.Tensor:
    return x * len(FACTORS)


class Custom(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scaled(x)


def test_what_an_operation_of_somebodys_own_does_is_recorded_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name stays, whatever its body does."""
    module, x = Custom().eval(), torch.rand(2, 4)
    operations, contents = record_operations(module, x, {}), contents_digest(module)
    assert record_operations(module, x, {}) == operations
    monkeypatch.setattr(sys.modules[__name__], "FACTORS", [1.0, 1.0])
    assert record_operations(module, x, {}) != operations
    assert contents_digest(module) != contents


@torch.no_grad()
def decorated(x: torch.Tensor, by: float = 2.0) -> torch.Tensor:
    return x * by


def test_code_is_read_through_decorations_and_parts() -> None:
    from functools import lru_cache, partial

    def around(number: float) -> Any:
        @lru_cache
        def inner() -> float:
            return number

        return inner

    pairs = [
        (around(1.0), around(2.0)),
        (partial(decorated, by=1.0), partial(decorated, by=2.0)),
        (torch.no_grad()(lambda x: x * 1.0), torch.no_grad()(lambda x: x * 2.0)),
        ({1.0, 2.0}, {1.0, 3.0}),
        ([1, [2, (3, {"a": np.float32(1)})]], [1, [2, (3, {"a": np.float32(2)})]]),
        (np.array([1.0, 2.0]), np.array([1.0, 2.5])),
        (np.array([1], dtype=object), np.array([2], dtype=object)),
        (torch.tensor([1 + 2j]), torch.tensor([1 + 3j])),
        (torch.eye(2).to_sparse(), 2 * torch.eye(2).to_sparse()),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), np.ma.array([1.0, 2.0], mask=[1, 0])),
        (torch.float32, torch.float64),
        (True, 1),
        (1, 1.0),
        ("1", 1),
        ([1, 2], [[1], 2]),
    ]
    for one, other in pairs:
        assert contents_digest(one) == contents_digest(one)
        assert contents_digest(one) != contents_digest(other), (one, other)


def test_what_holds_itself_has_an_end() -> None:
    module = nn.Linear(2, 2)
    ring: list[Any] = [module]
    ring.append(ring)
    module.ring, module.me = ring, [module]
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    module.deep = deep
    assert contents_digest(module) == contents_digest(module)


class Picky(nn.Module):
    """Takes pictures only, as a user may check."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.min()) < 0 or float(x.max()) > 1:
            raise SystemExit("no picture")
        return x * 2


class Shy(dict):
    def __getattribute__(self, name: str) -> Any:
        raise OSError(name)


def test_objects_that_refuse_to_be_looked_at_are_no_error() -> None:
    assert not identify(Picky().eval(), (4,)).traced
    for value in (Shy(), [Shy(a=1), 1], nn.UninitializedParameter(), torch.empty(2, device="meta")):
        assert contents_digest(value) == contents_digest(value)
    assert contents_digest([Shy(), 1]) != contents_digest([Shy(), 2])


class Kept(nn.Module):
    """A linear map, times a factor that stands in one of many places."""

    def __init__(self, place: str, factor: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)
        self.place, self.number, self.tensor, self.array = place, 1.0, torch.ones(1), np.ones(1)
        self.register_buffer("hidden", torch.ones(1), persistent=False)
        self.put(factor)

    def put(self, factor: float) -> None:
        if self.place == "number":
            self.number = factor
        elif self.place == "tensor":
            self.tensor = torch.full((1,), factor)
        elif self.place == "inplace":
            self.tensor.fill_(factor)
        elif self.place == "array":
            self.array = np.full(1, factor)
        else:
            self.hidden.fill_(factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * (self.number * float(self.array[0])) * self.hidden * self.tensor


@pytest.mark.parametrize("place", ["number", "tensor", "inplace", "array", "buffer"])
def test_an_audit_is_refused_for_a_steeper_network(place: str) -> None:
    """A hundred times steeper by what no state dict holds."""
    module = Kept(place, 1.0).eval().requires_grad_(False)
    known = fingerprint(module)
    inputs = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    data = Dataset(
        name="x", split="test", inputs=inputs, labels=np.zeros(5, np.int64), index=np.arange(5),
        class_names=("a", "b", "c"), bounds=(0.0, 1.0), sha256="", subset=Subset("first", None, 5),
    )  # fmt: skip
    bounds = bound_module(module, (4,))
    model = LoadedModel(
        module=module, input_shape=(4,), outputs=3, name="x", recipe=None, weights_sha256="", trained_on=None,
        function=identify(module, (4,)),
    )  # fmt: skip
    assert len(list(certify_records(model, bounds, data))) == 5
    module.put(100.0)
    assert fingerprint(module) != known
    with pytest.raises(ModelError, match="not those that were bounded"):
        list(certify_records(model, bounds, data))


def test_classes_of_robench_keep_their_names_in_digests_wherever_they_lie() -> None:
    layers = (InputNormalization, GroupSort2, FullSort, HouseHolder, L2NormPool2d, ScaledAvgPool2d)
    digest = contents_digest((Copy, OnnxGraph, Node, *layers))
    assert digest == "6049a021903b8cd010c30fc7172ce442b46f6316adca7fc4da6c1d4db6c98f3e"  # add moves to `FIRST_HOMES`
