"""Times whole generations in eager PyTorch and prints one line of JSON.

Exits with 3, and says so in the same form, where PyTorch is not installed.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

try:
    import torch
except ImportError:
    print(json.dumps({"skipped": f"torch is not installed: pip install -r {Path(__file__).with_name('requirements.txt')}"}))
    sys.exit(3)

import weights
from sampling import Sampling, generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", type=Path, metavar="FOLDER", help="a folder with config.json and the files it names")
    source.add_argument("--depth", type=int, default=16, help="make synthetic weights of this depth (default: 16)")
    parser.add_argument("--sampling", type=json.loads, metavar="JSON", help="instead of the configuration's: schedule, guidance, topK, topP")
    parser.add_argument("--labels", type=int, nargs="+", help="one picture of each (default: 207, or 3 of fewer classes)")
    parser.add_argument("--batch", type=int, help="the first label so many times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="what is multiplied in (default: f32)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    config, model, tokenizer = weights.load(options.model) if options.model else weights.synthetic(options.depth)
    prepare(model, tokenizer, options.device, options.dtype)
    labels = options.labels or [min(207, model.null_class // 3)]
    labels = torch.tensor(labels[:1] * options.batch if options.batch else labels, device=options.device)
    if options.sampling:
        config["sampling"] = options.sampling
    if "sampling" not in config:
        parser.error("the configuration names no sampling: add --sampling")
    sampling = Sampling.of(config)

    milliseconds, decode_milliseconds = [], []
    for run in range(options.warmup + options.repeats):
        started = now(options.device)
        generation = generate(model, tokenizer, labels, options.seed, sampling)
        drawn = now(options.device)
        with torch.inference_mode():
            tokenizer.decode(generation.latent)
        done = now(options.device)
        if run >= options.warmup:
            milliseconds.append(round(1e3 * (done - started), 3))
            decode_milliseconds.append(round(1e3 * (done - drawn), 3))

    print(json.dumps({
        "model": config["name"],
        "device": options.device,
        "dtype": options.dtype,
        "threads": options.threads,
        "batch": len(labels),
        "torch": torch.__version__,
        "milliseconds": milliseconds,
        "decode_milliseconds": decode_milliseconds,
        "passes": len(generation.trace),
        "tokens": len(labels) * sum(side * side for side in config["pyramid"]),
        "peak_memory_bytes": peak_memory(options.device),
    }))


def prepare(model: torch.nn.Module, tokenizer: torch.nn.Module, device: str, dtype: str) -> None:
    """Moves the weights to the device, and those that are multiplied to their type."""
    if dtype == "bf16":
        for module in (*model.base_blocks, *model.ns_blocks, *model.mask_blocks, model.ns_head, model.mask_head,
                       model.ns_head_nm, model.mask_head_nm):
            for linear in module.modules():
                if isinstance(linear, torch.nn.Linear):
                    linear.to(torch.bfloat16)
        tokenizer.decoder.to(torch.bfloat16)
    model.to(device)
    tokenizer.to(device)
    tokenizer.decoder.to(memory_format=torch.channels_last)


def now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(device: str) -> int:
    """Of the device, or of this process on the CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
