"""The transformer's block: attention among all tokens, then a layer of its own for each.

Source: Dosovitskiy et al., "An image is worth 16x16 words" (ICLR 2021), whose blocks SSAST has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Up to here the table of all pairs is faster than the fused form, whose way back is slow on a CPU.
_LONG = 1024


class Attention(nn.Module):
    """Multi-head self-attention.

    Parameters
    ----------
    width, n_heads : int
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, width)."""
        size, n, width = x.shape
        heads = self.qkv(x).reshape(size, n, 3, self.n_heads, width // self.n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mix = attention if n <= _LONG else functional.scaled_dot_product_attention
        return self.out(mix(query, key, value).transpose(1, 2).reshape(size, n, width))  # type: ignore[no-any-return]


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return attention with its table of all pairs, which grows with the square of the length."""
    alike = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    return torch.softmax(alike, dim=-1) @ value


class AttentionBlock(nn.Module):
    """Attention and a hidden layer, each behind a norm and beside a short cut.

    Parameters
    ----------
    width, n_heads : int
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, n_heads)
        self.norm_hidden = nn.LayerNorm(width, eps=1e-6)
        self.hidden = nn.Linear(width, 4 * width)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, N, width)."""
        x = x + self.attention(self.norm_attention(x))
        return x + self.out(functional.gelu(self.hidden(self.norm_hidden(x))))  # type: ignore[no-any-return]
