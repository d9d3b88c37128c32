// Gradients of block-sparse attention for every GPU with bfloat16: a warp owns a query, or a key, and does others one by
// one. Sums are float32; nothing else is rounded.
#include "attention_backward.cuh"
#include "block.cuh"

constexpr int THREADS = 256;
constexpr int ROWS = 8;  // of a warp

// A row's two numbers of this lane.
__device__ __forceinline__ float2 load_pair(const bf16* row) {
  return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162*>(row)[threadIdx.x % 32]);
}

__device__ __forceinline__ void store_pair(bf16* row, float2 pair) {
  reinterpret_cast<__nv_bfloat162*>(row)[threadIdx.x % 32] = __float22bfloat162_rn(pair);
}

// A row of the warp's with a row of the lane's.
__device__ __forceinline__ float dot(float2 mine, const bf16* row) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < HEAD_WIDTH / 2; i += 4) {
    uint4 words = *reinterpret_cast<const uint4*>(row + i * 2);
    const __nv_bfloat162* pairs = reinterpret_cast<const __nv_bfloat162*>(&words);
#pragma unroll
    for (int k = 0; k < 4; k++) {
      float2 pair = __bfloat1622float2(pairs[k]);
      sum += __shfl_sync(0xffffffffu, mine.x, i + k) * pair.x + __shfl_sync(0xffffffffu, mine.y, i + k) * pair.y;
    }
  }
  return sum;
}

__device__ __forceinline__ float inverse_norm(const bf16* row) {
  float2 pair = load_pair(row);
  return 1.0f / fmaxf(sqrtf(warp_sum(pair.x * pair.x + pair.y * pair.y)), 1e-12f);
}

__device__ __forceinline__ void add(float2& sum, float factor, float2 row) {
  sum.x += factor * row.x;
  sum.y += factor * row.y;
}

// What the kernels here read, and where the sequence's rows lie.
struct Sequence {
  const bf16 *queries, *d_outs;
  const float* rows;
  int width, stride;

  __device__ __forceinline__ Sequence(const bf16* qkv, const bf16* d_out, const float* rows, int tokens, int tiles)
      : width(gridDim.y * HEAD_WIDTH), stride(3 * width) {
    size_t first = (size_t)blockIdx.z * tokens, sequence = blockIdx.z * gridDim.y + blockIdx.y;
    queries = qkv + first * stride + blockIdx.y * HEAD_WIDTH;
    d_outs = d_out + first * width + blockIdx.y * HEAD_WIDTH;
    this->rows = rows + sequence * tiles * ROW_NUMBERS * QUERIES;
  }

  __device__ __forceinline__ const bf16* query(int token) const { return queries + (size_t)token * stride; }
  __device__ __forceinline__ const bf16* key(int token) const { return query(token) + width; }
  __device__ __forceinline__ const bf16* value(int token) const { return key(token) + width; }
  __device__ __forceinline__ const bf16* d_out(int token) const { return d_outs + (size_t)token * width; }

  __device__ __forceinline__ float number(int which, int tile, int row) const {
    return rows[(tile * ROW_NUMBERS + which) * QUERIES + row];
  }
};

// Grid: query tiles, heads, images. `parts [images, heads, tiles, 4]`, of which the last three are 0.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    attention_backward_plain_queries(const bf16* qkv, const bf16* d_out, const QueryTile* tiles, const int2* ranges,
                                     const float* rows, const float* factors, bf16* d_qkv, float4* parts, int tokens) {
  __shared__ BlockMemory<float> memory;
  let_next_start();
  wait_for_earlier();
  Sequence sequence(qkv, d_out, rows, tokens, gridDim.x);
  QueryTile tile = tiles[blockIdx.x];
  int lane = threadIdx.x % 32;
  float along_queries = 0;
  for (int row = threadIdx.x / 32 * ROWS; row < min((int)threadIdx.x / 32 * ROWS + ROWS, tile.count); row++) {
    int token = tile.first + row, index = blockIdx.x;
    float2 query = load_pair(sequence.query(token)), gradient = load_pair(sequence.d_out(token)), sum = {0, 0};
    float factor = sequence.number(FACTOR, index, row), shift = sequence.number(SHIFT, index, row);
    float mean = sequence.number(MEAN, index, row);
    int2 range = ranges[index * QUERIES + row];
    for (int first = range.x; first < range.y; first += 32) {
      // Lanes without a key of their own do the last one's, and leave it out.
      int key = min(first + lane, range.y - 1);
      float inverse = 1;
      if (factors != nullptr) {
        const bf16* own = sequence.key(key);
        float square = 0;
        for (int i = 0; i < HEAD_WIDTH; i++) square += to_float(own[i]) * to_float(own[i]);
        inverse = 1.0f / fmaxf(sqrtf(square), 1e-12f);
      }
      float weight = exp2f(factor * inverse * dot(query, sequence.key(key)) - shift);
      float d_score = weight * (factor * dot(gradient, sequence.value(key)) - mean) * inverse;
      for (int i = 0; i < min(32, range.y - first); i++)
        add(sum, __shfl_sync(0xffffffffu, d_score, i), load_pair(sequence.key(first + i)));
    }
    sum.x *= LN_2;
    sum.y *= LN_2;
    if (factors != nullptr) {
      float along = warp_sum(sum.x * query.x + sum.y * query.y);
      if (lane == 0) along_queries += along;
      float inverse = factor * LN_2 / factors[blockIdx.y];
      add(sum, -along * inverse * inverse, query);
    }
    store_pair(d_qkv + (sequence.query(token) - qkv), sum);
  }
  along_queries = block_sum(along_queries, memory);
  size_t at = ((size_t)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  if (threadIdx.x == 0) parts[at] = {along_queries, 0, 0, 0};
}

// Grid: key tiles, each in two halves; heads, images.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    attention_backward_plain_keys(const bf16* qkv, const bf16* d_out, const KeyTile* key_tiles, const QueryTile* tiles,
                                  const int2* ranges, const float* rows, const float* factors, bf16* d_qkv, int tokens,
                                  int tile_count) {
  let_next_start();
  wait_for_earlier();
  Sequence sequence(qkv, d_out, rows, tokens, tile_count);
  KeyTile keys = key_tiles[blockIdx.x / 2];
  int lane = threadIdx.x % 32, first = (blockIdx.x % 2 * (THREADS / 32) + threadIdx.x / 32) * ROWS;
  for (int row = first; row < min(first + ROWS, keys.count); row++) {
    int token = keys.first + row;
    float inverse = factors != nullptr ? inverse_norm(sequence.key(token)) : 1;
    float2 key = load_pair(sequence.key(token)), value = load_pair(sequence.value(token));
    key.x *= inverse;
    key.y *= inverse;
    float2 d_key = {0, 0}, d_value = {0, 0};
    for (int index = keys.query_begin; index < keys.query_end; index++) {
      QueryTile tile = tiles[index];
      for (int start = 0; start < tile.count; start += 32) {
        int query = min(start + lane, tile.count - 1);
        int2 range = ranges[index * QUERIES + query];
        float factor = sequence.number(FACTOR, index, query), shift = sequence.number(SHIFT, index, query);
        float weight = exp2f(factor * dot(key, sequence.query(tile.first + query)) - shift);
        if (token < range.x || token >= range.y) weight = 0;
        float d_weight = factor * dot(value, sequence.d_out(tile.first + query));
        float d_score = weight * (d_weight - sequence.number(MEAN, index, query));
        for (int i = 0; i < min(32, tile.count - start); i++) {
          int other = tile.first + start + i;
          add(d_value, __shfl_sync(0xffffffffu, weight, i), load_pair(sequence.d_out(other)));
          add(d_key, __shfl_sync(0xffffffffu, d_score, i), load_pair(sequence.query(other)));
        }
      }
    }
    d_key.x *= LN_2;
    d_key.y *= LN_2;
    if (factors != nullptr) {
      add(d_key, -warp_sum(d_key.x * key.x + d_key.y * key.y), key);
      d_key.x *= inverse;
      d_key.y *= inverse;
    }
    store_pair(d_qkv + (sequence.key(token) - qkv), d_key);
    store_pair(d_qkv + (sequence.value(token) - qkv), d_value);
  }
}
