// Attention at head width 64: a warp owns 16 queries, a block up to 64; keys and values come in tiles of 64.
//
// q̂·k̂ is made from the plain product: a query's factor over its norm and the inverse of a key's norm multiply the
// scores, so that neither is rounded. The softmax keeps a running maximum and sum.
#include "tensor_core.cuh"

constexpr int WIDTH = 64;
constexpr int TILE = 64;
// Elements from row to row in shared memory: eight rows fall on different banks.
constexpr int PITCH = WIDTH + 8;
constexpr float LOG2_E = 1.4426950408889634f;

struct Shared {
  bf16 queries[TILE * PITCH];
  bf16 keys[2][TILE * PITCH];
  bf16 values[2][TILE * PITCH];
  float query_factors[TILE];
  float key_factors[TILE];
};

// Starts copying rows [first, first + TILE) of a head, up to the next 16 from `end` on zeros.
__device__ void start_tile(bf16* tile, const bf16* head, int first, int end, int stride) {
  int rows = min(TILE, (end - first + 15) / 16 * 16);
  for (int i = threadIdx.x; i < rows * (WIDTH / 8); i += blockDim.x) {
    int row = i / (WIDTH / 8), column = i % (WIDTH / 8) * 8;
    bool there = first + row < end;
    copy_later(tile + row * PITCH + column, head + (size_t)(there ? first + row : first) * stride + column, there);
  }
}

// `numerator / ‖row‖` of every row of a tile.
__device__ void divide_by_norms(float* factors, const bf16* tile, float numerator) {
  for (int i = threadIdx.x; i < 2 * TILE; i += blockDim.x) {
    const bf16* half = tile + i / 2 * PITCH + i % 2 * (WIDTH / 2);
    float sum = 0;
#pragma unroll
    for (int j = 0; j < WIDTH / 2; j += 2) {
      float2 both = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(half + j));
      sum += both.x * both.x + both.y * both.y;
    }
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    factors[i / 2] = numerator / fmaxf(sqrtf(sum), 1e-12f);
  }
}

// Keys that a lane's two rows see: from, to.
struct Sight {
  int2 keys[2];
};

struct Softmax {
  float largest[2];
  float sum[2] = {0, 0};
  float out[WIDTH / 8][4] = {};
};

// Turns a tile's products into probabilities relative to the running maximum, packed as the next product's operand. Rows see
// the `keys_left` first keys of the tile, or, of segments, what they see of those from `first_key` on.
template <bool SEGMENTS>
__device__ __forceinline__ void soften(float (&scores)[TILE / 8][4], const Shared& shared, const float (&factors)[2],
                                       bool normalized, int keys_left, int first_key, const Sight& sight, Softmax& softmax,
                                       uint32_t (&weights)[TILE / 16][4]) {
  int column = threadIdx.x % 4 * 2;
  float largest[2] = {softmax.largest[0], softmax.largest[1]};
#pragma unroll
  for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int key = n * 8 + column + i % 2;
      float score = scores[n][i] * factors[i / 2];
      if (normalized) score *= shared.key_factors[key];
      bool seen = key < keys_left;
      if constexpr (SEGMENTS) {
        int2 keys = sight.keys[i / 2];
        seen = first_key + key >= keys.x && first_key + key < keys.y;
      }
      scores[n][i] = seen ? score : -INFINITY;
      largest[i / 2] = fmaxf(largest[i / 2], scores[n][i]);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    largest[half] = fmaxf(largest[half], __shfl_xor_sync(0xffffffffu, largest[half], 1));
    largest[half] = fmaxf(largest[half], __shfl_xor_sync(0xffffffffu, largest[half], 2));
    float shrink = power_of_two_of(softmax.largest[half] - largest[half]);
    softmax.largest[half] = largest[half];
    softmax.sum[half] *= shrink;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++) {
      softmax.out[n][2 * half] *= shrink;
      softmax.out[n][2 * half + 1] *= shrink;
    }
  }
#pragma unroll
  for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      scores[n][i] = power_of_two_of(scores[n][i] - largest[i / 2]);
      softmax.sum[i / 2] += scores[n][i];
    }
    weights[n / 2][n % 2 * 2] = pack(scores[n][0], scores[n][1]);
    weights[n / 2][n % 2 * 2 + 1] = pack(scores[n][2], scores[n][3]);
  }
}

struct Spans {
  int rows, query_start, query_end, key_start, key_end, out_rows, out_start;
};

// Where keys are, and behind every row's keys its values: rows of each sequence, elements from row to row.
struct Keys {
  const bf16* keys;
  int rows, stride;
};

struct Segments {
  const int4* tiles;   // queries from, to, keys from, to: one a block
  const int2* bounds;  // what each query row sees
  float* lse;          // [sequences, heads, out_rows], or null
};

// `factors` are a number a head, or null: then scores are `scale` times the product. Grid: query tiles, heads, sequences.
template <bool SEGMENTS>
__device__ __forceinline__ void attend(const bf16* __restrict__ qkv, const Keys all_keys,
                                       const float* __restrict__ head_factors, float scale, bf16* __restrict__ out,
                                       Spans spans, Segments segments) {
  auto [rows, query_start, query_end, key_start, key_end, out_rows, out_start] = spans;
  extern __shared__ __align__(16) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  int head = blockIdx.y, heads = gridDim.y, width = heads * WIDTH, stride = 3 * width;
  int first = query_start + blockIdx.x * TILE;
  if constexpr (SEGMENTS) {
    int4 tile = segments.tiles[blockIdx.x];
    first = tile.x, query_end = tile.y, key_start = tile.z, key_end = tile.w;
  }
  const bf16* queries = qkv + (size_t)blockIdx.z * rows * stride + head * WIDTH;
  int key_stride = all_keys.stride;
  const bf16* keys = all_keys.keys + (size_t)blockIdx.z * all_keys.rows * key_stride + head * WIDTH;
  const bf16* values = keys + width;
  bool normalized = head_factors != nullptr;

  let_next_start();
  wait_for_earlier();
  start_tile(shared.queries, queries, first, query_end, stride);
  start_tile(shared.keys[0], keys, key_start, key_end, key_stride);
  start_tile(shared.values[0], values, key_start, key_end, key_stride);
  commit_copies();

  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  uint32_t query_tiles[WIDTH / 16][4];
  float factors[2];
  Sight sight;
  Softmax softmax;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    // Of segments it is finite: a row may see none of the first keys.
    softmax.largest[half] = SEGMENTS ? -1e30f : -INFINITY;
    if constexpr (SEGMENTS) sight.keys[half] = segments.bounds[min(first + warp * 16 + lane / 4 + half * 8, query_end - 1)];
  }
  int stage = 0;
  for (int key = key_start; key < key_end; key += TILE, stage ^= 1) {
    if (key + TILE < key_end) {
      start_tile(shared.keys[stage ^ 1], keys, key + TILE, key_end, key_stride);
      start_tile(shared.values[stage ^ 1], values, key + TILE, key_end, key_stride);
    }
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    if (normalized) divide_by_norms(shared.key_factors, shared.keys[stage], 1.0f);
    if (key == key_start) {
      if (normalized) divide_by_norms(shared.query_factors, shared.queries, head_factors[head]);
#pragma unroll
      for (int k = 0; k < WIDTH / 16; k++)
        load_tiles(query_tiles[k], shared.queries + (warp * 16 + lane % 16) * PITCH + k * 16 + lane / 16 * 8);
    }
    __syncthreads();
    if (key == key_start) {
#pragma unroll
      for (int half = 0; half < 2; half++)
        factors[half] = LOG2_E * (normalized ? shared.query_factors[warp * 16 + lane / 4 + half * 8] : scale);
    }

    float scores[TILE / 8][4] = {};
#pragma unroll
    for (int n = 0; n < TILE / 16; n++) {
      if (n * 16 >= key_end - key) break;
#pragma unroll
      for (int k = 0; k < WIDTH / 16; k++) {
        // Keys n·16 … as columns: tiles of (keys, depths) low-low, low-high, high-low, high-high.
        uint32_t tiles[4];
        int row = n * 16 + lane / 16 * 8 + lane % 8;
        load_tiles(tiles, shared.keys[stage] + row * PITCH + k * 16 + lane / 8 % 2 * 8);
        multiply_tile(scores[2 * n], query_tiles[k], tiles[0], tiles[1]);
        multiply_tile(scores[2 * n + 1], query_tiles[k], tiles[2], tiles[3]);
      }
    }
    uint32_t weights[TILE / 16][4];
    soften<SEGMENTS>(scores, shared, factors, normalized, key_end - key, key, sight, softmax, weights);
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
      if (k * 16 >= key_end - key) break;
#pragma unroll
      for (int n = 0; n < WIDTH / 16; n++) {
        uint32_t tiles[4];
        int row = k * 16 + lane % 16;
        load_tiles_transposed(tiles, shared.values[stage] + row * PITCH + n * 16 + lane / 16 * 8);
        multiply_tile(softmax.out[2 * n], weights[k], tiles[0], tiles[1]);
        multiply_tile(softmax.out[2 * n + 1], weights[k], tiles[2], tiles[3]);
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int half = 0; half < 2; half++) {
    float sum = softmax.sum[half];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    int query = first + warp * 16 + lane / 4 + half * 8;
    if (query >= query_end) continue;
    bf16* target = out + ((size_t)blockIdx.z * out_rows + query - out_start) * width + head * WIDTH + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++) {
      uint32_t both = pack(softmax.out[n][2 * half] / sum, softmax.out[n][2 * half + 1] / sum);
      *reinterpret_cast<uint32_t*>(target + n * 8) = both;
    }
    if constexpr (SEGMENTS) {
      if (segments.lse == nullptr || lane % 4 != 0) continue;
      size_t place = (size_t)blockIdx.z * heads + head;
      segments.lse[place * out_rows + query - out_start] = (softmax.largest[half] + log2f(sum)) / LOG2_E;
    }
  }
}

extern "C" __global__ void __launch_bounds__(128)
    attention_64_bf16(const bf16* __restrict__ qkv, const bf16* __restrict__ keys, const float* __restrict__ head_factors,
                      float scale, bf16* __restrict__ out, int rows, int key_rows, int key_stride, int query_start,
                      int query_end, int key_start, int key_end, int out_rows, int out_start) {
  Spans spans{rows, query_start, query_end, key_start, key_end, out_rows, out_start};
  attend<false>(qkv, Keys{keys, key_rows, key_stride}, head_factors, scale, out, spans, Segments{});
}

extern "C" __global__ void __launch_bounds__(128)
    attention_segments_64_bf16(const bf16* __restrict__ qkv, const bf16* __restrict__ keys,
                               const float* __restrict__ head_factors, float scale, bf16* __restrict__ out, int rows,
                               int key_rows, int key_stride, const int4* __restrict__ tiles,
                               const int2* __restrict__ bounds, float* __restrict__ lse) {
  Spans spans{rows, 0, 0, 0, 0, rows, 0};
  attend<true>(qkv, Keys{keys, key_rows, key_stride}, head_factors, scale, out, spans, Segments{tiles, bounds, lse});
}
