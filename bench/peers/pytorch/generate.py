"""Times whole generations in PyTorch, eager or as one CUDA graph, and prints one line of JSON for each batch size.

Exits with 3, and says so in the same form, where PyTorch or its GPU is missing.
"""

import argparse
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

STARTED = time.perf_counter()


def skip(reason: str) -> None:
    print(json.dumps({"skipped": reason}))
    sys.exit(3)


try:
    import torch
except ImportError:
    skip(f"torch is not installed: pip install -r {Path(__file__).with_name('requirements.txt')}")

import weights
from graph import GraphedGeneration, Recording
from sampling import Inputs, Sampling, generate, paint


def main() -> None:
    options = parse_options()
    if options.device.startswith("cuda"):
        if not torch.cuda.is_available():
            skip("torch finds no GPU")
        # What takes a while to choose is chosen before the clock runs.
        torch.backends.cudnn.benchmark = True
    torch.set_num_threads(options.threads)
    if options.model:
        config, model, tokenizer = weights.load(options.model, device=options.device)
    else:
        config, model, tokenizer = weights.synthetic(options.depth, options.resolution)
    prepare(model, tokenizer, options.device, options.dtype)
    config["sampling"] = options.sampling or config.get("sampling")
    if config["sampling"] is None:
        sys.exit("the configuration names no sampling: add --sampling")
    loaded = time.perf_counter() - STARTED

    for batch in options.batch:
        head = {"model": config["name"], "device": options.device, "dtype": options.dtype, "graph": options.graph,
                "threads": options.threads, "batch": batch, "torch": torch.__version__}
        try:
            found = measure(model, tokenizer, config, batch, options) | {"load_milliseconds": round(1e3 * loaded, 3)}
        except torch.OutOfMemoryError as error:
            found = {"skipped": str(error).splitlines()[0]}
        print(json.dumps(head | found), flush=True)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", type=Path, metavar="FOLDER", help="a folder with config.json and the files it names")
    source.add_argument("--depth", type=int, default=16, help="make synthetic weights of this depth (default: 16)")
    parser.add_argument("--resolution", type=int, choices=[256, 512], default=256, help="of synthetic weights (default: 256)")
    parser.add_argument("--sampling", type=json.loads, metavar="JSON", help="instead of the configuration's: schedule, guidance, topK, topP")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="pictures made at once, one size after another")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--graph", action="store_true", help="record a generation as one CUDA graph and repeat it")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="what is multiplied in (default: f32)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.graph and not options.device.startswith("cuda"):
        parser.error("--graph needs --device cuda")
    return options


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


def measure(model: torch.nn.Module, tokenizer: torch.nn.Module, config: dict, batch: int, options: argparse.Namespace) -> dict:
    sampling = Sampling.of(config)
    cuda = options.device.startswith("cuda")
    side = config["pyramid"][-1] * 2 ** (len(config["tokenizer"]["channelMultipliers"]) - 1)
    pixels = torch.empty(batch, side, side, 3, dtype=torch.uint8, pin_memory=cuda)
    if cuda:
        # What a batch before this one left to the allocator.
        gc.collect()
        torch.cuda.empty_cache()

    def inputs(run: int) -> Inputs:
        """Other labels and another seed each time."""
        labels = [(37 * image + 101 * run) % model.null_class for image in range(batch)]
        return Inputs.of(labels, seed=run, device=options.device)

    if options.graph:
        graphed = GraphedGeneration(model, tokenizer, sampling, inputs(0))
        peak = torch.cuda.max_memory_allocated()
        milliseconds = timed([lambda run: pixels.copy_(graphed.run(inputs(run)).pixels, non_blocking=True)], options)[0]
        latent = graphed.result.latent.clone()
        decoder = Recording(lambda: paint(tokenizer, latent))
        decode_milliseconds = timed([lambda run: pixels.copy_(decoder.repeat(), non_blocking=True)], options)[0]
    else:
        latents = [torch.empty(0)]

        def draw(run: int) -> None:
            latents[0] = generate(model, tokenizer, inputs(run), sampling).latent

        stages = [draw, lambda run: pixels.copy_(paint(tokenizer, latents[0]), non_blocking=True)]
        if cuda:
            # Choosing the convolutions' algorithms takes memory that generating does not.
            timed(stages, argparse.Namespace(device=options.device, warmup=0, repeats=1))
            torch.cuda.reset_peak_memory_stats()
        draw_milliseconds, decode_milliseconds = timed(stages, options)
        milliseconds = [sum(both) for both in zip(draw_milliseconds, decode_milliseconds)]
        peak = peak_memory(cuda)

    parameters = [*model.parameters(), *tokenizer.parameters()]
    return {
        "milliseconds": rounded(milliseconds),
        "decode_milliseconds": rounded(decode_milliseconds),
        "passes": sum(len(counts) for counts in sampling.schedule),
        "tokens": batch * sum(side * side for side in config["pyramid"]),
        "peak_memory_bytes": peak,
        "weight_bytes": sum(parameter.nbytes for parameter in parameters),
    }


def timed(stages: Sequence[Callable[[int], object]], options: argparse.Namespace) -> list[list[float]]:
    """Milliseconds of each stage in each repeat, by the device's events where there is one."""
    mark, between = device_clock() if options.device.startswith("cuda") else host_clock()
    times = [[] for _ in stages]
    for run in range(options.warmup + options.repeats):
        marks = [mark()]
        for stage in stages:
            stage(run)
            marks.append(mark())
        if run >= options.warmup:
            for stage, time_of_stage in enumerate(between(marks)):
                times[stage].append(time_of_stage)
    return times


def host_clock():
    return time.perf_counter, lambda marks: [1e3 * (end - begin) for begin, end in zip(marks, marks[1:])]


def device_clock():
    def mark() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(marks: list[torch.cuda.Event]) -> list[float]:
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) for begin, end in zip(marks, marks[1:])]

    return mark, between


def peak_memory(cuda: bool) -> int:
    """Of the device's allocator, or of this process on the CPU."""
    if cuda:
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def rounded(values: list[float]) -> list[float]:
    return [round(value, 3) for value in values]


if __name__ == "__main__":
    main()
