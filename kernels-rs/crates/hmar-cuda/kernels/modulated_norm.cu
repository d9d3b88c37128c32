// LayerNorm of every row, scaled and shifted by its class (3): a warp a row, the row in registers.
#include "common.cuh"

// Four neighbouring activations at once.
__device__ __forceinline__ void store_four(float* out, float4 x) { *reinterpret_cast<float4*>(out) = x; }
__device__ __forceinline__ void store_four(bf16* out, float4 x) {
  __nv_bfloat162 both[2] = {__floats2bfloat162_rn(x.x, x.y), __floats2bfloat162_rn(x.z, x.w)};
  *reinterpret_cast<uint2*>(out) = *reinterpret_cast<uint2*>(both);
}

// A slot's vector begins `offset` elements into its `stride`. The width is a multiple of 4, at most 128·FOURS.
template <int FOURS, typename T>
__device__ void normalize(const float* __restrict__ input, const float* __restrict__ scales,
                          const float* __restrict__ shifts, const uint32_t* __restrict__ slots, T* __restrict__ out,
                          int rows, int per_sequence, int width, int stride, int scale_offset, int shift_offset) {
  wait_for_earlier();
  let_next_start();
  int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  input += (size_t)row * width;
  out += (size_t)row * width;
  float4 values[FOURS];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < FOURS; i++) {
    int column = (i * 32 + lane) * 4;
    values[i] = column < width ? *reinterpret_cast<const float4*>(input + column) : float4{};
    sum += values[i].x + values[i].y + values[i].z + values[i].w;
  }
  float mean = warp_sum(sum) / width;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < FOURS; i++) {
    if ((i * 32 + lane) * 4 < width) {
      float4 d = {values[i].x - mean, values[i].y - mean, values[i].z - mean, values[i].w - mean};
      squares += d.x * d.x + d.y * d.y + d.z * d.z + d.w * d.w;
    }
  }
  float factor = rsqrtf(warp_sum(squares) / width + 1e-6f);
  size_t slot = (size_t)slots[row / per_sequence] * stride;
  scales += slot + scale_offset;
  shifts += slot + shift_offset;
#pragma unroll
  for (int i = 0; i < FOURS; i++) {
    int column = (i * 32 + lane) * 4;
    if (column < width) {
      float4 x = values[i], scale = *reinterpret_cast<const float4*>(scales + column),
             shift = *reinterpret_cast<const float4*>(shifts + column);
      store_four(out + column, {(x.x - mean) * factor * (1 + scale.x) + shift.x, (x.y - mean) * factor * (1 + scale.y) + shift.y,
                                (x.z - mean) * factor * (1 + scale.z) + shift.z, (x.w - mean) * factor * (1 + scale.w) + shift.w});
    }
  }
}

#define NORM(fours, name, type)                                                                                      \
  extern "C" __global__ void __launch_bounds__(128) modulated_norm_##fours##_##name(                                 \
      const float* input, const float* scales, const float* shifts, const uint32_t* slots, type* out, int rows,      \
      int per_sequence, int width, int stride, int scale_offset, int shift_offset) {                                 \
    normalize<fours>(input, scales, shifts, slots, out, rows, per_sequence, width, stride, scale_offset,             \
                     shift_offset);                                                                                  \
  }

NORM(4, f32, float)
NORM(4, bf16, bf16)
NORM(8, f32, float)
NORM(8, bf16, bf16)
NORM(20, f32, float)
NORM(20, bf16, bf16)
