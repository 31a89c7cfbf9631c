"""Names that a user may write, known without torch and without any data: for completion, and for lists of them.

A test holds them to what they name.
"""

from __future__ import annotations

from collections.abc import Mapping

RECIPES = ("hkr", "gnp-hinge", "gnp-log", "1lip-log", "adv", "plain", "kr", "margin")
"""Recipes of training; `robench.training.recipes` has them."""
ARCHITECTURES = (
    "dense-small",
    "dense",
    "dense-512",
    "dense-512-deep",
    "dense-deep",
    "dense-deep-pairs",
    "conv-small",
    "conv",
    "cifar-small",
    "cifar",
    "faces",
    "celeba",
    "shift-small",
    "shift",
    "shift-large",
)
"""Architectures; `robench.models.architectures` has them."""
DATA_SETS: Mapping[str, str] = {
    "two-moons": "points of the plane in two classes, made by scikit-learn",
    "digits": "1x8x8, ten digits, in scikit-learn",
    "mnist": "1x28x28, ten digits, 11 MB to download",
    "fashion-mnist": "1x28x28, ten kinds of clothes, 30 MB to download",
    "cifar10": "3x32x32, ten kinds of things, 170 MB to download",
    "celeba": "3x128x128, eyeglasses or none; fetch it by hand",
    "npz:PATH": "arrays of your own in a .npz file",
    "folder:PATH": "images of your own, a folder for each class",
}
"""Data sets, each with a line about it; `robench.data.loading` reads them."""
CERTIFICATES: Mapping[str, str] = {
    "paper": "|f|/L for one logit, else half the gap of the two largest logits over L; always there",
    "pairwise": "the gap of each pair of classes over the constant of that pair; always there",
    "scaled": "smaller constants of pairs, for chains of linear layers and ReLU or the like; there where it gains",
    "local": "the ball around each image; seconds an image, with `--rule local`",
}
"""Rules of certification, each never below those before it."""
