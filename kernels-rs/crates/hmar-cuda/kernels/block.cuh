// Sums and scans over all threads of a block, always in the same order: results are the same every time.
#pragma once

#include "common.cuh"

constexpr int WARPS = 32;

// Memory that one sum or scan needs; not to be reused before `__syncthreads()`.
template <typename T>
struct BlockMemory {
  T warps[WARPS];
};

template <typename T>
__device__ __forceinline__ T warp_sum_of(T x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  return x;
}

// The sum over the block, in every thread.
template <typename T>
__device__ __forceinline__ T block_sum(T x, BlockMemory<T>& memory) {
  x = warp_sum_of(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) memory.warps[threadIdx.x / 32] = x;
  __syncthreads();
  int lane = threadIdx.x % 32;
  return warp_sum_of(lane < blockDim.x / 32 ? memory.warps[lane] : T(0));
}

// The largest over the block, in every thread.
__device__ __forceinline__ uint32_t block_max(uint32_t x, BlockMemory<uint32_t>& memory) {
  x = __reduce_max_sync(0xffffffffu, x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) memory.warps[threadIdx.x / 32] = x;
  __syncthreads();
  int lane = threadIdx.x % 32;
  return __reduce_max_sync(0xffffffffu, lane < blockDim.x / 32 ? memory.warps[lane] : 0);
}

// The sum over the threads before this one.
template <typename T>
__device__ __forceinline__ T block_sum_before(T x, BlockMemory<T>& memory) {
  int lane = threadIdx.x % 32;
  T inclusive = x;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    T other = __shfl_up_sync(0xffffffffu, inclusive, distance);
    if (lane >= distance) inclusive += other;
  }
  __syncthreads();
  if (lane == 31) memory.warps[threadIdx.x / 32] = inclusive;
  __syncthreads();
  T before = T(0);
  for (int warp = 0; warp < threadIdx.x / 32; warp++) before += memory.warps[warp];
  return before + inclusive - x;
}

// Sums of many small integers in a row, each with one barrier: the two places take turns.
struct Tally {
  unsigned long long warps[2][WARPS];
};

// The sum over the block, in every thread, of numbers below 2⁵². `turn` belongs to the tally and starts anywhere.
__device__ __forceinline__ unsigned long long block_tally(unsigned long long x, Tally& tally, int& turn) {
  constexpr int HALF = 26;  // 32 such halves fit in 32 bits
  unsigned long long low = __reduce_add_sync(0xffffffffu, (uint32_t)x & ((1u << HALF) - 1));
  unsigned long long high = __reduce_add_sync(0xffffffffu, (uint32_t)(x >> HALF));
  turn ^= 1;
  if (threadIdx.x % 32 == 0) tally.warps[turn][threadIdx.x / 32] = (high << HALF) + low;
  __syncthreads();
  int lane = threadIdx.x % 32;
  unsigned long long part = lane < blockDim.x / 32 ? tally.warps[turn][lane] : 0;
  low = __reduce_add_sync(0xffffffffu, (uint32_t)part & ((1u << HALF) - 1));
  high = __reduce_add_sync(0xffffffffu, (uint32_t)(part >> HALF));
  return (high << HALF) + low;
}

// The same for numbers whose sum over a warp is below 2³¹.
__device__ __forceinline__ int block_count(int x, Tally& tally, int& turn) {
  x = __reduce_add_sync(0xffffffffu, x);
  turn ^= 1;
  if (threadIdx.x % 32 == 0) tally.warps[turn][threadIdx.x / 32] = x;
  __syncthreads();
  int lane = threadIdx.x % 32;
  return __reduce_add_sync(0xffffffffu, lane < blockDim.x / 32 ? (int)tally.warps[turn][lane] : 0);
}
