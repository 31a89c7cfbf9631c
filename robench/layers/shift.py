"""A circular shift of some channels by one pixel: what lets 1x1 convolutions see their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robench.errors import SpecError


class CircularShift(nn.Module):
    """Moves some channels down by one pixel, and as many up, right and left, around the border.

    A permutation of the entries, so an isometry. With orthogonal 1x1 convolutions it makes networks that mix space and
    channels without any convolution whose norm has to be bounded. LipNeXt (ICLR 2026) has the idea.

    Args:
        channels: number of channels.
        moved: how many of them move in each direction.

    Raises:
        SpecError: not 1 or more, or more than there are in all four directions.
    """

    def __init__(self, channels: int, moved: int) -> None:
        super().__init__()
        if not 1 <= moved <= channels // 4:
            raise SpecError(
                f"of {channels} channels, {moved} cannot move in each of four directions",
                hint="move 1 channel or more, and a quarter of them at most",
            )
        self.channels, self.moved = channels, moved

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> same shape."""
        each = self.moved
        down, up, right, left, rest = torch.split(x, [each, each, each, each, self.channels - 4 * each], dim=1)
        return torch.cat((down.roll(1, 2), up.roll(-1, 2), right.roll(1, 3), left.roll(-1, 3), rest), dim=1)

    def extra_repr(self) -> str:
        """The channels, and how many move in each direction."""
        return f"{self.channels}, moved={self.moved}"
