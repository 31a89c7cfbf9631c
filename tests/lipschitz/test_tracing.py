"""What a user's `forward` may do: casts, tensors of its own, caches, branches on its state; the bound against numpy."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import BoundError, ModelError
from robench.lipschitz import bound_module, plain_copy
from robench.lipschitz.trace.recorder import Recorder
from robench.models.networks.held import detached_copy, held_values
from robench.models.networks.widened import Widened, widened
from tests.lipschitz.oracles import largest_slope

GLOBAL = torch.randn(4, 4, generator=torch.Generator().manual_seed(3))
EYE = torch.eye(4)
TIGHT = 1 + 1e-6


class Model(nn.Module):
    """Runs a function of itself and the input, with a weight, a buffer and anything else that is given."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **kept: Any) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 4, generator=generator))
        self.register_buffer("batches", torch.tensor(7))
        self.function = function
        for name, value in kept.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def norm(matrix: Tensor) -> float:
    """Largest singular value, by numpy in float64."""
    return float(np.linalg.svd(matrix.detach().numpy().astype(np.float64))[1][0])


W = norm(Model(lambda m, x: x).weight)

CASTS = {
    "float": lambda m, x: x.float() @ m.weight,
    "to": lambda m, x: x.to(torch.float32) @ m.weight,
    "type": lambda m, x: x.type(torch.FloatTensor) @ m.weight,
    "to the weight's": lambda m, x: x.to(m.weight.dtype) @ m.weight,
    "to the input's": lambda m, x: x @ m.weight.float().to(x),
    "of the result": lambda m, x: (x @ m.weight).to(dtype=torch.float32),
    "in between": lambda m, x: (x @ m.weight).float() + torch.zeros(4, dtype=torch.float32),
    "new zeros": lambda m, x: x @ m.weight + torch.zeros_like(x, dtype=torch.float32),
    "ones like": lambda m, x: x @ m.weight + torch.full_like(x, 0.5) - x.new_ones(4).float(),
    "accumulation": lambda m, x: (x @ m.weight)[:, None].sum(1, dtype=torch.float32),
    "pixels": lambda m, x: (x * 255 / 255).float() @ m.weight,
}


@pytest.mark.parametrize("cast", list(CASTS))
def test_casts_to_float32_are_of_the_network_in_float64(cast: str) -> None:
    model = Model(CASTS[cast]).eval()
    assert W <= bound_module(model, (4,)).upper <= W * TIGHT
    x = np.random.default_rng(0).normal(size=(3, 4))
    exact = x @ model.weight.detach().numpy().astype(np.float64) - 0.5 * (cast == "ones like")
    np.testing.assert_allclose(widened(model)(torch.from_numpy(x)).detach().numpy(), exact, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8, torch.int64])
def test_coarser_types_are_refused_by_name(dtype: torch.dtype) -> None:
    with pytest.raises(BoundError, match=str(dtype)):
        bound_module(Model(lambda m, x: x.to(dtype).to(x.dtype) @ m.weight).eval(), (4,))


def test_autocast_is_refused_by_name() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ m.weight  # type: ignore[no-any-return]

    with pytest.raises(BoundError, match="autocast"):
        bound_module(Model(forward).eval(), (4,))
    assert torch.autocast("cpu", dtype=torch.bfloat16).__enter__ is not None


def _lazy(m: Any, x: Tensor) -> Tensor:
    if m.kept is None:
        m.kept = torch.linalg.qr(m.weight)[0]
    return x @ m.kept  # type: ignore[no-any-return]


def _table(m: Any, x: Tensor) -> Tensor:
    if "q" not in m.kept:
        m.kept["q"] = torch.linalg.qr(m.weight)[0]
    return x @ m.kept["q"]  # type: ignore[no-any-return]


class Cached(Model):
    @functools.cached_property
    def q(self) -> Tensor:
        return torch.linalg.qr(self.weight)[0]


UNIT = [
    (lambda: Model(_lazy, kept=None), "attribute"),
    (lambda: Model(_table, kept={}), "table"),
    (lambda: Cached(lambda m, x: x @ m.q), "cached property"),
    (lambda: Model(lambda m, x: x @ m.kept[0], kept=[torch.eye(4)]), "list"),
    (lambda: Model(lambda m, x: x @ m.kept[0][0], kept=((torch.eye(4),),)), "nested tuple"),
    (lambda: Model(lambda m, x, eye=EYE: x @ eye), "default"),
    (lambda: Model(lambda m, x: x @ (GLOBAL @ torch.linalg.inv(GLOBAL)).round()), "global"),
    (lambda: Model(lambda m, x: x * torch.tensor(0.5) + x * torch.full((4,), 0.5)), "literals"),
    (lambda: Model(lambda m, x: x @ torch.fft.ifft(torch.fft.fft(torch.eye(4)) * 1j).imag), "complex64"),
    (lambda: Model(lambda m, x: x * torch.exp(1j * torch.zeros(4, dtype=torch.complex64)).real), "complex factor"),
]


@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "evaluated before"])
@pytest.mark.parametrize("make", [make for make, _ in UNIT], ids=[name for _, name in UNIT])
def test_tensors_that_are_neither_parameters_nor_buffers(make: Callable[[], nn.Module], warm: bool) -> None:
    model = make().eval()
    if warm:
        model(torch.rand(2, 4))  # leaves tensors with a history, of float32
    assert 1 - 1e-6 <= bound_module(model, (4,)).upper <= TIGHT
    x = torch.randn(3, 4)
    wide = widened(plain_copy(model))(x.double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), model(x))


def _clipped(m: Any, x: Tensor) -> Tensor:
    size = torch.linalg.matrix_norm(m.weight, 2)
    return x @ (m.weight / size if size > 1 else m.weight)  # type: ignore[no-any-return]


BRANCHES = [
    (lambda m, x: x * 2 if m.batches > 0 else x.exp(), 2.0),
    (lambda m, x: x * 3 if m.batches.item() == 7 else x.exp(), 3.0),
    (_clipped, 1.0),
    (lambda m, x: x @ (m.weight / max(1.0, float(torch.linalg.matrix_norm(m.weight, 2)))), 1.0),
    (lambda m, x: x.exp() if bool((m.weight.abs() < 1e-9).any()) else x, 1.0),
    (lambda m, x: x if torch.equal(m.weight, m.weight) else x.exp(), 1.0),
    (lambda m, x: sum(x / 7 for _ in range(int(m.batches))), 1.0),
]


@pytest.mark.parametrize(("forward", "exact"), BRANCHES)
def test_branches_on_state_are_taken_as_the_model_takes_them(
    forward: Callable[[Any, Tensor], Tensor], exact: float, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exact * (1 - 1e-12) <= bound_module(Model(forward).eval(), (4,)).upper <= exact * TIGHT
    assert capfd.readouterr().err == ""


OUT_OF_REACH = [
    lambda m, x: x if x.sum() > 0 else 2 * x,
    lambda m, x: x * x.max().item(),
    lambda m, x: x if torch.equal(x, x.abs()) else 2 * x,
    lambda m, x: x * float(x.norm()),
    lambda m, x: x + torch.from_numpy(np.abs(x.numpy())),
    lambda m, x: torch.tensor(x.tolist()),
    lambda m, x: x if torch.zeros(2, 4).copy_(x).sum() > 0 else 2 * x,
]


@pytest.mark.parametrize("forward", OUT_OF_REACH)
def test_values_of_the_input_are_out_of_reach(
    forward: Callable[[Any, Tensor], Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BoundError, match=r"values of the input|numpy"):
        bound_module(Model(forward).eval(), (4,))
    assert capfd.readouterr().err == ""
    assert logging.root.manager.disable == 0


def test_planted_recorder_that_lets_values_out_would_bound_one_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    far = Model(lambda m, x: 9 * x if bool((x > 5000).any()) else x).eval()  # steep where no check looks
    with pytest.raises(BoundError, match="values of the input"):
        bound_module(far, (4,))
    honest = Recorder._plain
    monkeypatch.setattr(
        Recorder, "_plain", lambda self, func, args, kwargs, dependent: honest(self, func, args, kwargs, False)
    )
    assert bound_module(far, (4,)).upper < 9


def _count(m: Any, x: Tensor) -> Tensor:
    m.batches += 1
    return x * 2


def _feature(m: Any, x: Tensor) -> Tensor:
    m.feature = x * 2
    return m.feature  # type: ignore[no-any-return]


def _mean(m: Any, x: Tensor) -> Tensor:
    m.mean = 0.9 * m.mean + 0.1 * x.mean()
    return x * 2


@pytest.mark.parametrize("forward", [_count, _feature, _mean])
def test_state_that_does_not_matter_is_fine(forward: Callable[[Any, Tensor], Tensor]) -> None:
    model = Model(forward, mean=torch.zeros(())).eval()
    before = copy.deepcopy(dict(model.state_dict()))
    assert bound_module(model, (4,)).upper == pytest.approx(2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def _count_used(m: Any, x: Tensor) -> Tensor:
    m.batches += 1
    return x * m.batches  # type: ignore[no-any-return]


def _mean_used(m: Any, x: Tensor) -> Tensor:
    m.mean = 0.9 * m.mean + 0.1 * x.mean()
    return x + m.mean  # type: ignore[no-any-return]


def _first_input(m: Any, x: Tensor) -> Tensor:
    if m.first is None:
        m.first = x.mean()
    return x + m.first  # type: ignore[no-any-return]


def _number(m: Any, x: Tensor) -> Tensor:
    m.calls += 1
    return x if m.calls < 100 else 9 * x


@pytest.mark.parametrize("forward", [_count_used, _mean_used, _first_input, _number])
def test_state_that_changes_the_function_is_refused(forward: Callable[[Any, Tensor], Tensor]) -> None:
    with pytest.raises(BoundError, match="state"):
        bound_module(Model(forward, mean=torch.zeros(()), first=None, calls=0).eval(), (4,))


NO_GRADIENT = [
    torch.no_grad()(lambda m, x: x @ m.weight),
    torch.inference_mode()(lambda m, x: x @ m.weight),
    lambda m, x: x.detach() @ m.weight,
    lambda m, x: x.data @ m.weight,
]


@pytest.mark.parametrize("forward", NO_GRADIENT)
def test_models_without_a_gradient_are_bounded(forward: Callable[[Any, Tensor], Tensor]) -> None:
    assert W <= bound_module(Model(forward).eval(), (4,)).upper <= W * TIGHT


@pytest.mark.parametrize(("lower", "upper"), [(1 / 8, 1 / 3), (0.5, 0.9), (1.0, 4.0), (-6.0, -2.0)])
def test_rrelu_has_the_mean_of_its_slopes(lower: float, upper: float) -> None:
    exact = max(1.0, abs(lower + upper) / 2)
    for model in (nn.RReLU(lower, upper), Model(lambda m, x: functional.rrelu(x, lower, upper, training=False))):
        assert exact <= bound_module(model.eval(), (4,)).upper <= exact * TIGHT
        assert largest_slope(model, (4,), points=6) <= exact * TIGHT
    with pytest.raises(BoundError, match="random"):
        bound_module(Model(lambda m, x: functional.rrelu(x, lower, upper, training=True)).eval(), (4,))


def rows(module: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (2, 2)), module, nn.Flatten())


class First(nn.Module):
    def __init__(self, module: nn.Module, inputs: int = 1) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs

    def forward(self, x: Tensor) -> Tensor:
        return self.module(*[x] * self.inputs)[0]  # type: ignore[no-any-return]


REASONS = [
    (rows(First(nn.LSTM(2, 3, batch_first=True))), "gates"),
    (rows(First(nn.GRU(2, 3, batch_first=True, dropout=0.5, num_layers=2))), "gates"),
    (rows(First(nn.MultiheadAttention(2, 1, batch_first=True), 3)), "attention"),
    (rows(nn.TransformerEncoderLayer(2, 1, 4, batch_first=True)), "attention"),
    (
        Model(lambda m, x: functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0]),
        "attention",
    ),
    (rows(First(nn.RNN(2, 3, batch_first=True))), "batch axis"),
    (rows(First(nn.RNN(2, 3, nonlinearity="relu", batch_first=True))), "batch axis"),
    (Model(lambda m, x: (m.weight @ x.transpose(0, 1)).T), "batch axis"),
    (Model(lambda m, x: x[:, None].permute(2, 0, 1).sum(0)), "batch axis"),
    (Model(lambda m, x: functional.normalize(x) @ m.weight), "divides by something"),
    (Model(lambda m, x: x / (1 + x.norm(dim=1, keepdim=True))), "divides by something"),
    (Model(lambda m, x: x / x), "divides by something"),
    (Model(lambda m, x: (x * 3).long() @ torch.ones(4, 2, dtype=torch.long)), "int64"),
    (Model(lambda m, x: (x + 1j).abs()), "complex"),
    (Model(lambda m, x: torch.complex(x, x).real), "complex"),
    (Model(lambda m, x: torch.sparse.mm(m.weight.detach().to_sparse(), x.T).T), "sparse"),
    (Model(lambda m, x: torch.stack([x[i] @ m.weight for i in range(len(x))])), "out of a batch"),
    (Model(lambda m, x: torch.cat([row @ m.weight for row in x.split(1)])), "out of a batch"),
    (Model(lambda m, x: torch.cat((x[:1], x[1:])) @ m.weight), "out of a batch"),
    (nn.LayerNorm(4), "deviation"),
    (rows(nn.InstanceNorm1d(2)), "deviation"),
    (nn.BatchNorm1d(4, track_running_stats=False), "no running statistics"),
    (Model(lambda m, x: x + torch.rand(4)), "random"),
    (Model(lambda m, x: x * torch.bernoulli(torch.full((4,), 0.5))), "random"),
    (Model(lambda m, x: x + torch.randn(4, generator=torch.Generator().manual_seed(0))), "random"),
    (Model(lambda m, x: x - x.mean(0)), "samples of a batch"),
]


@pytest.mark.parametrize(("model", "reason"), REASONS, ids=lambda value: value if isinstance(value, str) else "")
def test_refused_for_the_true_reason(model: nn.Module, reason: str) -> None:
    with pytest.raises(BoundError) as caught:
        bound_module(model.eval(), (4,))
    assert reason in caught.value.message
    for other in {"random", "samples of a batch", "values of the input"} - {reason}:
        assert other not in caught.value.message


def test_tracked_instance_norm_has_fixed_statistics() -> None:
    norm_ = nn.InstanceNorm1d(2, track_running_stats=True, affine=True).eval()
    norm_.running_var.copy_(torch.tensor([4.0, 0.25]))  # type: ignore[union-attr,operator]
    norm_.weight.data.copy_(torch.tensor([3.0, 1.0]))
    assert bound_module(rows(norm_).eval(), (4,)).upper == pytest.approx(2.0, rel=1e-4)


def test_own_errors_of_a_forward_are_the_models() -> None:
    with pytest.raises((BoundError, ModelError), match="AttributeError"):
        bound_module(Model(lambda m, x: m.nothing).eval(), (4,))


def test_layers_of_torch_need_no_watching() -> None:
    assert not isinstance(widened(nn.Sequential(nn.Linear(2, 2), nn.ReLU())), Widened)
    hooked = nn.Sequential(nn.Linear(2, 2))
    hooked[0].register_forward_hook(lambda layer, given, result: result.float())
    assert isinstance(widened(hooked), Widened)


def test_copies_keep_what_is_shared_and_forget_histories() -> None:
    model = Model(lambda m, x: x)
    value = model.weight * 2
    model.a, model.b = [value], {"v": value}  # type: ignore[assignment]
    plain: Any = detached_copy(model)
    assert plain.a[0] is plain.b["v"]
    assert plain.a[0].grad_fn is None
    assert torch.equal(plain.a[0], value)
    assert {name for name, _ in held_values(model)} >= {"a.0", "b.v"}
    assert torch.get_default_dtype() == torch.float32


ARRAY = np.array([0.5, -2.0, 1.0, 0.25], dtype=np.float32)


@pytest.mark.parametrize(
    ("forward", "true"),
    [
        (lambda m, x: x * torch.as_tensor(ARRAY), 2.0),
        (lambda m, x: x * torch.from_numpy(ARRAY) @ m.weight, None),
        (lambda m, x: x @ torch.from_numpy(np.diag(ARRAY)), 2.0),
        (lambda m, x: x + torch.as_tensor(ARRAY), 1.0),
        (lambda m, x: functional.linear(x, torch.tensor(np.diag(ARRAY)), torch.from_numpy(ARRAY)), 2.0),
        (lambda m, x: x * torch.tensor(ARRAY.tolist()), 2.0),
        (lambda m, x: torch.clamp(x * torch.from_numpy(ARRAY), max=torch.from_numpy(ARRAY)), 2.0),
    ],
)
def test_arrays_of_numpy_are_constants(forward: Callable[[Any, Tensor], Tensor], true: float | None) -> None:
    model = Model(forward).eval()
    expected = norm(torch.from_numpy(np.diag(ARRAY)) @ model.weight) if true is None else true
    for network in (model, nn.Sequential(model, nn.Linear(4, 4, bias=False)).eval()):
        bound = bound_module(network, (4,)).upper
        factor = norm(network[1].weight) if isinstance(network, nn.Sequential) else 1.0
        slope = norm(torch.autograd.functional.jacobian(network, torch.full((4,), -1.0)))
        assert slope * (1 - 1e-6) <= bound <= expected * factor * TIGHT
