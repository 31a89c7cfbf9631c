"""A tour of robench in memory; `make_notebook.py` makes tour.ipynb of it."""

# %% [markdown]
# # A tour of robench on MNIST
#
# robench gives two numbers for each image: a **certified radius** (no L2 change smaller than this flips the class)
# and an **attack distance** (this concrete change does). This notebook trains a 1-Lipschitz network, bounds it,
# certifies and attacks images, and checks one result against the other. Terms are explained in the
# [glossary](../docs/glossary.md), all functions in [robench from Python](../docs/python.md).

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import robench
from robench import workflows

DATA = "mnist"

# %% [markdown]
# ## Train
#
# The recipe `hkr` is the hinge-regularised Kantorovich-Rubinstein classifier of [Serrurier et
# al.](https://arxiv.org/abs/2006.06520). A name stands for the training images of a data set. Tensors `x` and `y`
# work too.

# %%
model = robench.train("hkr", DATA, epochs=3)
model

# %% [markdown]
# ## Bound
#
# The Lipschitz constant of the network lies between the largest slope that was found and the proven upper bound. The
# layers before the head have a bound of 1, up to rounding. Each row of the head has norm 1, so each single logit is
# 1-Lipschitz; all ten together are not.

# %%
x, y = robench.load_data(DATA, limit=200).arrays()

bound = robench.lipschitz_bound(model, x.shape[1:])
print(f"{bound.lower:.4f} <= Lipschitz constant <= {bound.upper:.4f}")
for layer in bound.layers:
    print(f"{layer.name:15} {layer.operation:25} {layer.upper:.6f}")

# %% [markdown]
# ## Certify
#
# The bound proves a radius for each image. A radius is worth something only if the class is right:
# `certified_accuracy` counts images that are right and whose radius is above ε.

# %%
radii = robench.certify(model, x, y, bound=bound)
print(f"accuracy {radii.certified_accuracy(0):.3f}, certified at 0.5: {radii.certified_accuracy(0.5):.3f}")

# %% [markdown]
# ## Attack
#
# foolbox's FGSM, PGD, Carlini-Wagner and DeepFool look for adversarial examples. robench verifies each one in
# float64. Images that are certified at an ε are not attacked there.

# %%
eps = [0.25, 0.5, 0.75, 1, 1.5, 2, 3]
found = robench.attack(model, x, y, eps=eps, certificates=radii)
for radius in eps:
    low, high = radii.certified_accuracy(radius), found.robust_accuracy(radius)
    print(f"ε = {radius:<4}  certified {low:.3f}  attacked {high:.3f}")

# %% [markdown]
# No adversarial example lies within a certified radius. If one did, the certificate or the attack would be wrong.

# %%
print(robench.crosscheck(radii, found))

# %% [markdown]
# ## The curves
#
# The accuracy that the model keeps under *any* change of size ε lies between the two curves.

# %%
grid = np.linspace(0, 3, 121)
certified = [radii.certified_accuracy(radius) for radius in grid]
attacked = [found.robust_accuracy(radius) for radius in grid]

figure, axes = plt.subplots(figsize=(6, 3.6), dpi=80, layout="constrained")
axes.step(grid, attacked, where="post", label="attacked: an upper bound")
axes.step(grid, certified, where="post", linestyle="--", label="certified: a lower bound")
axes.fill_between(grid, certified, attacked, step="post", alpha=0.15, label="open")
axes.set(xlabel="L2 radius ε, pixels in [0, 1]", ylabel="accuracy", xlim=(0, 3), ylim=(0, 1))
axes.legend()
plt.show()

# %% [markdown]
# ## The adversarial examples
#
# Above the images with their certified radii, in the middle the nearest adversarial examples with their classes and
# distances, below the change. The change that this network needs is large, and it paints a part of the other digit.

# %%
broken = (found.distance > 0) & np.isfinite(found.distance)
rows = [int(np.flatnonzero(broken & (y == label))[0]) for label in np.unique(y[broken])[:8]]
classes = model(torch.from_numpy(found.points[rows])).argmax(dim=1)

figure, axes = plt.subplots(3, len(rows), figsize=(8, 3.6), dpi=80, layout="constrained")
for column, row in enumerate(rows):
    above, middle, below = axes[:, column]
    above.imshow(x[row, 0], cmap="gray", vmin=0, vmax=1)
    above.set_title(f"{y[row]}, proven {radii.radius[row]:.2f}", fontsize=9)
    middle.imshow(found.points[row, 0], cmap="gray", vmin=0, vmax=1)
    middle.set_title(f"{classes[column]}, at {found.distance[row]:.2f}", fontsize=9)
    below.imshow(found.points[row, 0] - x[row, 0], cmap="RdBu", vmin=-0.7, vmax=0.7)
for single in axes.flat:
    single.axis("off")
plt.show()

# %% [markdown]
# ## A module of your own
#
# Any torch module works. This one is trained without any constraint. Its bound is large, so its certified radii are
# small. It needs only small changes too.

# %%
images, labels = map(torch.as_tensor, robench.load_data(DATA, split="train", limit=5000).arrays())
torch.manual_seed(0)
own = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(own.parameters(), lr=0.005)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.cross_entropy(own(images), labels).backward()
    optimizer.step()
own.eval()

own_radii = robench.certify(own, x, y)
own_found = robench.attack(own, x, y, eps=eps, certificates=own_radii)
print(f"Lipschitz constant at most {robench.lipschitz_bound(own, x.shape[1:]).upper:.1f}")
for radius in (0, 0.25, 1):
    low, high = own_radii.certified_accuracy(radius), own_found.robust_accuracy(radius)
    print(f"ε = {radius:<4}  certified {low:.3f}  attacked {high:.3f}")
print(robench.crosscheck(own_radii, own_found))

# %% [markdown]
# ## Run folders
#
# The commands `robench train`, `certify` and `attack` write folders, which can be resumed, verified and reported.
# `robench.workflows` has them as functions, and `robench.read` gives the records as a pandas data frame, one row an
# image.

# %%
workflows.train(workflows.train_spec("margin", DATA, epochs=1), "margin")
workflows.attack("margin", workflows.DataRef(DATA, limit=50), eps=[0.5, 1], out="margin-attack")
frame = robench.read("margin-attack")
frame[["index", "label", "predicted", "certified_radius", "distance", "attack"]].head(8)

# %%
frame.assign(certified=frame["correct"] & (frame["certified_radius"] > 0.5))[["correct", "certified"]].mean()
