// Rows in e4m3, each relative to its largest number.
#include "e4m3.cuh"

constexpr int EIGHT = 8;

struct alignas(16) Eight {
  __nv_bfloat162 pairs[EIGHT / 2];
};

// `input ≈ scale · out`, row by row. One block a row; its second reading comes from the cache. Where `largest_norm` is
// given, it is left at least as large as the rows' Euclidean norms, whose bits are ordered as they are.
extern "C" __global__ void __launch_bounds__(128) quantize_rows(const bf16* __restrict__ input,
                                                                 uint8_t* __restrict__ out, float* __restrict__ scales,
                                                                 uint32_t* __restrict__ largest_norm, int width) {
  __shared__ BlockMemory<uint32_t> memory;
  __shared__ BlockMemory<float> sums;
  wait_for_earlier();
  let_next_start();
  const Eight* row = reinterpret_cast<const Eight*>(input + (size_t)blockIdx.x * width);
  uint2* target = reinterpret_cast<uint2*>(out + (size_t)blockIdx.x * width);
  float largest = 0, squares = 0;
  for (int i = threadIdx.x; i < width / EIGHT; i += blockDim.x) {
    Eight eight = row[i];
#pragma unroll
    for (int j = 0; j < EIGHT / 2; j++) {
      float2 pair = __bfloat1622float2(eight.pairs[j]);
      largest = fmaxf(largest, fmaxf(fabsf(pair.x), fabsf(pair.y)));
      squares += pair.x * pair.x + pair.y * pair.y;
    }
  }
  largest = block_largest(largest, memory);
  float inverse = inverse_scale(largest);
  for (int i = threadIdx.x; i < width / EIGHT; i += blockDim.x) {
    Eight eight = row[i];
    float2 a = __bfloat1622float2(eight.pairs[0]), b = __bfloat1622float2(eight.pairs[1]),
           c = __bfloat1622float2(eight.pairs[2]), d = __bfloat1622float2(eight.pairs[3]);
    target[i] = {to_e4m3({a.x * inverse, a.y * inverse, b.x * inverse, b.y * inverse}),
                 to_e4m3({c.x * inverse, c.y * inverse, d.x * inverse, d.y * inverse})};
  }
  if (threadIdx.x == 0) scales[blockIdx.x] = largest / LARGEST_E4M3;
  if (largest_norm == nullptr) return;
  squares = block_sum(squares, sums);
  if (threadIdx.x == 0) atomicMax(largest_norm, __float_as_uint(sqrtf(squares)));
}
