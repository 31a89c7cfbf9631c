"""What a user's file does when it is imported and called: the process stays as it was, and every failure is named."""

import io
import os
import random
import signal
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robench.errors import ModelError
from robench.lipschitz import bound_module
from robench.models import load_model

SHAPE = (1, 2, 2)
NET = "def make(): return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))"
HEAD = "import torch\nfrom torch import nn\n"


@pytest.fixture
def load(tmp_path):
    """Write a file of that text and load its `make`."""

    def write_and_load(text, name="make", file="net.py", **options):
        (tmp_path / file).write_text(HEAD + textwrap.dedent(text))
        return load_model(f"{tmp_path / file}:{name}", input_shape=SHAPE, **options)

    return write_and_load


def refusal(load, text, **options):
    with pytest.raises(ModelError) as caught:
        load(text, **options)
    assert caught.value.hint
    return caught.value.message


def state():
    """What a user's file may change, read through torch's and Python's own functions."""
    return {
        "folder": os.getcwd(),  # noqa: PTH109
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "drawn": torch.get_rng_state().tolist(),
        "drawn by python": random.getstate(),
        "drawn by numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "errors of numpy": np.geterr(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "anomaly": torch.is_anomaly_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "denormal": float(torch.tensor(1e-40) * 1),
        "signal": signal.getsignal(signal.SIGTERM),
        "interrupt": signal.getsignal(signal.SIGINT),
        "filters": list(warnings.filters),
        "recursion": sys.getrecursionlimit(),
        "argv": sys.argv,
        "stdout": sys.stdout,
        "path": sys.path[:3],
    }


CHANGES = [
    "os.chdir('/')",
    "torch.set_default_dtype(torch.float64)",
    "torch.set_default_device('cpu')",
    "torch.set_grad_enabled(False)",
    "torch.set_num_threads(3)",
    "torch.manual_seed(5)",
    "random.seed(5)",
    "numpy.random.seed(5)",
    "numpy.seterr(all='ignore')",
    "torch.set_float32_matmul_precision('medium')",
    "torch.use_deterministic_algorithms(True)",
    "torch.backends.mkldnn.enabled = False",
    "torch.autograd.set_detect_anomaly(True)",
    "torch.autocast('cpu').__enter__()",
    "torch.set_flush_denormal(True)",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "warnings.simplefilter('always')",
    "sys.setrecursionlimit(900)",
    "sys.argv = ['x', '--lr']",
    "sys.stdout = io.StringIO()",
    "sys.path.insert(0, '/nowhere')",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", ["at import", "in the factory"])
def test_nothing_that_a_file_changes_stays_changed(load, where):
    imports = "import io, os, random, signal, sys, warnings, numpy\n"
    changes = "; ".join(CHANGES)
    text = f"{changes}\n{NET}" if where == "at import" else NET.replace("return", changes + "; return")
    before = state()
    loaded = load(imports + text)
    assert state() == before
    assert loaded.module[1].weight.dtype == torch.float32


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_seen_by_the_state_above_or_shows_nothing(change):
    """The test above can fail: every line of it changes something that `state` reads."""
    if "set_default_device" in change:
        pytest.skip("the CPU is the default, and only robench's own computation would show another")
    before = state()
    scope = {"io": io, "os": os, "torch": torch, "random": random, "numpy": np, "signal": signal, "sys": sys}
    from robench.models.user_code.surroundings import kept_surroundings

    argv = sys.argv
    with kept_surroundings():
        exec(change, {**scope, "warnings": warnings})
        changed = state()
        sys.argv = argv
    assert changed != before


def test_the_working_directory_is_kept_where_folders_have_no_descriptors(monkeypatch, tmp_path):
    """As on Windows."""
    from robench.models.user_code.surroundings import kept_surroundings

    before = Path.cwd()
    monkeypatch.delattr(os, "fchdir")
    with kept_surroundings():
        os.chdir(tmp_path)
    assert Path.cwd() == before


def test_weights_of_a_double_net_are_rounded_once_and_said(load):
    text = "torch.set_default_dtype(torch.float64)\n" + NET.replace("return", "torch.manual_seed(3); return")
    loaded = load(text)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = nn.Linear(4, 3, dtype=torch.float64).weight
    assert torch.equal(loaded.module[1].weight, expected.float())
    assert any("float64" in note for note in loaded.notes)
    assert not any("float64" in note for note in load(NET).notes)
    assert any("float16" in note for note in load(NET + ".half()").notes)
    assert any("bfloat16" in note for note in load(NET + ".bfloat16()").notes)


def test_a_factory_that_brings_its_weights_is_said_to(load, tmp_path):
    assert any("make` gives it" in note for note in load(NET).notes)
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).state_dict(), tmp_path / "w.pt")
    assert load(NET, weights=tmp_path / "w.pt").notes == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("raise SystemExit('no data')", ["ends the program", "line 3 of `net.py`", "no data"]),
        ("import sys\nsys.exit(4)", ["ends the program", "line 4", "exit code 4"]),
        ("exit()", ["ends the program"]),
        ("raise KeyboardInterrupt", ["KeyboardInterrupt", "line 3"]),
        ("raise GeneratorExit", ["GeneratorExit"]),
        ("class Stop(BaseException): pass\nraise Stop('here')", ["Stop: here"]),
        ("1 / 0", ["on import", "line 3", "ZeroDivisionError"]),
        ("def make(:", ["SyntaxError", "line 3"]),
        ("import no_such_package", ["no_such_package"]),
        ("assert False", ["AssertionError"]),
        ("def make(): raise SystemExit(0)", ["make", "ends the program", "line 3"]),
        ("def make(): raise KeyboardInterrupt", ["KeyboardInterrupt"]),
        ("def make():\n  def deeper(): return deeper()\n  return deeper()", ["RecursionError", "line 4"]),
        ("class E(Exception):\n  def __str__(self): 1/0\ndef make(): raise E", ["E"]),
    ],
)
def test_what_a_file_raises_is_named_with_its_line(load, text, named):
    message = refusal(load, text)
    assert all(part in message for part in named), message


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_an_interrupt_that_python_cannot_have_raised_is_the_files_own(load, handler):
    before = signal.signal(signal.SIGINT, handler)  # as in a background job, where Ctrl-C is ignored
    try:
        assert "KeyboardInterrupt" in refusal(load, "raise KeyboardInterrupt")
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "text",
    [
        f"import argparse\nargs = argparse.ArgumentParser().parse_args()\n{NET}",
        f"import argparse\np = argparse.ArgumentParser()\np.add_argument('data')\np.parse_args()\n{NET}",
        f"import argparse\nargs, _ = argparse.ArgumentParser().parse_known_args()\n{NET}",
        f"import sys\nwidths = [int(w) for w in sys.argv[1:]]\n{NET}",
        "import argparse\ndef make(): argparse.ArgumentParser().parse_args()",
        f"import click\n@click.command()\ndef main(): pass\nmain()\n{NET}",
    ],
)
def test_a_file_that_parses_arguments_is_refused(load, text):
    message = refusal(load, text)
    assert "net.py" in message
    assert "parses command-line arguments" in message or "ends the program" in message


def test_arguments_under_main_or_given_by_the_file_do_no_harm(load):
    load(f"import argparse\nargs = argparse.ArgumentParser().parse_args([])\n{NET}")
    load(f"import sys\nname = sys.argv[0]\n{NET}\nif __name__ == '__main__':\n  sys.exit(3)")


def test_neighbours_are_found_at_import_in_the_factory_and_in_the_forward(load, tmp_path):
    for name in ("first_part", "second_part", "third_part"):
        (tmp_path / f"{name}.py").write_text("factor = 2.0\n")
    loaded = load("""
        import first_part
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                import second_part
                self.last = nn.Linear(4, 3)
            def forward(self, x):
                import third_part
                return third_part.factor * self.last(x.flatten(1))
        make = Net
    """)
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(loaded.module(x), 2.0 * loaded.module.last(x.flatten(1)))


def test_neighbours_of_a_file_are_not_given_to_another_file(tmp_path):
    """Two models of one process, each with its own `parts.py`, and an edit that keeps size and time."""
    for folder, factor in (("a", 2.0), ("b", 3.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "parts.py").write_text(f"factor = {factor}\n")
        text = "import parts\ndef make():\n  n = nn.Linear(4, 3)\n  nn.init.constant_(n.weight, parts.factor)\n"
        (tmp_path / folder / "net.py").write_text(HEAD + text + "  return nn.Sequential(nn.Flatten(), n)\n")

    def weight(folder):
        loaded = load_model(f"{tmp_path / folder / 'net.py'}:make", input_shape=SHAPE)
        return float(loaded.module[1].weight[0, 0])

    assert [weight("a"), weight("b"), weight("a")] == [2.0, 3.0, 2.0]
    parts = tmp_path / "a" / "parts.py"
    times = parts.stat()
    parts.write_text("factor = 7.0\n")
    os.utime(parts, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert weight("a") == 7.0
    assert not list(tmp_path.rglob("*.pyc"))


def test_a_neighbour_comes_before_a_loaded_module_of_its_name(load, tmp_path):
    import statistics

    (tmp_path / "statistics.py").write_text("width = 3\n")
    (tmp_path / "errors.py").write_text("width = 3\n")
    load("import statistics, errors\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(4, statistics.width))")
    assert sys.modules["statistics"] is statistics
    (tmp_path / "torch.py").write_text("")
    assert "hides the package `torch`" in refusal(load, NET)


@pytest.mark.parametrize("inits", [("",), ("", "pkg/"), ()])
def test_relative_imports_find_the_package_around(tmp_path, inits):
    deep = tmp_path / "pkg" / "models"
    deep.mkdir(parents=True)
    for folder in ("pkg/models/", *inits):
        (tmp_path / folder / "__init__.py").write_text("")
    (deep / "parts.py").write_text("width = 3\n")
    (tmp_path / "pkg" / "sizes.py").write_text("height = 4\n")
    text = "from .parts import width\nfrom ..sizes import height\nfrom dataclasses import dataclass\n@dataclass\n"
    text += "class C:\n  a: int = 1\ndef make():\n  return nn.Sequential(nn.Flatten(), nn.Linear(height, width))"
    (deep / "net.py").write_text(HEAD + text)
    assert load_model(f"{deep / 'net.py'}:make", input_shape=SHAPE).outputs == 3


def test_postponed_annotations_of_dataclasses_and_pickles_find_the_file(load):
    load("""
        import dataclasses, pickle, typing
        @dataclasses.dataclass
        class Config:
            width: "typing.ClassVar[int]" = 3
            @staticmethod
            def make(): return nn.Sequential(nn.Flatten(), nn.Linear(4, pickle.loads(pickle.dumps(Config())).width))
    """, name="Config.make")  # fmt: skip


class Wrapped:
    """Texts of factories with the same inner net under other wrappers."""

    INNER = "nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))"
    KINDS = (
        "nn.DataParallel({})",
        "torch.compile({})",
        "torch.optim.swa_utils.AveragedModel({})",
        "nn.Sequential(nn.DataParallel({}))",
        "nn.DataParallel(torch.compile({}))",
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", Wrapped.KINDS)
def test_wrappers_are_taken_off_and_weights_fit_with_and_without_them(load, tmp_path, kind):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.rand(3, *SHAPE)
    text = "def make(): return " + kind.format(Wrapped.INNER)
    outer = eval(kind.format("inner"), {"nn": nn, "torch": torch, "inner": inner})
    states = [inner, outer] if "Sequential" not in kind else [outer]
    for number, module in enumerate(states):
        torch.save(module.state_dict(), tmp_path / f"{number}.pt")
        loaded = load(text, weights=tmp_path / f"{number}.pt")
        torch.testing.assert_close(loaded.module(x), inner.eval()(x))
        kinds = {type(part).__name__ for part in loaded.module.modules()}
        assert not kinds & {"DataParallel", "OptimizedModule", "AveragedModel"}


OWN_CLASS = """
class net(nn.Linear):
    def __init__(self): super().__init__(4, 3)
    def forward(self, x): return super().forward(x.flatten(1))
"""


@pytest.mark.parametrize("text", ["net = " + Wrapped.INNER, OWN_CLASS])
def test_a_module_or_a_class_serves_as_a_factory(load, text):
    assert load(text, name="net").outputs == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("def make(): return torch.jit.script(nn.Linear(4, 3))", "TorchScript"),
        ("def make(): return torch.jit.trace(nn.Linear(4, 3), torch.rand(2, 4))", "TorchScript"),
        ("def make(): return nn.Sequential(nn.Flatten(), torch.jit.script(nn.Linear(4, 3)))", "`1` of"),
        ("def make(): return torch.jit.freeze(torch.jit.script(nn.Linear(4, 3).eval()))", "TorchScript"),
        ("def make(): pass", "returns None"),
        ("def make(): return nn.Linear(4, 3), 5", r"returns a tuple \(Linear, int\)"),
        ("def make(): return {'net': nn.Linear(4, 3)}", "dict"),
        ("def make(): return nn.ReLU", "returns the class ReLU"),
        ("def make(): return lambda x: x", "function"),
        ("def make(): yield nn.Linear(4, 3)", "generator"),
        ("async def make(): return 1", "coroutine"),
        ("def make(width): return nn.Linear(width, 3)", "needs arguments: width"),
        ("class make(nn.Module):\n  def __init__(self, a, *, b): pass", "needs arguments: a, b"),
        ("make = 3", "no function"),
        ("class make(nn.Module):\n  def __init__(self): pass\n  def forward(self, x): return x", "Error"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_module_is_named(load, text, named):
    with pytest.raises(ModelError, match=named):
        load(text)


def test_the_factories_of_a_file_are_offered(load, tmp_path):
    with pytest.raises(ModelError) as caught:
        load("def make_net(): pass", name="make_nte")
    assert "did you mean `make_net`" in caught.value.hint
    with pytest.raises(ModelError, match="it defines make_net"):
        load_model(str(tmp_path / "net.py"))


FLAT = "nn.Sequential(nn.Flatten(), {})"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ("nn.LazyLinear(3)", "lazy"),
        ("nn.Linear(4, 3, device='meta')", "meta device"),
        ("nn.Linear(4, 3, dtype=torch.complex64)", "complex"),
        ("nn.BatchNorm1d(4, track_running_stats=False)", "in another batch"),
        ("torch.ao.nn.quantized.Linear(4, 3)", "quantised"),
    ],
)
def test_layers_without_usable_weights_are_refused(load, layer, named):
    with pytest.raises(ModelError, match=named):
        load("def make(): return " + FLAT.format(layer))


def test_what_depends_on_the_batch_or_on_chance_is_refused(load):
    body = "class make(nn.Module):\n  def forward(self, x):\n    x = x.flatten(1)\n    return "
    for text, named in (
        ("x - x.mean(0)", "in another batch"),
        ("(x - x.mean(0, keepdim=True)) / x.norm()", "in another batch"),
        ("x + x.max(0).values", "in another batch"),
        ("torch.nn.functional.dropout(x)", "runs again"),
        ("x + torch.rand(4)", "runs again"),
        ("x * torch.bernoulli(torch.full((4,), 0.5))", "runs again"),
        ("torch.nn.functional.batch_norm(x, None, None, training=True)", "in another batch"),
        ("nn.BatchNorm1d(4, track_running_stats=False).eval()(x)", "in another batch"),
        ("x - x.mean(0) if len(x) > 1 else 1 / 0", "in another batch"),
        ("x.squeeze(0)", "one input"),
        ("x.argmax(1, keepdim=True)", "int64 outputs"),
    ):
        with pytest.raises(ModelError, match=named):
            load(body + text)


def test_a_lazy_layer_takes_the_weights_it_is_given(load, tmp_path):
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    torch.save(plain.state_dict(), tmp_path / "w.pt")
    text = "def make(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3))"
    loaded = load(text, weights=tmp_path / "w.pt")
    x = torch.rand(3, *SHAPE)
    torch.testing.assert_close(loaded.module(x), plain(x))
    assert type(loaded.module[1]) is nn.Linear


def test_tensors_of_inference_mode_become_ordinary(load, tmp_path):
    loaded = load("@torch.inference_mode()\n" + NET)
    x = torch.rand(2, *SHAPE, requires_grad=True)
    loaded.module(x).sum().backward()
    assert x.grad is not None
    state = {name: value.clone() for name, value in loaded.module.state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    load("@torch.inference_mode()\n" + NET, weights=tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("x.sub_(0.3).div_(0.4)", lambda x: (x - 0.3) / 0.4),
        ("x[:, :, 0] = 0", lambda x: x * torch.tensor([[0.0], [1.0]])),
        ("x.flatten(1).clamp_(0.2, 0.7)", lambda x: x.clamp(0.2, 0.7)),
        ("nn.ReLU(inplace=True)(x.neg_())", lambda x: (-x).relu()),
    ],
)
def test_a_model_that_writes_into_its_input_is_a_function_of_what_it_was_given(load, text, function):
    loaded = load(f"class make(nn.Module):\n  def forward(self, x):\n    {text}\n    return x.flatten(1)")
    x = torch.rand(3, *SHAPE)
    given = x.clone().requires_grad_(True)
    torch.testing.assert_close(loaded.module(given), function(x).flatten(1))
    assert torch.equal(given, x)
    assert any("copy" in note for note in loaded.notes)
    assert float(bound_module(loaded.module, SHAPE).upper) >= 1.0


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "double"])
def test_a_cast_to_the_dtype_that_the_weights_had_is_explained(load, dtype):
    text = f"""
    class make(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 3).{dtype}()
        def forward(self, x):
            return self.last(x.{dtype}().flatten(1)).float()
    """
    with pytest.raises(ModelError, match="dtype") as caught:
        load(text)
    assert "float32" in caught.value.hint
