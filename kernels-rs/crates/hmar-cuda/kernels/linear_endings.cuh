// How products of many rows end: what becomes of the sums that a group of warps holds of a tile.
#pragma once

#include "e4m3.cuh"
#include "ending.cuh"
#include "turns.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

struct Layer {
  const float* bias;
  void* out;  // bfloat16 or e4m3, or float32 where it is added to or asked for
  const float* gates;
  const uint32_t* slots;  // of every sequence of rows, among the gates
  int rows, inputs, outputs, ending, gate_stride, per_sequence;
  // Where factors are in e4m3: what they are relative to, and how large results can be.
  const float* row_scales;
  const float* output_scales;
  const float* row_norms;     // Euclidean
  const float* largest_norm;  // of an output's weights
  float largest_bias;
};

// A thread's rows: the first of a tile's, and how far the others are.
constexpr int ROWS_OF_THREAD = 4;
__device__ __forceinline__ int first_of_thread() { return threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4; }
__device__ __forceinline__ constexpr int distance(int part) { return part / 2 * 64 + part % 2 * 8; }

// Stores where a result is wanted, without a branch. Nothing in the kernel reads what these write: loads may move across.
__device__ __forceinline__ void store_aside(bool wanted, void* to, const uint32_t (&words)[4]) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %5, 0; @p st.global.v4.b32 [%0], {%1, %2, %3, %4};}" ::"l"(to), "r"(words[0]),
               "r"(words[1]), "r"(words[2]), "r"(words[3]), "r"((int)wanted));
}
__device__ __forceinline__ void store_aside(bool wanted, void* to, uint32_t x, uint32_t y) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %3, 0; @p st.global.v2.b32 [%0], {%1, %2};}" ::"l"(to), "r"(x), "r"(y),
               "r"((int)wanted));
}
__device__ __forceinline__ void store_aside(bool wanted, float* to, float2 x) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %3, 0; @p st.global.v2.f32 [%0], {%1, %2};}" ::"l"(to), "f"(x.x), "f"(x.y),
               "r"((int)wanted));
}

// Adds likewise: the L2 cache does it, nothing waits.
__device__ __forceinline__ void add_aside(bool wanted, float* to, float2 x) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %3, 0; @p red.global.add.v2.f32 [%0], {%1, %2};}" ::"l"(to), "f"(x.x), "f"(x.y),
               "r"((int)wanted));
}

// Two numbers of a vector from `column` on, or its last where it has ended.
__device__ __forceinline__ float2 pair_of(const float* vector, int column, int columns) {
  return *reinterpret_cast<const float2*>(vector + min(column, columns - 2));
}

// What makes sums results: a bias and, of factors in e4m3, a scale of the row and one of the output.
template <bool E4M3>
struct Results {
  const Layer& layer;
  float of_row[ROWS_OF_THREAD];

  __device__ __forceinline__ Results(const Layer& of, int row) : layer(of) {
    if constexpr (E4M3) {
#pragma unroll
      for (int part = 0; part < ROWS_OF_THREAD; part++) of_row[part] = of.row_scales[min(row + distance(part), of.rows - 1)];
    }
  }

  // Two columns.
  struct Columns {
    float2 bias, scale;
  };

  __device__ __forceinline__ Columns columns(int column) const {
    float2 bias = pair_of(layer.bias, column, layer.outputs);
    return {bias, E4M3 ? pair_of(layer.output_scales, column, layer.outputs) : float2{}};
  }

  template <int TILES>
  __device__ __forceinline__ float2 operator()(const float (&sums)[2][TILES][4], int part, int tile,
                                               const Columns& of) const {
    float x = sums[part / 2][tile][part % 2 * 2], y = sums[part / 2][tile][part % 2 * 2 + 1];
    if constexpr (E4M3) x *= of_row[part] * of.scale.x, y *= of_row[part] * of.scale.y;
    return {x + of.bias.x, y + of.bias.y};
  }

  __device__ __forceinline__ bool there(int row, int part, int column) const {
    return row + distance(part) < layer.rows && column < layer.outputs;
  }
};

// GELU in its tanh form: 1 + tanh(u) = 2 / (1 + exp(−2u)), the exponential as a power of two.
__device__ __forceinline__ float gelu(float x) {
  float power, inverse;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * (-2.3022082f - 0.1029432f * x * x)));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
  return x * inverse;
}

// Ends a tile in bfloat16, 16 bytes a lane.
template <bool ACTIVATED, bool E4M3, int TILES>
__device__ __forceinline__ void store_features(const Layer& layer, const float (&sums)[2][TILES][4], int row, int output) {
  static_assert(TILES % 4 == 0, "tiles are stored in fours");
  Results<E4M3> results(layer, row);
  int quarter = threadIdx.x % 4;
  bf16* out = static_cast<bf16*>(layer.out) + (size_t)row * layer.outputs;
#pragma unroll
  for (int tile = 0; tile < TILES; tile += 4) {
    typename Results<E4M3>::Columns columns[4];
#pragma unroll
    for (int k = 0; k < 4; k++) columns[k] = results.columns(output + (tile + k) * 8 + quarter * 2);
    int own = output + (tile + quarter) * 8;
#pragma unroll
    for (int part = 0; part < ROWS_OF_THREAD; part++) {
      uint32_t words[4];
#pragma unroll
      for (int k = 0; k < 4; k++) {
        float2 pair = results(sums, part, tile + k, columns[k]);
        words[k] = ACTIVATED ? pack(gelu(pair.x), gelu(pair.y)) : pack(pair.x, pair.y);
      }
      transpose(words);
      store_aside(results.there(row, part, own), out + (size_t)distance(part) * layer.outputs + own, words);
    }
  }
}

// GELU of two numbers times a factor, in e4m3: two bytes. The tanh is right to 2⁻¹¹, which is little beside the rounding of a
// row's larger numbers.
__device__ __forceinline__ uint32_t gelu_e4m3(float2 x, float factor) {
  float u = x.x * (0.7978845608f + 0.0356774081f * x.x * x.x), v = x.y * (0.7978845608f + 0.0356774081f * x.y * x.y);
  uint32_t both;
  asm("{cvt.rn.f16x2.f32 %0, %2, %1; tanh.approx.f16x2 %0, %0;}" : "=r"(both) : "f"(u), "f"(v));
  float2 tanhs = __half22float2(reinterpret_cast<__half2&>(both));
  float a = 0.5f * factor * x.x, b = 0.5f * factor * x.y;
  return __nv_cvt_float2_to_fp8x2({a + a * tanhs.x, b + b * tanhs.y}, __NV_SATFINITE, __NV_E4M3);
}

// Ends a tile in e4m3, the rows' scales behind all rows. A scale is known before its row's results: no product is larger than
// the norms of its factors, and GELU makes no magnitude larger. Numbers far below what a scale allows lose no precision.
template <int TILES>
__device__ __forceinline__ void store_e4m3(const Layer& layer, const float (&sums)[2][TILES][4], int row, int output) {
  static_assert(TILES % 4 == 0, "tiles are stored in fours");
  // Rounding to e4m3 made each factor's norm larger, by a sixteenth at most.
  constexpr float ROUNDED = 17.0f / 16.0f;
  Results<true> results(layer, row);
  int quarter = threadIdx.x % 4;
  uint8_t* out = static_cast<uint8_t*>(layer.out) + (size_t)row * layer.outputs;
  float* scales = reinterpret_cast<float*>(static_cast<uint8_t*>(layer.out) + (size_t)layer.rows * layer.outputs);
  float factors[ROWS_OF_THREAD];
#pragma unroll
  for (int part = 0; part < ROWS_OF_THREAD; part++) {
    int at = min(row + distance(part), layer.rows - 1);
    float largest = layer.row_norms[at] * *layer.largest_norm * (ROUNDED * ROUNDED) + layer.largest_bias;
    factors[part] = inverse_scale(largest);
    if (output == 0 && quarter == 0) scales[at] = largest / LARGEST_E4M3;
  }
#pragma unroll
  for (int tile = 0; tile < TILES; tile += 4) {
    typename Results<true>::Columns columns[4];
#pragma unroll
    for (int k = 0; k < 4; k++) columns[k] = results.columns(output + (tile + k) * 8 + quarter * 2);
    int own = output + (tile + quarter) * 8;
#pragma unroll
    for (int part = 0; part < ROWS_OF_THREAD; part++) {
      uint32_t words[4];
#pragma unroll
      for (int k = 0; k < 4; k++) words[k] = gelu_e4m3(results(sums, part, tile + k, columns[k]), factors[part]);
      transpose(words);
      store_aside(results.there(row, part, own), out + (size_t)distance(part) * layer.outputs + own,
                  words[0] | words[1] << 16, words[2] | words[3] << 16);
    }
  }
}

// Ends a tile in float32.
template <int TILES>
__device__ __forceinline__ void store_float32(const Layer& layer, const float (&sums)[2][TILES][4], int row, int output) {
  Results<false> results(layer, row);
  output += threadIdx.x % 4 * 2;
  float* out = static_cast<float*>(layer.out) + (size_t)row * layer.outputs;
#pragma unroll
  for (int tile = 0; tile < TILES; tile++) {
    int column = output + tile * 8;
    auto columns = results.columns(column);
#pragma unroll
    for (int part = 0; part < ROWS_OF_THREAD; part++)
      store_aside(results.there(row, part, column), out + (size_t)distance(part) * layer.outputs + column,
                  results(sums, part, tile, columns));
  }
}

// Adds a tile, gated, to what is there.
template <bool E4M3, int TILES>
__device__ __forceinline__ void add_gated(const Layer& layer, const float (&sums)[2][TILES][4], int row, int output) {
  Results<E4M3> results(layer, row);
  output += threadIdx.x % 4 * 2;
  float* out = static_cast<float*>(layer.out) + (size_t)row * layer.outputs;
  int gates[ROWS_OF_THREAD];
#pragma unroll
  for (int part = 0; part < ROWS_OF_THREAD; part++) {
    int at = min(row + distance(part), layer.rows - 1);
    gates[part] = layer.slots[at / layer.per_sequence] * layer.gate_stride;
  }
#pragma unroll
  for (int tile = 0; tile < TILES; tile++) {
    int column = output + tile * 8;
    auto columns = results.columns(column);
#pragma unroll
    for (int part = 0; part < ROWS_OF_THREAD; part++) {
      float2 gate = pair_of(layer.gates + gates[part], column, layer.outputs), pair = results(sums, part, tile, columns);
      add_aside(results.there(row, part, column), out + (size_t)distance(part) * layer.outputs + column,
                {gate.x * pair.x, gate.y * pair.y});
    }
  }
}

#endif
