"""One whole generation, and how its tokens are drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model import Transformer
from tokenizer import Tokenizer

LOW = 0xFFFFFFFF


@dataclass
class Sampling:
    schedule: list[list[int]]
    guidance: float
    top_k: int
    top_p: float

    @staticmethod
    def of(config: dict) -> "Sampling":
        settings = config["sampling"]
        return Sampling(settings["schedule"], settings["guidance"], settings["topK"], settings["topP"])


@dataclass
class Inputs:
    """All that differs from one generation to the next. On a GPU a recorded generation reads it from where it lies."""

    labels: Tensor
    """[B], the null class included."""
    images: Tensor
    """[B]: each one's number within the job."""
    key: Tensor
    """[2]: the seed's lower and upper half."""

    @staticmethod
    def of(labels: Sequence[int], seed: int, first_image: int = 0, device: str = "cpu") -> "Inputs":
        images = range(first_image, first_image + len(labels))
        return Inputs(*(torch.tensor(list(x), device=device) for x in (labels, images, (seed & LOW, seed >> 32))))

    def become(self, other: "Inputs") -> None:
        """Takes another's values, in place."""
        for name in ("labels", "images", "key"):
            getattr(self, name).copy_(getattr(other, name), non_blocking=True)


@dataclass
class Generation:
    tokens: list[Tensor] = field(default_factory=list)
    """Of each scale: [B, p²]."""
    trace: list[Tensor] = field(default_factory=list)
    """A scale's tokens after each pass."""
    latent: Tensor | None = None


@torch.inference_mode()
def generate(model: Transformer, tokenizer: Tokenizer, inputs: Inputs, sampling: Sampling) -> Generation:
    """Tokens and latent; the guidance halves run as one batch of 2B. Nothing crosses between host and device."""
    pyramid, labels = model.pyramid, inputs.labels
    c = model.class_emb(torch.cat([labels, torch.full_like(labels, model.null_class)]))
    codes = tokenizer.quantize.embedding.embedding_dim
    latent = torch.zeros(len(labels), codes, pyramid[-1], pyramid[-1], device=labels.device)
    lengths = [side * side for side, counts in zip(pyramid, sampling.schedule, strict=True) for _ in counts]
    randoms = uniform(inputs, lengths)
    result = Generation()

    def draw(run: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        conditional, unconditional = run(x, c).chunk(2)
        logits = (1 + t) * conditional - t * unconditional
        return sample(logits, sampling.top_k, sampling.top_p, randoms[len(result.trace)])

    for scale, (side, counts) in enumerate(zip(pyramid, sampling.schedule, strict=True)):
        x = model.start_input(c) if scale == 0 else model.next_scale_input(latent, scale).repeat(2, 1, 1)
        tokens, confidence = draw(model.next_scale, x, sampling.guidance * scale / (len(pyramid) - 1))
        result.trace.append(tokens)
        masked = torch.ones_like(tokens, dtype=torch.bool)
        remaining = side * side
        for kept in counts[:-1]:
            remaining -= kept
            masked = least_confident(confidence.masked_fill(~masked, torch.inf), remaining)
            current = tokenizer.quantize.latent(tokens, scale, pyramid)
            x = model.masked_input(latent, current, masked, scale).repeat(2, 1, 1)
            drawn, confidence = draw(model.masked, x, sampling.guidance * 1e-6)
            tokens = torch.where(masked, drawn, tokens)
            result.trace.append(tokens)
        latent = latent + tokenizer.quantize.latent(tokens, scale, pyramid)
        result.tokens.append(tokens)
    result.latent = latent
    return result


@torch.inference_mode()
def paint(tokenizer: Tokenizer, latent: Tensor) -> Tensor:
    """Pictures as bytes [B, H, W, 3]."""
    return (tokenizer.decode(latent) * 127.5 + 128).byte().permute(0, 2, 3, 1).contiguous()


def sample(logits: Tensor, top_k: int, top_p: float, u: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [B, L] from logits [B, L, V] by uniform numbers [B, L], and their probabilities after filtering."""
    if 0 < top_k < logits.shape[-1]:
        threshold = logits.topk(top_k, sorted=True).values[..., -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    if top_p > 0:
        ascending, order = logits.sort(dim=-1, stable=True)
        drop = ascending.softmax(-1).double().cumsum(-1) <= 1 - top_p
        drop[..., -1].fill_(False)
        logits = logits.masked_fill(torch.empty_like(drop).scatter_(-1, order, drop), -torch.inf)
    probabilities = logits.softmax(-1)
    cumulative = probabilities.double().cumsum(-1)
    goal = (u * cumulative[..., -1]).unsqueeze(-1)
    tokens = torch.searchsorted(cumulative, goal, right=True).clamp(max=logits.shape[-1] - 1)
    return tokens.squeeze(-1), probabilities.gather(-1, tokens).squeeze(-1)


def least_confident(confidence: Tensor, count: int) -> Tensor:
    """Which `count` positions of each row to mask: the lower one of equals first."""
    order = confidence.argsort(dim=-1, stable=True)[..., :count]
    return torch.zeros_like(confidence, dtype=torch.bool).scatter_(-1, order, True)


def uniform(inputs: Inputs, lengths: Sequence[int]) -> tuple[Tensor, ...]:
    """Philox 4×32-10's uniform numbers [B, L] of every pass's token draws, L being the passes' lengths."""
    images, device = inputs.images, inputs.images.device
    x0 = torch.cat([torch.arange(length, device=device) for length in lengths]).expand(len(images), -1)
    x1 = torch.cat([torch.full((length,), index, device=device) for index, length in enumerate(lengths)])
    x2 = (images & LOW).unsqueeze(1).expand_as(x0)
    x3 = torch.zeros_like(x0)
    key0, key1 = inputs.key.unbind()
    for _ in range(10):
        first, second = x0 * 0xD2511F53, x2 * 0xCD9E8D57
        # The products wrap around into the sign, which the mask removes again.
        x0, x1, x2, x3 = (second >> 32 & LOW) ^ x1 ^ key0, second & LOW, (first >> 32 & LOW) ^ x3 ^ key1, first & LOW
        key0, key1 = key0 + 0x9E3779B9 & LOW, key1 + 0xBB67AE85 & LOW
    return ((x0 >> 8).double() * 2.0**-24).split(list(lengths), dim=1)
