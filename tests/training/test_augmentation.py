"""Augmentation against a loop over images."""

from __future__ import annotations

import numpy as np
import torch

from robench.training.augmentation import shifted


def test_images_are_mirrored_and_moved_as_by_hand():
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(30, 3, 5, 6, generator=draw)
    offsets = torch.randint(5, (2, 30), generator=draw)
    flipped = torch.arange(30) % 2 == 0
    moved = shifted(images, offsets, flipped, 2).numpy()
    for image, result, row, column, mirror in zip(images.numpy(), moved, *offsets, flipped, strict=True):
        window = np.pad(image, ((0, 0), (2, 2), (2, 2)))[:, row : row + 5, column : column + 6]
        assert np.array_equal(result, window[:, :, ::-1] if mirror else window)
