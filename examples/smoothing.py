"""Certify a smoothed classifier; `make_notebook.py` makes smoothing.ipynb of it."""

# %% [markdown]
# # Certify a smoothed classifier
#
# For many models no useful Lipschitz bound is known. Randomized smoothing certifies *another* classifier: the class
# that the model gives most often to an image with Gaussian noise. What such a certificate says, and what it does not:
# [Smoothed classifiers](../docs/smoothing.md). The data are scikit-learn's digits, so nothing is downloaded.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import robench

SIGMA = 0.25
images, labels = map(torch.as_tensor, robench.load_data("digits", split="train").arrays())
x, y = robench.load_data("digits", limit=40).arrays()


def fit(sigma, steps=200):
    """A network trained on noisy images, whose pixels are cut off as in the certificate."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        noisy = (images + sigma * torch.randn_like(images)).clamp(0, 1)
        nn.functional.cross_entropy(model(noisy), labels).backward()
        optimizer.step()
    return model.eval()


# %% [markdown]
# ## The noise of training and of the certificate
#
# A model that never saw noise gives noisy images no steady class. The smoothed classifier then abstains, or has small
# radii.

# %%
results = {}
for name, sigma in {"trained without noise": 0.0, "trained with noise": SIGMA}.items():
    results[name] = robench.certify_smoothed(fit(sigma), x, y, sigma=SIGMA, n=1000)
    smoothed = results[name]
    print(
        f"{name}: abstains on {(smoothed.predicted < 0).sum()} of {len(x)}, "
        f"mean radius {smoothed.radius.mean():.3f}, certified at 0.25: {smoothed.certified_accuracy(0.25):.3f}"
    )

# %% [markdown]
# ## What a radius says
#
# Each radius holds with probability `1 - alpha`. All of them hold at once with the second number.

# %%
print(results["trained with noise"].confidence)

# %%
figure, axes = plt.subplots(figsize=(6, 3.6), dpi=80, layout="constrained")
grid = np.linspace(0, 0.9, 91)
for name, smoothed in results.items():
    axes.step(grid, [smoothed.certified_accuracy(radius) for radius in grid], where="post", label=name)
axes.set(xlabel="L2 radius ε, pixels in [0, 1]", ylabel="certified accuracy of the smoothed classifier", ylim=(0, 1))
axes.legend()
plt.show()

# %% [markdown]
# No radius can be larger than what `n` draws can prove, even if all of them agree. More draws cost time, in the
# certificate and in deployment.

# %%
for draws in (100, 1000, 10000):
    few = robench.certify_smoothed(fit(SIGMA), x[:5], y[:5], sigma=SIGMA, n=draws)
    print(f"n = {draws:<6} largest radius {few.radius.max():.3f}")

# %% [markdown]
# ## Attack it
#
# The attack is on the smoothed classifier, not on the model. A point counts only if the smoothed classifier, asked
# anew, gives it another class.

# %%
found = robench.attack_smoothed(fit(SIGMA), x[:10], y[:10], sigma=SIGMA, eps=1)
print(found.found.sum(), "of 10 broken at ε = 1")
