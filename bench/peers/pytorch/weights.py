"""Models from a folder with a config.json, or of synthetic weights that anyone can make again."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model import Transformer
from tokenizer import Tokenizer

CONSTANTS = ("lvl_1L", "attn_bias_for_masking", "zero_k_bias", "ema_vocab_hit_SV")


PYRAMIDS = {256: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16], 512: [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]}
SCHEDULES = {
    256: [[1], [1, 3], [1, 1, 2, 5], [16], [25], [36], [64], [100], [169], [256]],
    512: [[1], [1, 3], [1, 1, 2, 5], [5, 11], [36], [81], [169], [324], [576], [1024]],
}


def release(depth: int, resolution: int = 256) -> dict:
    """The configuration of the released model of a depth."""
    guidance, top_k = {20: (1.9, 950), 24: (2.1, 900)}.get(depth, (1.7, 1000))
    return {
        "name": f"synthetic-d{depth}",
        "pyramid": PYRAMIDS[resolution],
        "tokenizer": {"channels": 160, "channelMultipliers": [1, 1, 2, 2, 4], "residualBlocks": 2,
                      "codebookSize": 4096, "codeDimension": 32, "phiCount": 4},
        "model": {"depth": depth, "branchDepth": 8, "width": 64 * depth, "heads": depth, "classes": 1000},
        "sampling": {"guidance": guidance, "topK": top_k, "topP": 0.99, "schedule": SCHEDULES[resolution]},
    }


def build(config: dict, with_encoder: bool = False) -> tuple[Transformer, Tokenizer]:
    """Both parts, without memory for their weights."""
    shapes = {key: config["tokenizer"][key] for key in ("codebookSize", "codeDimension")}
    with torch.device("meta"):
        return Transformer(config["model"] | shapes, config["pyramid"]), Tokenizer(config["tokenizer"], with_encoder)


def load(folder: Path, with_encoder: bool = False, device: str = "cpu") -> tuple[dict, Transformer, Tokenizer]:
    config = json.loads((folder / "config.json").read_text())
    model, tokenizer = build(config, with_encoder)
    for part, module in (("model", model), ("tokenizer", tokenizer)):
        tensors = read(folder / config[part]["file"], device)
        wanted = module.state_dict().keys()
        missing = wanted - tensors.keys()
        extra = {name for name in tensors.keys() - wanted if not name.endswith(CONSTANTS)}
        if not with_encoder:
            extra = {name for name in extra if not name.startswith(("encoder.", "quant_conv."))}
        if missing or extra:
            raise SystemExit(f"{config[part]['file']}: missing {sorted(missing)}, not expected {sorted(extra)}")
        module.load_state_dict({name: tensors[name].float() for name in wanted}, assign=True)
    return config, model.eval(), tokenizer.eval()


def read(path: Path, device: str) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path, device)
    return torch.load(path, map_location=device, weights_only=True)


def synthetic(depth: int, resolution: int = 256, with_encoder: bool = False) -> tuple[dict, Transformer, Tokenizer]:
    config = release(depth, resolution)
    model, tokenizer = (part.to_empty(device="cpu").eval() for part in build(config, with_encoder))
    for part in (model, tokenizer):
        for name, parameter in part.named_parameters():
            fill(name, parameter)
    return config, model, tokenizer


@torch.no_grad()
def fill(name: str, parameter: nn.Parameter) -> None:
    values = parameter.view(-1).numpy()
    factor, offset = recipe(name, parameter.shape)
    chunk = 1 << 18  # what the caches hold
    for first in range(0, values.size, chunk):
        some = values[first : first + chunk]
        some[:] = offset + factor * uniform(name, first + 1, some.size)


def recipe(name: str, shape: torch.Size) -> tuple[float, float]:
    """Factor and offset of the uniform numbers."""
    if name.endswith("scale_mul_1H11"):
        return 0.2, float(np.log(4.0))
    if ".norm" in name and name.endswith(".weight"):
        return 0.1, 1.0
    if name == "quantize.embedding.weight":
        return 1.0, 0.0
    if name.endswith(("class_emb.weight", "lvl_embed.weight", "mask_embed.weight")) or name in ("pos_start", "pos_1LC"):
        return 0.5, 0.0
    if name.endswith("bias"):
        return 0.1, 0.0
    return float(np.sqrt(3.0 / shape[1:].numel())), 0.0


def uniform(name: str, first: int, count: int) -> np.ndarray:
    """Numbers `first …` of a name's splitmix64 stream, in [-1, 1)."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    z = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(state)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.0**-52 - 1.0
