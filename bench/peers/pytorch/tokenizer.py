"""The multi-scale residual VQ-VAE. Modules are named as the tensors of a checkpoint are."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0)


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), conv3(inputs, outputs)
        self.norm2, self.conv2 = norm(outputs), conv3(outputs, outputs)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)
        q, k, v = (part.unsqueeze(1) for part in qkv.chunk(3, dim=-1))
        values = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return x + self.proj_out(values.transpose(1, 2).reshape(batch, channels, height, width))


class Middle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.block_1 = Residual(channels, channels)
        self.attn_1 = Attention(channels)
        self.block_2 = Residual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Level(nn.Module):
    """One resolution: residual blocks, each followed by attention where the level has it."""

    def __init__(self, inputs: int, outputs: int, blocks: int, attention: bool):
        super().__init__()
        self.block = nn.ModuleList(Residual(inputs if i == 0 else outputs, outputs) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(outputs) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        return x


class Resample(nn.Module):
    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.conv = conv3(channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride == (2, 2):
            return self.conv(F.pad(x, (0, 1, 0, 1)))
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Encoder(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        widths = [config["channels"] * m for m in config["channelMultipliers"]]
        last = len(widths) - 1
        self.conv_in = conv3(3, config["channels"])
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level(config["channels"] if i == 0 else widths[i - 1], width, config["residualBlocks"], i == last)
            if i < last:
                level.downsample = Resample(width, stride=2)
            self.down.append(level)
        self.mid = Middle(widths[-1])
        self.norm_out, self.conv_out = norm(widths[-1]), conv3(widths[-1], config["codeDimension"])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
            if hasattr(level, "downsample"):
                x = level.downsample(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        widths = [config["channels"] * m for m in config["channelMultipliers"]]
        last = len(widths) - 1
        self.conv_in = conv3(config["codeDimension"], widths[-1])
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level(widths[min(i + 1, last)], width, config["residualBlocks"] + 1, i == last)
            if i > 0:
                level.upsample = Resample(width, stride=1)
            self.up.append(level)
        self.norm_out, self.conv_out = norm(widths[0]), conv3(widths[0], 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
            if hasattr(level, "upsample"):
                x = level.upsample(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Quantizer(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        z, n = config["codeDimension"], config["phiCount"]
        self.embedding = nn.Embedding(config["codebookSize"], z)
        self.quant_resi = nn.Module()
        self.quant_resi.qresi_ls = nn.ModuleList(conv3(z, z) for _ in range(n))
        first = 1 / 3 / n if n == 4 else 1 / 2 / n
        self.ticks = [j * ((1 - first - first) / max(n - 1, 1)) + first for j in range(n - 1)] + [1 - first]

    def phi(self, h: Tensor, scale: int, scales: int) -> Tensor:
        at = scale / (scales - 1)
        nearest = min(range(len(self.ticks)), key=lambda j: abs(self.ticks[j] - at))
        return 0.5 * h + 0.5 * self.quant_resi.qresi_ls[nearest](h)

    def latent(self, tokens: Tensor, scale: int, pyramid: list[int]) -> Tensor:
        """What `tokens [B, p²]` of a scale add to the latent: [B, Z, S, S]."""
        side, full = pyramid[scale], pyramid[-1]
        h = self.embedding(tokens).transpose(1, 2).unflatten(2, (side, side))
        if side < full:
            h = F.interpolate(h, size=(full, full), mode="bicubic", align_corners=False)
        return self.phi(h, scale, len(pyramid))

    def nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, p²] of `z [B, Z, p, p]`, and the two smallest squared distances [B, p², 2]."""
        distances = (z.flatten(2).transpose(1, 2).unsqueeze(2) - self.embedding.weight).square().sum(-1)
        smallest = distances.topk(2, largest=False)
        return smallest.indices[..., 0], smallest.values


class Tokenizer(nn.Module):
    def __init__(self, config: dict, with_encoder: bool = False):
        super().__init__()
        z = config["codeDimension"]
        if with_encoder:
            self.encoder, self.quant_conv = Encoder(config), conv3(z, z)
        self.decoder, self.post_quant_conv = Decoder(config), conv3(z, z)
        self.quantize = Quantizer(config)

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] of `latent [B, Z, S, S]`."""
        latent = self.post_quant_conv(latent).to(self.decoder.conv_in.weight.dtype, memory_format=torch.channels_last)
        return self.decoder(latent).float().clamp(-1, 1)

    def encode(self, pictures: Tensor, pyramid: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, N], the latent before quantisation, and each token's relative margin over the second nearest."""
        latent = self.quant_conv(self.encoder(pictures.to(self.encoder.conv_in.weight.dtype)).float())
        rest, tokens, margins = latent, [], []
        for scale, side in enumerate(pyramid):
            drawn, distances = self.quantize.nearest(F.interpolate(rest, size=(side, side), mode="area"))
            rest = rest - self.quantize.latent(drawn, scale, pyramid)
            tokens.append(drawn)
            margins.append((distances[..., 1] - distances[..., 0]) / distances[..., 0])
        return torch.cat(tokens, 1), latent, torch.cat(margins, 1)
