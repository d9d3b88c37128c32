// Attention with one wide head, as the tokenizer's: a block owns 16 queries, its 8 warps share keys, then dimensions.
//
// Scores of 256 keys at a time lie in shared memory; the softmax keeps a running maximum and sum.
#include "tensor_core.cuh"

constexpr int WARPS = 8;
constexpr int QUERIES = 16;
constexpr int KEYS = 256;
constexpr int KEY_TILE = 32;
constexpr int SCORE_PITCH = KEYS + 8;
constexpr float LOG2_E = 1.4426950408889634f;

template <int WIDTH>
struct Shared {
  static constexpr int PITCH = WIDTH + 8;
  float scores[QUERIES][SCORE_PITCH];
  bf16 weights[QUERIES][SCORE_PITCH];
  bf16 values[KEY_TILE * PITCH];
  float shrinks[QUERIES];
  float largest[QUERIES];
  float sums[QUERIES];
};

// Four numbers of a row at depth 8·(lane%4) of 32: the same order for queries and keys, so any order will do.
__device__ __forceinline__ uint4 depths(const bf16* row, bool there) {
  return there ? *reinterpret_cast<const uint4*>(row + threadIdx.x % 4 * 8) : uint4{};
}

// Scores of a warp's 32 keys.
template <int WIDTH>
__device__ void score(Shared<WIDTH>& shared, const bf16* queries, const bf16* keys, int stride, int queries_left,
                      int keys_left, float scale) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4;
  float sums[4][4] = {};
  for (int depth = 0; depth < WIDTH; depth += 32) {
    uint4 upper = depths(queries + (size_t)row * stride + depth, row < queries_left);
    uint4 lower = depths(queries + (size_t)(row + 8) * stride + depth, row + 8 < queries_left);
    uint32_t first[4] = {upper.x, lower.x, upper.y, lower.y}, second[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
    for (int n = 0; n < 4; n++) {
      int key = warp * 32 + n * 8 + row;
      uint4 column = depths(keys + (size_t)key * stride + depth, key < keys_left);
      multiply_tile(sums[n], first, column.x, column.y);
      multiply_tile(sums[n], second, column.z, column.w);
    }
  }
#pragma unroll
  for (int n = 0; n < 4; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int key = warp * 32 + n * 8 + lane % 4 * 2 + i % 2;
      shared.scores[row + i / 2 * 8][key] = key < keys_left ? sums[n][i] * scale : -INFINITY;
    }
  }
}

// Probabilities relative to the running maximum; a warp does two queries.
template <int WIDTH>
__device__ void soften(Shared<WIDTH>& shared) {
  int lane = threadIdx.x % 32;
  for (int query = threadIdx.x / 32; query < QUERIES; query += WARPS) {
    float before = shared.largest[query], largest = before;
    for (int key = lane; key < KEYS; key += 32) largest = fmaxf(largest, shared.scores[query][key]);
    largest = warp_max(largest);
    float sum = 0;
    for (int key = lane; key < KEYS; key += 32) {
      float weight = power_of_two_of(shared.scores[query][key] - largest);
      shared.weights[query][key] = __float2bfloat16_rn(weight);
      sum += weight;
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      float shrink = power_of_two_of(before - largest);
      shared.shrinks[query] = shrink;
      shared.largest[query] = largest;
      shared.sums[query] = shared.sums[query] * shrink + sum;
    }
  }
}

template <int WIDTH>
__device__ void attend(const bf16* __restrict__ qkv, float scale, bf16* __restrict__ out, int rows, int query_start,
                       int query_end, int key_start, int key_end, int out_rows, int out_start) {
  constexpr int TILES = WIDTH / 8 / WARPS;  // of 8 dimensions, a warp
  extern __shared__ __align__(16) unsigned char memory[];
  Shared<WIDTH>& shared = *reinterpret_cast<Shared<WIDTH>*>(memory);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int head = blockIdx.y, width = gridDim.y * WIDTH, stride = 3 * width;
  int first = query_start + blockIdx.x * QUERIES;
  const bf16* sequence = qkv + (size_t)blockIdx.z * rows * stride + head * WIDTH;
  const bf16* queries = sequence + (size_t)first * stride;
  if (threadIdx.x < QUERIES) {
    shared.largest[threadIdx.x] = -INFINITY;
    shared.sums[threadIdx.x] = 0;
  }

  float sums[TILES][4] = {};
  for (int start = key_start; start < key_end; start += KEYS) {
    __syncthreads();
    score(shared, queries, sequence + width + (size_t)start * stride, stride, query_end - first, key_end - start,
          scale * LOG2_E);
    __syncthreads();
    soften(shared);
    __syncthreads();
    float upper = shared.shrinks[lane / 4], lower = shared.shrinks[lane / 4 + 8];
#pragma unroll
    for (int n = 0; n < TILES; n++) {
      sums[n][0] *= upper;
      sums[n][1] *= upper;
      sums[n][2] *= lower;
      sums[n][3] *= lower;
    }
    for (int tile = 0; tile < KEYS && start + tile < key_end; tile += KEY_TILE) {
      __syncthreads();
      for (int i = threadIdx.x; i < KEY_TILE * WIDTH / 8; i += WARPS * 32) {
        int row = i / (WIDTH / 8), column = i % (WIDTH / 8) * 8, key = start + tile + row;
        const bf16* from = sequence + 2 * width + (size_t)min(key, key_end - 1) * stride + column;
        copy_later(shared.values + row * shared.PITCH + column, from, key < key_end);
      }
      commit_copies();
      wait_for_copies<0>();
      __syncthreads();
#pragma unroll
      for (int k = 0; k < KEY_TILE / 16; k++) {
        uint32_t weights[4];
        load_tiles(weights, &shared.weights[lane % 16][tile + k * 16 + lane / 16 * 8]);
#pragma unroll
        for (int n = 0; n < TILES; n += 2) {
          uint32_t tiles[4];
          int column = (warp * TILES + n) * 8 + lane / 16 * 8;
          load_tiles_transposed(tiles, shared.values + (k * 16 + lane % 16) * shared.PITCH + column);
          multiply_tile(sums[n], weights, tiles[0], tiles[1]);
          multiply_tile(sums[n + 1], weights, tiles[2], tiles[3]);
        }
      }
    }
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int query = lane / 4 + half * 8;
    if (first + query >= query_end) continue;
    float sum = shared.sums[query];
    bf16* target = out + ((size_t)blockIdx.z * out_rows + first + query - out_start) * width + head * WIDTH +
                   warp * TILES * 8 + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < TILES; n++)
      *reinterpret_cast<uint32_t*>(target + n * 8) = pack(sums[n][2 * half] / sum, sums[n][2 * half + 1] / sum);
  }
}

#define ATTENTION(width)                                                                                              \
  extern "C" __global__ void __launch_bounds__(WARPS * 32, 1) attention_##width##_bf16(                                  \
      const bf16* qkv, float scale, bf16* out, int rows, int query_start, int query_end, int key_start, int key_end,  \
      int out_rows, int out_start) {                                                                                  \
    attend<width>(qkv, scale, out, rows, query_start, query_end, key_start, key_end, out_rows, out_start);            \
  }

ATTENTION(128)
ATTENTION(640)
