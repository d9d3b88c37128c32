"""Times what PyTorch offers for attention over a pyramid's segments, forward and backward: a line of JSON for each.

Exits with 3, and says so in the same form, where PyTorch or its GPU is missing. What cannot be measured is skipped with
its reason.
"""

import argparse
import itertools
import json
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


def skip(reason: str) -> None:
    print(json.dumps({"skipped": reason}))
    sys.exit(3)


try:
    import torch
except ImportError:
    skip(f"torch is not installed: pip install -r {Path(__file__).with_name('requirements.txt')}")

import torch.nn.functional as F
from torch import Tensor

HEAD_WIDTH = 64
SIDES = {
    256: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
    512: [1, 2, 3, 4, 6, 9, 13, 18, 24, 32],
    1024: [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64],
}
BATCHES = {256: 64, 512: 16, 1024: 4}


class Pattern(NamedTuple):
    """Who attends to whom."""

    lengths: list[int]
    causal: bool
    """A segment sees those before it as well."""

    @property
    def rows(self) -> int:
        return sum(self.lengths)

    @property
    def pairs(self) -> int:
        """Queries and keys that meet."""
        seen = itertools.accumulate(self.lengths) if self.causal else self.lengths
        return sum(length * keys for length, keys in zip(self.lengths, seen))

    def segments(self) -> Tensor:
        """The segment of each row."""
        lengths = torch.tensor(self.lengths, device="cuda")
        return torch.repeat_interleave(torch.arange(len(self.lengths), device="cuda"), lengths)

    def mask(self) -> Tensor:
        segments = self.segments()
        query, key = segments[:, None], segments[None, :]
        return query >= key if self.causal else query == key


class Inputs(NamedTuple):
    """Queries and keys come normalised: kernels of others leave that to their caller. [B, H, N, 64] each."""

    query: Tensor
    key: Tensor
    value: Tensor
    out_gradient: Tensor

    @staticmethod
    def random(batch: int, heads: int, rows: int) -> "Inputs":
        # Laid out as a layer leaves them: heads beside one another in every row.
        def part() -> Tensor:
            return torch.randn(batch, rows, heads, HEAD_WIDTH, device="cuda").transpose(1, 2)

        query, key = 8 * F.normalize(part(), dim=-1), F.normalize(part(), dim=-1)
        made = (query, key, part(), part())
        return Inputs(*(x.bfloat16().requires_grad_() for x in made[:3]), made[3].bfloat16())


Attend = Callable[[Inputs], Tensor]


def masked(pattern: Pattern, _: Inputs) -> Attend:
    mask = pattern.mask()
    return lambda x: F.scaled_dot_product_attention(x.query, x.key, x.value, attn_mask=mask, scale=1.0)


def flexible(pattern: Pattern, _: Inputs) -> Attend:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    segments = pattern.segments()

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return segments[query] >= segments[key] if pattern.causal else segments[query] == segments[key]

    blocks = create_block_mask(sees, None, None, pattern.rows, pattern.rows, device="cuda")
    torch._dynamo.reset()
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda x: compiled(x.query, x.key, x.value, block_mask=blocks, scale=1.0)


def of_varying_length(pattern: Pattern, inputs: Inputs) -> Attend:
    if pattern.causal:
        raise NotImplementedError("segments that see earlier ones are no sequences of their own")
    batch = inputs.query.shape[0]
    ends = torch.tensor(pattern.lengths * batch, device="cuda").cumsum(0)
    starts = F.pad(ends, (1, 0)).int()
    longest = max(pattern.lengths)

    def attend(x: Inputs) -> Tensor:
        query, key, value = (t.transpose(1, 2).flatten(0, 1) for t in x[:3])
        out = torch.ops.aten._flash_attention_forward(
            query, key, value, starts, starts, longest, longest, 0.0, False, False, scale=1.0
        )[0]
        return out.unflatten(0, (batch, -1)).transpose(1, 2)

    return attend


PEERS = {"sdpa-mask": masked, "flex": flexible, "varlen": of_varying_length}


def milliseconds(work: Callable[[Inputs], object], inputs: list[Inputs], repeats: int) -> float:
    """The median between events. Inputs take turns, so that none stays in the cache."""
    turns: Iterator[Inputs] = itertools.cycle(inputs)
    for _ in range(3):
        work(next(turns))
    events = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work(next(turns))
        end.record()
        events.append((begin, end))
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in events)


def measure(peer: str, pattern: Pattern, inputs: list[Inputs], heads: int, repeats: int) -> dict[str, float]:
    attend = PEERS[peer](pattern, inputs[0])
    flops = 4 * len(inputs[0].query) * heads * HEAD_WIDTH * pattern.pairs
    with torch.no_grad():
        forward = milliseconds(attend, inputs, repeats)
    # Outputs with what their gradients need, once for each input; what is timed is the way back alone.
    outs = {id(x): attend(x) for x in inputs}
    backward = milliseconds(
        lambda x: torch.autograd.grad(outs[id(x)], x[:3], x.out_gradient, retain_graph=True), inputs, repeats
    )
    return {
        "forward_milliseconds": forward,
        "forward_teraflops": flops / forward / 1e9,
        "backward_milliseconds": backward,
        "backward_teraflops": 2.5 * flops / backward / 1e9,
    }


def main() -> None:
    options = parse_options()
    if not torch.cuda.is_available():
        skip("torch finds no GPU")
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    for resolution in options.resolution:
        batch = BATCHES[resolution]
        for causal in (False, True):
            pattern = Pattern([side * side for side in SIDES[resolution]], causal)
            inputs = [Inputs.random(batch, options.heads, pattern.rows) for _ in range(2)]
            for peer in options.peers:
                head = {
                    "peer": peer,
                    "resolution": resolution,
                    "mode": "causal" if causal else "diagonal",
                    "batch": batch,
                    "heads": options.heads,
                    "device": torch.cuda.get_device_name(),
                    "torch": torch.__version__,
                }
                try:
                    found = measure(peer, pattern, inputs, options.heads, options.repeats)
                except Exception as error:  # noqa: BLE001 - whatever a peer throws is why it has no figure
                    lines = str(error).splitlines() or [""]
                    found = {"skipped": f"{type(error).__name__}: {lines[0]}"}
                print(json.dumps(head | found), flush=True)
                torch.cuda.empty_cache()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, nargs="+", choices=sorted(SIDES), default=sorted(SIDES))
    parser.add_argument("--peers", nargs="+", choices=sorted(PEERS), default=list(PEERS))
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=11)
    return parser.parse_args()


if __name__ == "__main__":
    main()
