"""Certify a torch module of one's own; `make_notebook.py` makes own_module.ipynb of it."""

# %% [markdown]
# # Certify a torch module of your own
#
# This notebook bounds, certifies and attacks a module that robench has never seen. It has a layer that robench has no
# rule for. Terms are explained in the [glossary](../docs/glossary.md), the same on the command line in [Certify your
# own model](../docs/own-model.md). The data are scikit-learn's digits, so nothing is downloaded.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import robench
import robench.lipschitz

images, labels = map(torch.as_tensor, robench.load_data("digits", split="train").arrays())
x, y = robench.load_data("digits", limit=100).arrays()

# %% [markdown]
# ## A module
#
# `Ball` projects each input on the unit ball. It divides a signal by another one, so no bound follows from its
# operations alone.


# %%
class Ball(nn.Module):
    """The nearest point of the ball of radius 3."""

    def forward(self, x):
        """Keep what is in the ball, and pull what is outside to its surface."""
        return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) / 3).clamp_min(1.0)


def network(width=48):
    """An ordinary network, with one layer that is not ordinary."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), Ball(), nn.Linear(width, 10))


def fit(model, penalty=0.0, steps=200):
    """Train by cross-entropy; the penalty is on the spectral norms of the weights."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(4 * model(images), labels)
        norms = [torch.linalg.matrix_norm(layer.weight, 2) for layer in model if isinstance(layer, nn.Linear)]
        (loss + penalty * sum(norms)).backward()
        optimizer.step()
    return model.eval()


plain = fit(network())

# %% [markdown]
# ## The bound is refused, and by name

# %%
try:
    robench.lipschitz_bound(plain, (1, 8, 8))
except robench.RobenchError as error:
    print(error.message)
    print("hint:", error.hint)

# %% [markdown]
# ## A rule for the layer
#
# A projection on a convex set has constant 1. robench takes your word for it. It looks for a slope that refutes the
# number, but that is a check and no proof.


# %%
@robench.lipschitz.register(Ball)
def ball(layer, input_shape):
    """The constant of a projection on a convex set."""
    return 1.0


bound = robench.lipschitz_bound(plain, (1, 8, 8))
print(f"{bound.lower:.3f} <= Lipschitz constant <= {bound.upper:.3f}")
for layer in bound.layers:
    print(f"{layer.name:8} {layer.operation:12} {layer.upper:8.3f}")

# %% [markdown]
# ## Certify, attack, and check one against the other
#
# The certificates are small, since nothing kept the constants small in training. A penalty on the norms changes that.

# %%
tame = fit(network(), penalty=0.1)
eps = [0.1, 0.2, 0.4, 0.8, 1.6]
results = {}
for name, model in {"plain": plain, "penalty on norms": tame}.items():
    radii = robench.certify(model, x, y)
    found = robench.attack(model, x, y, eps=eps, certificates=radii, attacks=["deepfool", "pgd"])
    assert not robench.crosscheck(radii, found)
    results[name] = radii, found
    print(name, "constant at most", round(robench.lipschitz_bound(model, (1, 8, 8)).upper, 2))
    for radius in eps:
        print(
            f"  ε = {radius:<4} certified {radii.certified_accuracy(radius):.2f}  "
            f"attacked {found.robust_accuracy(radius):.2f}"
        )

# %% [markdown]
# One point an image: the radius is proven, the distance is that of an adversarial example. The truth is between the
# two, so every point is above the diagonal. The nearer to it, the less is open.

# %%
figure, axes = plt.subplots(figsize=(5, 4), dpi=80, layout="constrained")
for name, (radii, found) in results.items():
    broken = (found.distance > 0) & np.isfinite(found.distance)
    axes.plot(radii.radius[broken], found.distance[broken], "o", markersize=4, alpha=0.6, label=name)
axes.axline((0, 0), slope=1, color="black", linewidth=1)
axes.set(
    xlabel="certified radius", ylabel="distance of the nearest adversarial example", xlim=(0, None), ylim=(0, None)
)
axes.legend()
plt.show()

# %% [markdown]
# ## An attack of your own
#
# An attack is a function of the model, images, classes and ε. What it returns is verified like everything else, so it
# can make no image look broken that is not.


# %%
def noise(model, x, y, eps):
    """The worst of twenty random directions."""
    best, least = x.clone(), torch.full((len(x),), torch.inf)
    for _ in range(20):
        step = torch.nn.functional.normalize(torch.randn_like(x).flatten(1)).reshape(x.shape)
        moved = (x + eps * step).clamp(0, 1)
        logits = model(moved)
        own = logits.gather(1, y[:, None])[:, 0]
        margin = own - logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
        better = margin < least
        best[better], least[better] = moved[better], margin[better]
    return best


by_noise = robench.attack(tame, x, y, eps=eps, attacks=[noise])
for radius in eps:
    print(f"ε = {radius:<4} by noise {by_noise.robust_accuracy(radius):.2f}")
