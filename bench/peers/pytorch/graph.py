"""A whole generation, pixels included, recorded as one CUDA graph."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from model import Transformer
from sampling import Inputs, Sampling, generate, paint
from tokenizer import Tokenizer

Result = TypeVar("Result")


class Recording(Generic[Result]):
    """Work that was recorded once and is repeated from then on. What it reads and writes stays where it is."""

    def __init__(self, work: Callable[[], Result], warmup: int = 3):
        """`work` runs unrecorded first: kernels are loaded and algorithms chosen. The peak of memory counts from then on."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(warmup):
                work()
        torch.cuda.current_stream().wait_stream(aside)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = work()

    def repeat(self) -> Result:
        self.graph.replay()
        return self.result


class Generated(NamedTuple):
    tokens: Tensor
    """[B, N]"""
    latent: Tensor
    """[B, Z, S, S]"""
    pixels: Tensor
    """[B, H, W, 3], bytes"""


def generate_all(model: Transformer, tokenizer: Tokenizer, sampling: Sampling, inputs: Inputs) -> Generated:
    """What is recorded: from labels to pixels."""
    generation = generate(model, tokenizer, inputs, sampling)
    return Generated(torch.cat(generation.tokens, 1), generation.latent, paint(tokenizer, generation.latent))


class GraphedGeneration:
    """Generates batches of one size. The seed lies in a buffer, so that every repetition draws anew."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, sampling: Sampling, inputs: Inputs):
        self.inputs = inputs
        self.recording = Recording(lambda: generate_all(model, tokenizer, sampling, inputs))

    def run(self, inputs: Inputs) -> Generated:
        """Its tensors are overwritten by the next run."""
        self.inputs.become(inputs)
        return self.recording.repeat()

    @property
    def result(self) -> Generated:
        return self.recording.result
