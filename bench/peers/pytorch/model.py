"""The transformer with its next-scale and mask branches. Modules are named as the tensors of a checkpoint are."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """Multiplies in its weights' type, whatever the input's: the residual stream stays float32."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


def modulation(width: int, vectors: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), Linear(width, vectors * width))


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, normalized: bool):
        super().__init__()
        self.heads, self.normalized = heads, normalized
        if normalized:
            self.scale_mul_1H11 = nn.Parameter(torch.empty(1, heads, 1, 1))
        self.q_bias = nn.Parameter(torch.empty(width))
        self.v_bias = nn.Parameter(torch.empty(width))
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.mat_qkv.weight
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias]).to(weight.dtype)
        qkv = F.linear(x.to(weight.dtype), weight, bias).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scale = 0.25 / math.sqrt(q.shape[-1])
        if self.normalized:
            factor = self.scale_mul_1H11.clamp(max=math.log(100)).exp()
            q = (F.normalize(q, dim=-1, eps=1e-12) * factor).to(v.dtype)
            k = F.normalize(k, dim=-1, eps=1e-12)
            scale = 1.0
        out = F.scaled_dot_product_attention(q, k, v, scale=scale)
        return self.proj(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(width, ratio * width), Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        width = config["width"]
        self.attn = Attention(width, config["heads"], config.get("queryKeyNorm", True))
        self.ffn = FeedForward(width, config.get("mlpRatio", 4))
        self.ada_lin = modulation(width, 6)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        gate1, gate2, scale1, scale2, shift1, shift2 = self.ada_lin(c).unflatten(-1, (6, 1, -1)).unbind(1)
        x = x + gate1 * self.attn(modulated(x, scale1, shift1))
        return x + gate2 * self.ffn(modulated(x, scale2, shift2))


class HeadNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.ada_lin = modulation(width, 2)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return modulated(x, *self.ada_lin(c).unflatten(-1, (2, 1, -1)).unbind(1))


class Transformer(nn.Module):
    """HMAR's combined model. `config` is the `model` part of a config.json with `codebookSize` and `codeDimension`."""

    def __init__(self, config: dict, pyramid: list[int]):
        super().__init__()
        width, depth, branch = config["width"], config["depth"], config["branchDepth"]
        codes, tokens = config["codebookSize"], sum(p * p for p in pyramid)
        self.pyramid, self.null_class = pyramid, config["classes"]
        self.class_emb = nn.Embedding(config["classes"] + 1, width)
        self.pos_start = nn.Parameter(torch.empty(1, 1, width))
        self.pos_1LC = nn.Parameter(torch.empty(1, tokens, width))
        self.lvl_embed = nn.Embedding(len(pyramid), width)
        self.word_embed = nn.Linear(config["codeDimension"], width, bias=False)
        self.word_embed_bias = nn.Parameter(torch.empty(width))
        self.mask_embed = nn.Embedding(1, width)
        self.base_blocks = nn.ModuleList(Block(config) for _ in range(depth - branch))
        self.ns_blocks = nn.ModuleList(Block(config) for _ in range(branch))
        self.mask_blocks = nn.ModuleList(Block(config) for _ in range(branch))
        self.ns_head_nm, self.ns_head = HeadNorm(width), Linear(width, codes)
        self.mask_head_nm, self.mask_head = HeadNorm(width), Linear(width, codes)

    def place(self, scale: int) -> Tensor:
        """Positions and level of a scale's tokens: [1, p², C]."""
        first = sum(p * p for p in self.pyramid[:scale])
        return self.pos_1LC[:, first : first + self.pyramid[scale] ** 2] + self.lvl_embed.weight[scale]

    def embed(self, latent: Tensor, scale: int) -> Tensor:
        """A latent [B, Z, S, S] as seen at a scale: [B, p², C]."""
        side = self.pyramid[scale]
        return self.word_embed(F.interpolate(latent, size=(side, side), mode="area").flatten(2).transpose(1, 2))

    def next_scale_input(self, latent: Tensor, scale: int) -> Tensor:
        return self.embed(latent, scale) + self.word_embed_bias + self.place(scale)

    def masked_input(self, latent: Tensor, current: Tensor, masked: Tensor, scale: int) -> Tensor:
        """`current [B, Z, S, S]` is what the scale's tokens add to the latent, `masked [B, p²]` which to revise."""
        visible = torch.where(masked.unsqueeze(-1), self.mask_embed.weight, self.embed(current, scale))
        return self.next_scale_input(latent, scale) + visible

    def start_input(self, c: Tensor) -> Tensor:
        return c.unsqueeze(1) + self.pos_start + self.place(0)

    def next_scale(self, x: Tensor, c: Tensor) -> Tensor:
        return self._run(x, c, self.ns_blocks, self.ns_head_nm, self.ns_head)

    def masked(self, x: Tensor, c: Tensor) -> Tensor:
        return self._run(x, c, self.mask_blocks, self.mask_head_nm, self.mask_head)

    def _run(self, x: Tensor, c: Tensor, branch: nn.ModuleList, head_norm: HeadNorm, head: Linear) -> Tensor:
        for block in (*self.base_blocks, *branch):
            x = block(x, c)
        return head(head_norm(x, c)).float()
