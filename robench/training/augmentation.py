"""Random shifts and mirror images of training images, on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

from robench.specs.training import Augmentation
from robench.training.batches import generator

Change = Callable[[Tensor], Tensor]
STREAM = 2
REACH: Mapping[Augmentation, int] = {"shift": 1, "crop-flip": 4}
"""Pixels by which an image moves at most, along either axis."""


def augmentation(kind: Augmentation, seed: int, epoch: int) -> Change:
    """What is done to the batches of one epoch, one after the other; the same in each run with this seed.

    Args:
        kind: `none`, `shift`, or `crop-flip`, which mirrors half of the images as well.
        seed: of the training.
        epoch: its number.

    Returns:
        A function of images (n, C, H, W). What comes in at a border is 0.
    """
    if kind == "none":
        return lambda images: images
    draw, reach = generator(seed, epoch, stream=STREAM), REACH[kind]

    def change(images: Tensor) -> Tensor:
        offsets = torch.randint(2 * reach + 1, (2, len(images)), generator=draw).to(images.device)
        flipped = torch.rand(len(images), generator=draw).to(images.device) < (0.5 if kind == "crop-flip" else 0.0)
        return shifted(images, offsets, flipped, reach)

    return change


def shifted(images: Tensor, offsets: Tensor, flipped: Tensor, reach: int) -> Tensor:
    """Windows of padded images, some of them mirrored.

    Args:
        images: (n, C, H, W).
        offsets: (2, n) place of the window along H and W, 0..2 reach; `reach` leaves an image where it is.
        flipped: (n,) whether the window is mirrored along W.
        reach: width of the border of 0.
    """
    count, _, height, width = images.shape
    rows = offsets[0, :, None] + torch.arange(height, device=images.device)
    along = torch.arange(width, device=images.device).expand(count, width)
    columns = offsets[1, :, None] + torch.where(flipped[:, None], along.flip(1), along)
    which = torch.arange(count, device=images.device)[:, None, None]
    padded = pad(images, (reach, reach, reach, reach)).movedim(1, -1)
    return padded[which, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()
