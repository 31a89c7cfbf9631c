"""Models that give no gradient are attacked without one, not failed on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robench.attacks.classifier import Classifier
from robench.attacks.library_model import LibraryModel
from robench.attacks.passes import PassCounter


class Blind(nn.Module):
    def __init__(self, how: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.last, x.float())


@pytest.mark.parametrize(
    "how",
    [
        lambda f, x: torch.no_grad()(f)(x),
        lambda f, x: torch.inference_mode()(f)(x),
        lambda f, x: f(x.detach()),
        lambda f, x: f(torch.tensor(x.tolist())),
    ],
    ids=["no_grad", "inference_mode", "detach", "list"],
)
def test_the_gradient_is_zero(how: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> None:
    module = Blind(how).eval()
    model = Classifier(module, (4,), device=torch.device("cpu"), passes=PassCounter())
    x = torch.rand(model.sizes[0], 4)
    logits, gradient = model.differentiate(x, torch.ones(len(x)), lambda z: z[:, 0] - z[:, 1], len(x))
    torch.testing.assert_close(logits, x @ module.last.weight.T.detach() + module.last.bias.detach())
    assert not gradient.any()
    assert model.exact_logits(x, len(x)).dtype == torch.float64


def test_weights_that_the_model_does_not_own_are_no_link_to_the_input() -> None:
    elsewhere = nn.Linear(4, 3)  # neither a part nor frozen

    class Borrowing(nn.Module):
        def __init__(self, cut: bool) -> None:
            super().__init__()
            self.cut = cut

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x.detach() if self.cut else x, elsewhere.weight.to(x.dtype))

    for cut in (True, False):
        model = Classifier(Borrowing(cut).eval(), (4,), device=torch.device("cpu"), passes=PassCounter())
        x = torch.rand(5, 4, requires_grad=True)
        (slope,) = torch.autograd.grad(LibraryModel(model)(x)[:, 0].sum(), x)
        assert bool(slope.any()) is not cut
