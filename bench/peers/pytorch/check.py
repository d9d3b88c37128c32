"""Holds this implementation to the goldens; a figure beyond its tolerance ends the run with status 1."""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open

import weights
from generate import prepare
from graph import generate_all
from sampling import Inputs, Sampling, generate, paint

GOLDEN = Path(__file__).resolve().parents[3] / "fixtures" / "golden"
failures = 0


def report(what: str, value: float, tolerance: float) -> None:
    global failures
    failures += not value <= tolerance
    print(f"{'ok  ' if value <= tolerance else 'FAIL'} {what}: {value:.3g} (at most {tolerance:g})")


def near(what: str, found: torch.Tensor, golden: torch.Tensor, tolerance: float) -> None:
    report(what, (found - golden).abs().max().item(), tolerance)


def equal(what: str, found: torch.Tensor, golden: torch.Tensor, decided: torch.Tensor | None = None) -> None:
    """Tokens, all or those whose margin decides."""
    differs = found != golden
    report(what, (differs if decided is None else differs & decided).sum().item(), 0)


def golden(name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()


class TeacherForced:
    """Every scale's logits, given true tokens [B, N] and labels [B]."""

    def __init__(self, model, tokenizer, tokens: torch.Tensor, labels: torch.Tensor):
        self.model, self.tokenizer, self.pyramid = model, tokenizer, model.pyramid
        self.c = model.class_emb(labels)
        self.scales = tokens.long().split([side * side for side in self.pyramid], dim=1)
        self.parts = [tokenizer.quantize.latent(t, scale, self.pyramid) for scale, t in enumerate(self.scales)]
        # The latent before each scale, and after the last.
        self.latents = [torch.zeros_like(self.parts[0])]
        for part in self.parts:
            self.latents.append(self.latents[-1] + part)

    def next_scale(self) -> torch.Tensor:
        inputs = [self.model.start_input(self.c)]
        inputs += [self.model.next_scale_input(self.latents[k], k) for k in range(1, len(self.pyramid))]
        return torch.cat([self.model.next_scale(x, self.c) for x in inputs], 1)

    def masked(self, positions: torch.Tensor) -> torch.Tensor:
        """From the second scale on, with these positions of the whole pyramid masked."""
        everywhere = torch.zeros(self.model.pos_1LC.shape[1], dtype=torch.bool)
        everywhere[positions.long()] = True
        masks = everywhere.split([side * side for side in self.pyramid])
        logits = []
        for k in range(1, len(self.pyramid)):
            masked = masks[k].expand(len(self.c), -1)
            logits.append(self.model.masked(self.model.masked_input(self.latents[k], self.parts[k], masked, k), self.c))
        return torch.cat(logits, 1)


def check_shapes(folder: Path) -> None:
    config, model, tokenizer = weights.load(folder, with_encoder=True)
    expected, _ = golden("tiny-a")
    pyramid = config["pyramid"]

    tokens, latent, _ = tokenizer.encode(expected["images"], pyramid)
    near("shapes: encoder", latent, expected["enc_f"], 1e-3)
    equal("shapes: encoded tokens", tokens, expected["enc_tokens"], expected["enc_margin"] > 1e-3)

    labels = expected["labels"].long()
    forced = TeacherForced(model, tokenizer, expected["enc_tokens"], labels)
    near("shapes: latent", forced.latents[-1], expected["f_hat"], 1e-4 * expected["f_hat"].std().item())
    near("shapes: reconstruction", tokenizer.decode(forced.latents[-1]), expected["reconstruction"], 1e-3)
    logits = forced.next_scale()
    near("shapes: next-scale logits", logits[0], expected["ns_logits_image0"][0], 1e-3)
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), expected["enc_tokens"].long(), reduction="none")
    per_scale = torch.stack([scale.mean() for scale in losses.split([side * side for side in pyramid], 1)])
    near("shapes: loss per scale", per_scale, expected["loss_per_scale"], 1e-3)
    masked = forced.masked(expected["masked_positions"])
    near("shapes: masked logits", masked[0], expected["mask_logits_image0"][0, 1:], 1e-3)

    sampling = Sampling.of(config)
    found = generate(model, tokenizer, Inputs.of(expected["generated_labels"].tolist(), 34), sampling)
    equal("shapes: trace", torch.cat(found.trace, 1), expected["generated_trace"])
    equal("shapes: tokens", torch.cat(found.tokens, 1), expected["generated_tokens"])
    pictures = (tokenizer.decode(found.latent) + 1) / 2
    near("shapes: pictures", pictures, expected["generated_images"], 1e-3)

    expected, metadata = golden("tiny-generations")
    settings = json.loads(metadata["readme"][metadata["readme"].index("{") :])
    for name in ("greedy", "long"):
        of = settings[name]
        sampling = Sampling(of["schedule"], of["guidance"], of["topK"], of["topP"])
        inputs = Inputs.of(of["labels"], of["seed"], of["firstImage"])
        found = generate(model, tokenizer, inputs, sampling)
        equal(f"shapes: {name} trace", torch.cat(found.trace, 1), expected[f"{name}.trace"])
        pictures = (tokenizer.decode(found.latent) + 1) / 2
        near(f"shapes: {name} pictures", pictures, expected[f"{name}.images"], 1e-3)

        # As a graph is run: the inputs change where they lie.
        still = Inputs.of([0] * len(inputs.labels), 0)
        still.become(inputs)
        found = generate_all(model, tokenizer, sampling, still)
        equal(f"shapes: {name} tokens, inputs in place", found.tokens, expected[f"{name}.tokens"])
        bytes = (255 * expected[f"{name}.images"].permute(0, 2, 3, 1) + 0.5).floor()
        near(f"shapes: {name} bytes", found.pixels.float(), bytes, 1)


def report_bfloat16(folder: Path) -> None:
    """How far bfloat16 is off on the goldens of `hmar verify`, whose tolerances are twice that."""
    config, model, tokenizer = weights.load(folder, with_encoder=True)
    prepare(model, tokenizer, "cpu", "bf16")
    tokenizer.encoder.to(torch.bfloat16)
    with safe_open(folder.parent / "goldens" / "goldens.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["settings"])
        expected = {key: file.get_tensor(key) for key in file.keys()}

    for name, masked in (("next-scale", False), ("masked", True)):
        found = []
        for case in settings["logits"]:
            label = model.null_class if case["label"] is None else case["label"]
            forced = TeacherForced(model, tokenizer, expected["tokens"][case["picture"]].unsqueeze(0), torch.tensor([label]))
            logits = forced.masked(torch.tensor(settings["maskedPositions"])) if masked else forced.next_scale()
            found.append(logits[0][:, settings["codes"]])
        golden = expected[f"logits.{name}"]
        error = (torch.stack(found) - golden).square().mean().sqrt() / golden.std()
        print(f"{name} logits: root mean square error {error.item():.4f} of their deviation")

    pictures = expected["pictures"].permute(0, 3, 1, 2) / 127.5 - 1
    encoded = tokenizer.encode(pictures, config["pyramid"])[0]
    print(f"encoding: {(encoded != expected['encoded']).float().mean().item():.4f} of the tokens differ")
    tokens = expected["tokens"][settings["pictures"]].long()
    latent = TeacherForced(model, tokenizer, tokens, torch.zeros(len(tokens), dtype=torch.long)).latents[-1]
    error = (paint(tokenizer, latent).float() - expected["pictures"]).square().mean((1, 2, 3))
    print(f"decoding: at least {(10 * torch.log10(255**2 / error)).min().item():.1f} dB")


def check_synthetic() -> None:
    config, model, tokenizer = weights.synthetic(16, with_encoder=True)
    expected, metadata = golden("synthetic-d16")
    labels = torch.tensor([int(metadata["label"]), model.null_class])
    positions, vocabulary = expected["positions"].long(), expected["vocab"].long()

    forced = TeacherForced(model, tokenizer, expected["tokens"].expand(2, -1), labels)
    near("d16: latent", forced.latents[-1][:1], expected["f_hat"], 1e-4 * expected["f_hat"].std().item())
    logits = forced.next_scale()
    near("d16: next-scale logits", logits[:, positions][..., vocabulary], expected["ns_logits"], 1e-3)
    near("d16: next-scale log-sum-exp", logits.logsumexp(-1), expected["ns_logsumexp"], 1e-3)
    equal("d16: next-scale argmax", logits.argmax(-1), expected["ns_argmax"], expected["ns_top2_gap"] > 1e-3)
    logits = forced.masked(expected["masked_positions"])
    near("d16: masked logits", logits[:, positions[1:] - 1][..., vocabulary], expected["mask_logits"], 1e-3)
    near("d16: masked log-sum-exp", logits.logsumexp(-1), expected["mask_logsumexp"], 1e-3)
    picture = tokenizer.decode(forced.latents[-1][:1])
    near("d16: picture", picture[..., ::4, ::4], expected["image"], 1e-3)

    y, x = torch.meshgrid(*[(torch.arange(256, dtype=torch.float64) + 0.5) / 256] * 2, indexing="ij")
    disk = torch.where((x - 0.55) ** 2 + (y - 0.45) ** 2 < 0.08, 0.8, -0.4)
    blue = (disk + 0.2 * torch.sin(20 * y)).clamp(-1, 1)
    picture = torch.stack([torch.sin(7 * x + 3 * y), torch.cos(5 * x * y + 1), blue]).float().unsqueeze(0)
    tokens, latent, _ = tokenizer.encode(picture, config["pyramid"])
    near("d16: encoder", latent, expected["enc_f"], 1e-3)
    equal("d16: encoded tokens", tokens[0], expected["enc_tokens"][0], expected["enc_margin"] > 1e-3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=Path, metavar="FOLDER", help="the trained model's config.json and its files")
    parser.add_argument("--bfloat16", action="store_true", help="say how far bfloat16 is off with the trained model")
    parser.add_argument("--synthetic", action="store_true", help="synthetic d16: makes 2.3 GB of weights first")
    options = parser.parse_args()
    with torch.inference_mode():
        if options.shapes:
            check_shapes(options.shapes)
            if options.bfloat16:
                report_bfloat16(options.shapes)
        if options.synthetic:
            check_synthetic()
    sys.exit(failures > 0)
