// Weights of convolutions in the order that `convolution_tiles.cu` uses them in, where channels are no multiple of 64:
// first 64 channels at a time, tap after tap, then the 32 that are left of two taps together.
#include "common.cuh"

constexpr int DEPTH = 64;

// `weight [outputs, places, taps, inputs]` to `out [outputs, places, steps, 64]`; what there is not is zero.
extern "C" __global__ void __launch_bounds__(256) convolution_pack(const bf16* __restrict__ weight, bf16* __restrict__ out,
                                                                   int outputs, int places, int taps, int inputs) {
  int whole = inputs / DEPTH * taps, steps = whole + (taps + 1) / 2;
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= outputs * places * steps * DEPTH) return;
  int at = i / DEPTH / steps, step = i / DEPTH % steps, depth = i % DEPTH;
  int tap = step < whole ? step % taps : (step - whole) * 2 + depth / (DEPTH / 2);
  int channel = step < whole ? step / taps * DEPTH + depth : inputs / DEPTH * DEPTH + depth % (DEPTH / 2);
  out[i] = tap < taps && channel < inputs ? weight[((size_t)at * taps + tap) * inputs + channel] : from_float<bf16>(0);
}
