"""Transformers of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.published.patches import Patches


class Block(nn.Module):
    """Attention and a dense part, each behind a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dense = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Two sums."""
        inner = self.norms[0](x)
        x = x + self.attention(inner, inner, inner, need_weights=False)[0]
        return x + self.dense(self.norms[1](x))


class ViT(nn.Module):
    """Dosovitskiy et al. 2021: 6 blocks of width 192 on 64 patches, and a token for the class."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = Patches(192, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 192) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 65, 192) * 0.02)
        self.blocks = nn.Sequential(*(Block(192, 3) for _ in range(6)))
        self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the token."""
        tokens = torch.cat((self.token.expand(len(x), -1, -1), self.patches(x)), dim=1) + self.places
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class CCT(nn.Module):
    """Compact convolutional transformer 2/3×1 of Hassani et al. 2021, with a weighted mean at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(3, 128, 3, 1, 1, bias=False), nn.ReLU(), nn.MaxPool2d(3, 4, 1))
        self.places = nn.Parameter(torch.randn(1, 64, 128) * 0.2)
        self.blocks = nn.Sequential(*(Block(128, 2) for _ in range(2)))
        self.norm, self.weight, self.head = nn.LayerNorm(128), nn.Linear(128, 1), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the weighted mean."""
        tokens = self.norm(self.blocks(self.patches(x).flatten(2).transpose(1, 2) + self.places))
        shares = self.weight(tokens).softmax(dim=1).transpose(1, 2)
        return self.head((shares @ tokens).squeeze(1))


class WindowBlock(nn.Module):
    """Attention within windows of 4×4 patches, turned by `shift`, with a bias for each offset."""

    def __init__(self, width: int, heads: int, side: int, shift: int) -> None:
        super().__init__()
        self.side, self.shift, self.heads = side, shift, heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(torch.randn(49, heads) * 0.02)
        place = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
        offset = place[:, :, None] - place[:, None] + 3
        self.register_buffer("index", offset[0] * 7 + offset[1])
        region = torch.zeros(side, side)
        cuts = (slice(0, -4), slice(-4, -2), slice(-2, None)) if shift else (slice(None),)
        for number, (rows, columns) in enumerate((a, b) for a in cuts for b in cuts):
            region[rows, columns] = number
        windows = region.reshape(side // 4, 4, side // 4, 4).transpose(1, 2).reshape(-1, 1, 16)
        self.register_buffer("mask", torch.where(windows == windows.transpose(1, 2), 0.0, -100.0)[:, None])
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def _attended(self, x: Tensor) -> Tensor:
        """(N, side, side, width) -> the same."""
        count, parts, width = len(x), self.side // 4, x.shape[-1]
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), dims=(1, 2))
        windows = x.reshape(count, parts, 4, parts, 4, width).transpose(2, 3).reshape(count, parts * parts, 16, width)
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self.table[self.index].permute(2, 0, 1)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + bias + self.mask
        windows = self.out((scores.softmax(-1) @ v).transpose(2, 3).flatten(-2))
        x = (
            windows.reshape(count, parts, parts, 4, 4, width)
            .transpose(2, 3)
            .reshape(count, self.side, self.side, width)
        )
        return torch.roll(x, (self.shift, self.shift), dims=(1, 2)) if self.shift else x

    def forward(self, x: Tensor) -> Tensor:
        """Two sums."""
        x = x + self._attended(self.norms[0](x))
        return x + self.dense(self.norms[1](x))


class Swin(nn.Module):
    """Liu et al. 2021 with stages of 2 and 2 blocks, width 96, patches of 2 pixels, windows of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 96, 2, 2), nn.LayerNorm(96)
        self.first = nn.Sequential(WindowBlock(96, 3, 16, 0), WindowBlock(96, 3, 16, 2))
        self.merging = nn.Sequential(nn.LayerNorm(384), nn.Linear(384, 192, bias=False))
        self.second = nn.Sequential(WindowBlock(192, 6, 8, 0), WindowBlock(192, 6, 8, 2))
        self.last, self.head = nn.LayerNorm(192), nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the mean."""
        x = self.first(self.norm(self.patches(x).permute(0, 2, 3, 1)))
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        x = self.second(self.merging(torch.cat(corners, dim=-1)))
        return self.head(self.last(x).mean((1, 2)))
