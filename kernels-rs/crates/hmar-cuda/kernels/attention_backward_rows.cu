// Before and after attention's gradients: what every query's row brings to them, and the factors' gradients from parts.
#include "attention_backward.cuh"
#include "block.cuh"

constexpr int THREADS = 256;

// Lanes that share a row, 16 bytes each.
constexpr int LANES = 8;

struct Eight {
  uint4 words;

  __device__ __forceinline__ float2 pair(int i) const {
    return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162*>(&words)[i]);
  }
};

__device__ __forceinline__ Eight load_eight(const bf16* row) {
  return {*reinterpret_cast<const uint4*>(row + threadIdx.x % LANES * 8)};
}

__device__ __forceinline__ float dot(const Eight& a, const Eight& b) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) sum += a.pair(i).x * b.pair(i).x + a.pair(i).y * b.pair(i).y;
#pragma unroll
  for (int lane = LANES / 2; lane > 0; lane /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
  return sum;
}

// Grid: query tiles, heads, images. `rows [images, heads, tiles, ROW_NUMBERS, QUERIES]`; `progress`, `counters` in all, is
// set to 0.
extern "C" __global__ void __launch_bounds__(THREADS, 6)
    attention_backward_rows(const bf16* __restrict__ qkv, const bf16* __restrict__ out, const bf16* __restrict__ d_out,
                            const float* __restrict__ lse, const float* __restrict__ head_factors, float scale,
                            const QueryTile* __restrict__ tiles, int tokens, float* __restrict__ rows, int* progress,
                            int counters, int shared_only) {
  int head = blockIdx.y, heads = gridDim.y, width = heads * HEAD_WIDTH;
  let_next_start();
  wait_for_earlier();
  QueryTile tile = tiles[blockIdx.x];
  size_t sequence = blockIdx.z * heads + head, index = sequence * gridDim.x + blockIdx.x;
  for (size_t i = index * THREADS + threadIdx.x; i < counters; i += (size_t)gridDim.x * gridDim.y * gridDim.z * THREADS)
    progress[i] = 0;
  if (shared_only && !tile.shared) return;
  float* numbers = rows + index * (ROW_NUMBERS * QUERIES);
#pragma unroll
  for (int row = threadIdx.x / LANES; row < QUERIES; row += THREADS / LANES) {
    // All lanes take part in the sums.
    size_t token = (size_t)blockIdx.z * tokens + tile.first + min(row, tile.count - 1);
    Eight query = load_eight(qkv + token * 3 * width + head * HEAD_WIDTH);
    Eight gradient = load_eight(d_out + token * width + head * HEAD_WIDTH);
    float mean = dot(load_eight(out + token * width + head * HEAD_WIDTH), gradient);
    float factor = LOG2_E * scale;
    if (head_factors != nullptr) factor = LOG2_E * head_factors[head] / fmaxf(sqrtf(dot(query, query)), 1e-12f);
    if (threadIdx.x % LANES != 0) continue;
    bool there = row < tile.count;
    numbers[FACTOR * QUERIES + row] = there ? factor : 0;
    numbers[SHIFT * QUERIES + row] = there ? LOG2_E * lse[sequence * tokens + tile.first + row] : INFINITY;
    numbers[MEAN * QUERIES + row] = there ? factor * mean : 0;
  }
}

// `parts [units, 4]` are sums of q·dq over a unit's queries. Grid: heads.
extern "C" __global__ void __launch_bounds__(THREADS)
    attention_backward_factors(const float4* __restrict__ parts, const Unit* __restrict__ units, int count,
                               const float* __restrict__ head_factors, float* __restrict__ d_factors) {
  __shared__ BlockMemory<float> memory;
  wait_for_earlier();
  float sum = 0;
  for (int i = threadIdx.x; i < count; i += THREADS) {
    if (units[i].head != blockIdx.x) continue;
    float4 part = parts[i];
    sum += part.x + part.y + part.z + part.w;
  }
  sum = block_sum(sum, memory);
  if (threadIdx.x == 0) d_factors[blockIdx.x] = sum / head_factors[blockIdx.x];
}
