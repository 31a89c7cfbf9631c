"""Models as a user would write them in a file."""

import torch
from torch import nn


def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def parametrized():
    module = plain()
    nn.utils.parametrizations.orthogonal(module[1])
    nn.utils.parametrizations.spectral_norm(module[3])
    return module


def shared():
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(16, 16))
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(16, 3))


def old_hook():
    module = plain()
    nn.utils.spectral_norm(module[1])
    return module


def dropout():
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


def noisy():
    return nn.Sequential(nn.Flatten(), Noise(), nn.Linear(16, 3))


def one_dimensional():
    return nn.Sequential(nn.Flatten(0), nn.Linear(32, 3))


def two_outputs():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    return Pair()


def fails():
    raise RuntimeError("no weights here")


def no_module():
    return 3


not_callable = 7
