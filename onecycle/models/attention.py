"""Attention of every token to all tokens, with several heads.

Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762).

Shapes: B batch, H height, W width, C channels, T tokens, N heads, D channels of a head.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from onecycle.kernels.calling import is_plain
from onecycle.kernels.modes import active

FEW_TOKENS = 256
"""Up to as many tokens, the gradient of two products of matrices is computed faster on a CPU than
that of PyTorch's fused attention: 9 ms against 41 ms for 64 images of 64 tokens, on one core."""


class Attention(nn.Module):
    """Every token looks at all tokens of its image.

    Args:
        channels: C, a multiple of `heads`.
        heads: N.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.attended = Attended()
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens_BHWC: Tensor) -> Tensor:
        """What the tokens see, B H W C."""
        qkv_BTC = self.qkv(tokens_BHWC).flatten(1, 2)
        qkv_BT3ND = qkv_BTC.unflatten(2, (3, self.heads, -1))
        query, key, value = (qkv_BT3ND[:, :, index].transpose(1, 2) for index in range(3))
        seen_BTC = self.attended(query, key, value).transpose(1, 2).flatten(2)
        return self.proj(seen_BTC.view_as(tokens_BHWC))


class Attended(nn.Module):
    """softmax(query · key / √D) · value.

    For few tokens on a CPU whose gradients are recorded, it is computed as it is written here, and
    otherwise by PyTorch's `scaled_dot_product_attention`, which traces and exports then contain.
    """

    def forward(self, query_BNTD: Tensor, key_BNTD: Tensor, value_BNTD: Tensor) -> Tensor:
        """What the tokens see, B N T D."""
        if not _is_faster_unfused(query_BNTD):
            return F.scaled_dot_product_attention(query_BNTD, key_BNTD, value_BNTD)
        scores_BNTT = (query_BNTD * query_BNTD.shape[3] ** -0.5) @ key_BNTD.transpose(2, 3)
        return scores_BNTT.softmax(3) @ value_BNTD


def _is_faster_unfused(query_BNTD: Tensor) -> bool:
    return (
        not active()
        and is_plain(query_BNTD)
        and query_BNTD.requires_grad
        and query_BNTD.shape[2] <= FEW_TOKENS
    )
