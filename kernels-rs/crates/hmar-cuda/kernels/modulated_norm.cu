// LayerNorm of every row, scaled and shifted by its class (3): a block a row, the row in registers.
#include "e4m3.cuh"

constexpr int THREADS = 128;

// A row's share of a thread: every 128th four of its numbers.
template <int FOURS>
struct Row {
  float4 values[FOURS];

  // Calls `each(i, column)` for the fours that are within the row.
  template <typename Each>
  static __device__ __forceinline__ void walk(int width, Each each) {
#pragma unroll
    for (int i = 0; i < FOURS; i++) {
      int column = (i * THREADS + threadIdx.x) * 4;
      if (column < width) each(i, column);
    }
  }

  __device__ __forceinline__ void load(const float* from, int width) {
    walk(width, [&](int i, int column) { values[i] = *reinterpret_cast<const float4*>(from + column); });
  }

  // Subtracts the mean and divides by the deviation.
  __device__ __forceinline__ void normalize(int width, BlockMemory<float>& memory) {
    float sum = 0;
    walk(width, [&](int i, int) { sum += values[i].x + values[i].y + values[i].z + values[i].w; });
    float mean = block_sum(sum, memory) / width, squares = 0;
    walk(width, [&](int i, int) {
      float4& x = values[i];
      x = {x.x - mean, x.y - mean, x.z - mean, x.w - mean};
      squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
    });
    float factor = rsqrtf(block_sum(squares, memory) / width + 1e-6f);
    walk(width, [&](int i, int) {
      float4& x = values[i];
      x = {x.x * factor, x.y * factor, x.z * factor, x.w * factor};
    });
  }
};

__device__ __forceinline__ void store_four(float* out, float4 x) { *reinterpret_cast<float4*>(out) = x; }
__device__ __forceinline__ void store_four(bf16* out, float4 x) {
  __nv_bfloat162 both[2] = {__floats2bfloat162_rn(x.x, x.y), __floats2bfloat162_rn(x.z, x.w)};
  *reinterpret_cast<uint2*>(out) = *reinterpret_cast<uint2*>(both);
}

// Rows in e4m3, of `all` of which the scales follow after the last, and then the Euclidean norms.
struct Rounded {
  uint8_t* numbers;
  int all;
};

template <int FOURS, typename T>
__device__ __forceinline__ void store_row(const Row<FOURS>& row, T* out, int number, int width, BlockMemory<float>&) {
  row.walk(width, [&](int i, int column) { store_four(out + (size_t)number * width + column, row.values[i]); });
}

template <int FOURS>
__device__ __forceinline__ void store_row(const Row<FOURS>& row, Rounded out, int number, int width,
                                          BlockMemory<float>& memory) {
  __shared__ BlockMemory<uint32_t> magnitudes;
  float largest = 0, squares = 0;
  row.walk(width, [&](int i, int) {
    float4 x = row.values[i];
    largest = fmaxf(fmaxf(fmaxf(largest, fabsf(x.x)), fmaxf(fabsf(x.y), fabsf(x.z))), fabsf(x.w));
    squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
  });
  largest = block_largest(largest, magnitudes);
  squares = block_sum(squares, memory);
  float inverse = inverse_scale(largest);
  row.walk(width, [&](int i, int column) {
    float4 x = row.values[i];
    *reinterpret_cast<uint32_t*>(out.numbers + (size_t)number * width + column) =
        to_e4m3({x.x * inverse, x.y * inverse, x.z * inverse, x.w * inverse});
  });
  if (threadIdx.x != 0) return;
  float* scales = reinterpret_cast<float*>(out.numbers + (size_t)out.all * width);
  scales[number] = largest / LARGEST_E4M3;
  scales[out.all + number] = sqrtf(squares);
}

// Normalises a row that lies in registers, and stores `x · (1 + scale) + shift`.
template <int FOURS, typename Out>
__device__ __forceinline__ void finish(Row<FOURS>& row, const Row<FOURS>& scale, const Row<FOURS>& shift, Out out, int number,
                                       int width) {
  __shared__ BlockMemory<float> memory;
  row.normalize(width, memory);
  row.walk(width, [&](int i, int) {
    float4& x = row.values[i];
    float4 s = scale.values[i], b = shift.values[i];
    x = {x.x * (1 + s.x) + b.x, x.y * (1 + s.y) + b.y, x.z * (1 + s.z) + b.z, x.w * (1 + s.w) + b.w};
  });
  store_row(row, out, number, width, memory);
}

// A slot's vectors begin `offset` numbers into its `stride`. What was there before the pass is loaded first: the kernel before
// may not have waited for its own yet.
template <int FOURS, typename Out>
__device__ __forceinline__ void modulated_norm(const float* input, const float* scales, const float* shifts,
                                               const uint32_t* slots, Out out, int per_sequence, int width, int stride,
                                               int scale_offset, int shift_offset) {
  int number = blockIdx.x;
  size_t slot = (size_t)slots[number / per_sequence] * stride;
  Row<FOURS> row, scale, shift;
  scale.load(scales + slot + scale_offset, width);
  shift.load(shifts + slot + shift_offset, width);
  let_next_start();
  wait_for_earlier();
  row.load(input + (size_t)number * width, width);
  finish(row, scale, shift, out, number, width);
}

// `residual += gate · (product + bias)`; then the same of its sums, where `scales` are given. `product` begins at `first_row`.
template <int FOURS, typename Out>
__device__ __forceinline__ void gated_norm(const bf16* product, const float* bias, const float* gates,
                                           const uint32_t* slots, float* residual, const float* scales,
                                           const float* shifts, Out out, int first_row, int per_sequence, int width,
                                           int gate_stride, int stride, int scale_offset, int shift_offset) {
  int number = first_row + blockIdx.x;
  size_t slot = slots[number / per_sequence];
  Row<FOURS> row, gate, offset, scale, shift;
  gate.load(gates + slot * gate_stride, width);
  offset.load(bias, width);
  if (scales != nullptr) {
    scale.load(scales + slot * stride + scale_offset, width);
    shift.load(shifts + slot * stride + shift_offset, width);
  }
  let_next_start();
  wait_for_earlier();
  row.load(residual + (size_t)number * width, width);
  row.walk(width, [&](int i, int column) {
    uint2 both = *reinterpret_cast<const uint2*>(product + (size_t)blockIdx.x * width + column);
    float2 first = __bfloat1622float2(reinterpret_cast<__nv_bfloat162&>(both.x)),
           second = __bfloat1622float2(reinterpret_cast<__nv_bfloat162&>(both.y));
    float4 x = row.values[i], g = gate.values[i], b = offset.values[i];
    x = {x.x + g.x * (first.x + b.x), x.y + g.y * (first.y + b.y), x.z + g.z * (second.x + b.z),
         x.w + g.w * (second.y + b.w)};
    row.values[i] = x;
    store_four(residual + (size_t)number * width + column, x);
  });
  if (scales != nullptr) finish(row, scale, shift, out, number, width);
}

#define NORM(fours, name, type, out)                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS) modulated_norm_##fours##_##name(                           \
      const float* input, const float* scales, const float* shifts, const uint32_t* slots, type* to,               \
      int per_sequence, int width, int stride, int scale_offset, int shift_offset) {                               \
    modulated_norm<fours>(input, scales, shifts, slots, out, per_sequence, width, stride, scale_offset,            \
                          shift_offset);                                                                           \
  }

#define GATED(fours, name, type, out)                                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS) gated_norm_##fours##_##name(                               \
      const bf16* product, const float* bias, const float* gates, const uint32_t* slots, float* residual,          \
      const float* scales, const float* shifts, type* to, int rows, int first_row, int per_sequence, int width,    \
      int gate_stride, int stride, int scale_offset, int shift_offset) {                                           \
    gated_norm<fours>(product, bias, gates, slots, residual, scales, shifts, out, first_row, per_sequence, width,  \
                      gate_stride, stride, scale_offset, shift_offset);                                            \
  }

#define ALL(fours)                                                  \
  NORM(fours, f32, float, to)                                       \
  NORM(fours, bf16, bf16, to)                                       \
  NORM(fours, e4m3, uint8_t, (Rounded{to, (int)gridDim.x}))         \
  GATED(fours, bf16, bf16, to)                                      \
  GATED(fours, e4m3, uint8_t, (Rounded{to, rows}))

ALL(1)
ALL(2)
ALL(3)
ALL(4)
ALL(5)
