// Products of weights `[outputs, depth]` with rows that a caller gathers, in bfloat16 on tensor cores.
//
// Weights are the first operand of the tensor cores, rows the second. At few rows the time is that of streaming the
// weights: the blocks of a cluster share the sum's length, so that all multiprocessors load at once, and weights are
// asked for before the kernel's inputs are ready. Partial sums meet in shared memory in a fixed order.
#pragma once

#include <cooperative_groups.h>

#include "group_product.cuh"
#include "tensor_core.cuh"

namespace cg = cooperative_groups;

// Numbers of a row that one step multiplies: 128 bytes.
constexpr int DEPTH = 64;

// What is multiplied, and how many blocks share a sum.
struct Product {
  const bf16* weight;
  int rows, depth, outputs;
  int cluster;
};

// Where 8 numbers of a row lie in a tile of rows of 128 bytes: mixed so that eight rows fall on different banks.
__device__ __forceinline__ int place(int row, int eight) { return row * DEPTH + (eight ^ row % 8) * 8; }

// Starts copying `COUNT` rows of a matrix, numbers [first, first + DEPTH), zeros beyond its end.
template <int COUNT, int THREADS>
__device__ __forceinline__ void start_tile(bf16* tile, const bf16* matrix, int row, int rows, int first, int width) {
#pragma unroll
  for (int i = threadIdx.x; i < COUNT * (DEPTH / 8); i += THREADS) {
    int own = i / (DEPTH / 8), eight = i % (DEPTH / 8);
    bool there = row + own < rows && first + eight * 8 < width;
    const bf16* from = there ? matrix + (size_t)(row + own) * width + first + eight * 8 : matrix;
    copy_later(tile + place(own, eight), from, there);
  }
}

// A block makes OUTPUTS × ROWS results with WARPS_O × WARPS_R warps. `start_rows(tile, first row, first number)` starts
// copying ROWS rows of the inputs; `finish(row, output, x, y)` takes two neighbouring outputs.
template <int OUTPUTS, int ROWS, int WARPS_O, int WARPS_R, int STAGES, typename StartRows, typename Finish>
__device__ __forceinline__ void multiply(const Product& product, StartRows start_rows, Finish finish) {
  constexpr int THREADS = WARPS_O * WARPS_R * 32;
  constexpr int TILES_O = OUTPUTS / WARPS_O / 16, TILES_R = ROWS / WARPS_R / 8;
  constexpr int STAGE = (OUTPUTS + ROWS) * DEPTH, PITCH = OUTPUTS + 4;
  extern __shared__ __align__(1024) unsigned char memory[];
  bf16* stages = reinterpret_cast<bf16*>(memory);
  float* results = reinterpret_cast<float*>(memory);

  int rank = blockIdx.x % product.cluster;
  int first_output = blockIdx.x / product.cluster * OUTPUTS, first_row = blockIdx.y * ROWS;
  int steps = (product.depth + DEPTH - 1) / DEPTH;
  int begin = rank * steps / product.cluster, end = (rank + 1) * steps / product.cluster;
  auto start_weights = [&](int step) {
    bf16* stage = stages + (step - begin) % STAGES * STAGE;
    start_tile<OUTPUTS, THREADS>(stage, product.weight, first_output, product.outputs, step * DEPTH, product.depth);
  };
  auto start_inputs = [&](int step) {
    start_rows(stages + (step - begin) % STAGES * STAGE + OUTPUTS * DEPTH, first_row, step * DEPTH);
  };

  let_next_start();
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++)
    if (begin + i < end) start_weights(begin + i);
  wait_for_earlier();
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) {
    if (begin + i < end) start_inputs(begin + i);
    commit_copies();
  }

  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int own_output = warp / WARPS_R * (TILES_O * 16), own_row = warp % WARPS_R * (TILES_R * 8);
  float sums[TILES_O][TILES_R][4] = {};
  for (int step = begin; step < end; step++) {
    wait_for_copies<STAGES - 2>();
    __syncthreads();
    if (step + STAGES - 1 < end) {
      start_weights(step + STAGES - 1);
      start_inputs(step + STAGES - 1);
    }
    commit_copies();
    const bf16* weights = stages + (step - begin) % STAGES * STAGE;
    const bf16* inputs = weights + OUTPUTS * DEPTH;
#pragma unroll
    for (int k = 0; k < DEPTH / 16; k++) {
      uint32_t tiles[TILES_O][4];
#pragma unroll
      for (int o = 0; o < TILES_O; o++)
        load_tiles(tiles[o], weights + place(own_output + o * 16 + lane % 16, k * 2 + lane / 16));
#pragma unroll
      for (int r = 0; r < TILES_R; r += 2) {
        uint32_t columns[4];
        load_tiles(columns, inputs + place(own_row + r * 8 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2));
#pragma unroll
        for (int o = 0; o < TILES_O; o++) {
          multiply_tile(sums[o][r], tiles[o], columns[0], columns[1]);
          multiply_tile(sums[o][r + 1], tiles[o], columns[2], columns[3]);
        }
      }
    }
  }
  wait_for_copies<0>();
  __syncthreads();
#pragma unroll
  for (int o = 0; o < TILES_O; o++) {
#pragma unroll
    for (int r = 0; r < TILES_R; r++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        int row = own_row + r * 8 + lane % 4 * 2 + i % 2, output = own_output + o * 16 + lane / 4 + i / 2 * 8;
        results[row * PITCH + output] = sums[o][r][i];
      }
    }
  }

  int cluster = product.cluster;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (cluster > 1) {
    cg::this_cluster().sync();
  } else {
    __syncthreads();
  }
#else
  __syncthreads();
#endif
  for (int i = rank * THREADS + threadIdx.x; i < ROWS * OUTPUTS / 2; i += cluster * THREADS) {
    int row = i / (OUTPUTS / 2), output = i % (OUTPUTS / 2) * 2;
    if (first_row + row >= product.rows || first_output + output >= product.outputs) continue;
    float2 sum = {0, 0};
    for (int part = 0; part < cluster; part++) {
      const float* theirs = results;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
      if (cluster > 1) theirs = cg::this_cluster().map_shared_rank(results, part);
#endif
      float2 x = *reinterpret_cast<const float2*>(theirs + row * PITCH + output);
      sum.x += x.x;
      sum.y += x.y;
    }
    finish(first_row + row, first_output + output, sum.x, sum.y);
  }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  // Nobody's shared memory goes while others read it.
  if (cluster > 1) cg::this_cluster().sync();
#endif
}

// As `multiply`, for tiles large enough to be bound by arithmetic: on Hopper each four warps make 64 rows by OUTPUTS
// results together; elsewhere it is `multiply`. `cluster` must be 1.
template <int OUTPUTS, int ROWS, int WARPS_O, int WARPS_R, int STAGES, typename StartRows, typename Finish>
__device__ __forceinline__ void multiply_large(const Product& product, StartRows start_rows, Finish finish) {
#if HAS_GROUP_PRODUCTS
  constexpr int THREADS = WARPS_O * WARPS_R * 32;
  static_assert(ROWS == THREADS / 128 * 64, "four warps make 64 rows");
  // The slot written is that of the step before the last: no warp reads it any more.
  constexpr int AHEAD = STAGES - 2;
  constexpr int STAGE = (OUTPUTS + ROWS) * DEPTH;
  extern __shared__ __align__(1024) unsigned char memory[];
  bf16* stages = reinterpret_cast<bf16*>(memory);
  int first_output = blockIdx.x * OUTPUTS, first_row = blockIdx.y * ROWS;
  int steps = (product.depth + DEPTH - 1) / DEPTH;
  auto weights = [&](int step) { return stages + step % STAGES * STAGE; };
  auto rows = [&](int step) { return weights(step) + OUTPUTS * DEPTH; };
  auto start_weights = [&](int step) {
    start_tile<OUTPUTS, THREADS>(weights(step), product.weight, first_output, product.outputs, step * DEPTH,
                                 product.depth);
  };

  let_next_start();
#pragma unroll
  for (int step = 0; step < AHEAD; step++)
    if (step < steps) start_weights(step);
  wait_for_earlier();
#pragma unroll
  for (int step = 0; step < AHEAD; step++) {
    if (step < steps) start_rows(rows(step), first_row, step * DEPTH);
    commit_copies();
  }

  int group = threadIdx.x / 128, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  float sums[OUTPUTS / 2] = {};
  for (int step = 0; step < steps; step++) {
    wait_for_copies<AHEAD - 1>();
    show_copies();
    __syncthreads();
    begin_group_products();
#pragma unroll
    for (int k = 0; k < DEPTH / 16; k++)
      multiply_rows<OUTPUTS>(sums, describe_tile(rows(step) + group * 64 * DEPTH, k * 32),
                              describe_tile(weights(step), k * 32));
    commit_group_products();
    if (step + AHEAD < steps) {
      start_weights(step + AHEAD);
      start_rows(rows(step + AHEAD), first_row, (step + AHEAD) * DEPTH);
    }
    commit_copies();
    wait_for_group_products<1>();
  }
  wait_for_group_products<0>();
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int row = first_row + group * 64 + warp * 16 + lane / 4 + half * 8;
    if (row >= product.rows) continue;
#pragma unroll
    for (int n = 0; n < OUTPUTS / 8; n++) {
      int output = first_output + n * 8 + lane % 4 * 2;
      if (output < product.outputs) finish(row, output, sums[n * 4 + half * 2], sums[n * 4 + half * 2 + 1]);
    }
  }
#else
  multiply<OUTPUTS, ROWS, WARPS_O, WARPS_R, STAGES>(product, start_rows, finish);
#endif
}
