// Rows in e4m3, each relative to its largest number: what products in FP8 multiply.
#include <cuda_fp8.h>

#include "block.cuh"

constexpr float LARGEST = 448.0f;
constexpr int EIGHT = 8;

struct alignas(16) Eight {
  __nv_bfloat162 pairs[EIGHT / 2];
};

// `input ≈ scale · out`, row by row. One block a row; its second reading comes from the cache.
extern "C" __global__ void __launch_bounds__(128) quantize_rows(const bf16* __restrict__ input,
                                                                 uint8_t* __restrict__ out, float* __restrict__ scales,
                                                                 int width) {
  __shared__ BlockMemory<uint32_t> memory;
  wait_for_earlier();
  let_next_start();
  const Eight* row = reinterpret_cast<const Eight*>(input + (size_t)blockIdx.x * width);
  uint2* target = reinterpret_cast<uint2*>(out + (size_t)blockIdx.x * width);
  float largest = 0;
  for (int i = threadIdx.x; i < width / EIGHT; i += blockDim.x) {
    Eight eight = row[i];
#pragma unroll
    for (int j = 0; j < EIGHT / 2; j++) {
      float2 pair = __bfloat1622float2(eight.pairs[j]);
      largest = fmaxf(largest, fmaxf(fabsf(pair.x), fabsf(pair.y)));
    }
  }
  // The bits of numbers without a sign are ordered as they are.
  largest = __uint_as_float(block_max(__float_as_uint(largest), memory));
  float inverse = largest > 0 ? LARGEST / largest : 0;
  for (int i = threadIdx.x; i < width / EIGHT; i += blockDim.x) {
    Eight eight = row[i];
    uint32_t words[2] = {};
#pragma unroll
    for (int j = 0; j < EIGHT / 2; j++) {
      float2 pair = __bfloat1622float2(eight.pairs[j]);
      uint32_t both = __nv_cvt_float2_to_fp8x2({pair.x * inverse, pair.y * inverse}, __NV_SATFINITE, __NV_E4M3);
      words[j / 2] |= both << j % 2 * 16;
    }
    target[i] = {words[0], words[1]};
  }
  if (threadIdx.x == 0) scales[blockIdx.x] = largest / LARGEST;
}
