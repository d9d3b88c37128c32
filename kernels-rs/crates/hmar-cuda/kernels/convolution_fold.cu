// A 3×3 kernel on a picture enlarged ×2 by nearest neighbour is a 2×2 kernel on the picture itself, another for each of
// the four places a pixel may have: several of its taps fall on the same pixel.
#include "common.cuh"

// `weight [outputs, 3, 3, inputs]` to `out [outputs, place y, place x, 2, 2, inputs]`.
extern "C" __global__ void __launch_bounds__(256) convolution_fold(const bf16* __restrict__ weight,
                                                                   bf16* __restrict__ out, int outputs, int inputs) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= outputs * 16 * inputs) return;
  int input = i % inputs, output = i / inputs / 16, at = i / inputs % 16;
  // Of place 0 the first tap alone falls on the pixel before; of place 1 the last alone on the pixel after.
  auto first = [](int place, int tap) { return tap == 0 ? 0 : 1 + place; };
  auto last = [](int place, int tap) { return tap == 0 ? place : 2; };
  float sum = 0;
  for (int y = first(at / 8, at / 2 % 2); y <= last(at / 8, at / 2 % 2); y++)
    for (int x = first(at / 4 % 2, at % 2); x <= last(at / 4 % 2, at % 2); x++)
      sum += to_float(weight[(output * 9 + y * 3 + x) * inputs + input]);
  out[i] = __float2bfloat16_rn(sum);
}
