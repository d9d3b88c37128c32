// Numbers in e4m3, relative to a scale a row: what products in FP8 multiply.
#pragma once

#include <cuda_fp8.h>

#include "block.cuh"

constexpr float LARGEST_E4M3 = 448.0f;

// Four numbers, the first in the lowest byte.
__device__ __forceinline__ uint32_t to_e4m3(float4 x) {
  uint32_t low = __nv_cvt_float2_to_fp8x2({x.x, x.y}, __NV_SATFINITE, __NV_E4M3);
  uint32_t high = __nv_cvt_float2_to_fp8x2({x.z, x.w}, __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}

// The largest magnitude over the block, in every thread.
__device__ __forceinline__ float block_largest(float magnitude, BlockMemory<uint32_t>& memory) {
  // The bits of numbers without a sign are ordered as they are.
  return __uint_as_float(block_max(__float_as_uint(magnitude), memory));
}

// What a row's numbers are multiplied by, of which this is the largest magnitude.
__device__ __forceinline__ float inverse_scale(float largest) { return largest > 0 ? LARGEST_E4M3 / largest : 0; }
