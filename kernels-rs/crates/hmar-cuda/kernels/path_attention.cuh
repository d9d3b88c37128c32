// Attention of a path's few rows: a warp makes 16 queries of a head, all of it in registers. They may be of several
// sequences: what is not a query's is left out of its sums.
#pragma once

#include "awaited.cuh"
#include "tensor_core.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

// The thread's number, so that what follows from it is not kept in registers from one layer to the next.
__device__ __forceinline__ uint32_t thread_anew() {
  uint32_t thread = threadIdx.x;
  asm volatile("" : "+r"(thread));
  return thread;
}

constexpr int HEAD_WIDTH = 64;

// Numbers 8·(lane % 4) … + 7 and 32 more of a head of a row. The first two words of each are a lane's operands of one
// product 16 deep, the others' of the next: both operands are permuted alike.
struct HeadPart {
  uint4 parts[2];
};

// `own` is the lane's first number of the row's head.
__device__ __forceinline__ HeadPart look_at_head(const bf16* own) { return {look_at_four(own), look_at_four(own + 32)}; }

__device__ __forceinline__ uint32_t largest_of(const HeadPart (&x)[2]) {
  return max(max(largest_of(x[0].parts[0]), largest_of(x[0].parts[1])),
             max(largest_of(x[1].parts[0]), largest_of(x[1].parts[1])));
}

// Adds the products of sixteen rows with eight.
__device__ __forceinline__ void multiply_heads(float (&sums)[4], const HeadPart (&a)[2], const HeadPart& b) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const uint4 &a0 = a[0].parts[i], &a1 = a[1].parts[i], &k = b.parts[i];
    uint32_t low[4] = {a0.x, a1.x, a0.y, a1.y}, high[4] = {a0.z, a1.z, a0.w, a1.w};
    multiply_tile(sums, low, k.x, k.y);
    multiply_tile(sums, high, k.z, k.w);
  }
}

// 1 / ‖row‖ of rows of which every lane holds the products of two with one another, in the same way as scores.
__device__ __forceinline__ float inverse_norm(float first, float second, int row) {
  float even = __shfl_sync(0xffffffffu, first, row * 4 + row / 2), odd = __shfl_sync(0xffffffffu, second, row * 4 + row / 2);
  return fminf(rsqrtf(row % 2 ? odd : even), 1e12f);
}

// An 8×8 tile of which every lane holds two neighbours of a row, transposed.
__device__ __forceinline__ uint32_t transposed(uint32_t tile) {
  uint32_t other;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(other) : "r"(tile));
  return other;
}

// Queries from `first` to `end`, sixteen at most, of a head, which see those keys from `first_key` to `last_key` that are
// of their `sequence`. `rows` is the head's part of [rows, `stride`]: queries, `width` further keys, then values. `store`
// gets eight neighbouring results of a row at a time. `ONCE` where there are no more than sixteen keys.
template <bool ONCE, typename Sequence, typename Store>
__device__ __forceinline__ void attend(const bf16* rows, int stride, int width, int first, int end, int first_key, int last_key,
                                       Sequence sequence, float factor, bool normalized, Store store) {
  int lane = thread_anew() % 32, row = lane / 4;
  rows += lane % 4 * 8;
  auto look_at_sixteen = [&](HeadPart(&of)[2], int from, int last, int which) {
    const bf16* own = rows + which * width;
#pragma unroll
    for (int i = 0; i < 2; i++) of[i] = look_at_head(own + (uint32_t)(min(from + i * 8 + row, last - 1) * stride));
  };
  // The sequence of a query; of a key that is none, one that no query is of.
  auto sequence_of = [&](int index, int last) { return index < last ? (int)sequence(index) : -1; };
  auto sequences_of_keys = [&](int(&of)[4], int from) {
#pragma unroll
    for (int i = 0; i < 4; i++) of[i] = sequence_of(from + i / 2 * 8 + lane % 4 * 2 + i % 2, last_key);
  };
  int of_queries[2] = {sequence_of(first + row, end), sequence_of(first + 8 + row, end)}, of_keys[4];
  sequences_of_keys(of_keys, first_key);
  HeadPart query[2], key[2], value[2];
  do {
    look_at_sixteen(query, first, end, 0);
    look_at_sixteen(key, first_key, last_key, 1);
    look_at_sixteen(value, first_key, last_key, 2);
  } while (max(max(largest_of(query), largest_of(key)), largest_of(value)) == UNWRITTEN);
  __syncwarp();
  float of_query[2] = {factor, factor}, low[4] = {}, high[4] = {};
  multiply_heads(low, query, query[0]);
  multiply_heads(high, query, query[1]);
  of_query[0] *= normalized ? inverse_norm(low[0], low[1], row) : 1;
  of_query[1] *= normalized ? inverse_norm(high[2], high[3], row) : 1;

  float largest[2] = {-INFINITY, -INFINITY}, sums[2] = {};
  // Of dimension 32·i + 8·(lane % 4) + 2·j and the next.
  float results[2][4][4] = {};
#pragma unroll 1
  for (int from = first_key;;) {
    float scores[2][4], before[2] = {largest[0], largest[1]};
#pragma unroll
    for (int tile = 0; tile < 2; tile++) {
      float(&s)[4] = scores[tile];
      s[0] = s[1] = s[2] = s[3] = 0;
      multiply_heads(s, query, key[tile]);
      float norms[4] = {};
      multiply_heads(norms, key, key[tile]);
      float of_key[2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        float norm = inverse_norm(norms[tile * 2], norms[tile * 2 + 1], lane % 4 * 2 + i);
        of_key[i] = normalized ? norm : 1;
      }
#pragma unroll
      for (int i = 0; i < 4; i++) {
        bool there = of_keys[tile * 2 + i % 2] == of_queries[i / 2];
        s[i] = there ? s[i] * of_query[i / 2] * of_key[i % 2] : -INFINITY;
        largest[i / 2] = fmaxf(largest[i / 2], s[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(0xffffffffu, largest[i], 1));
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(0xffffffffu, largest[i], 2));
      float shrink = __expf(before[i] - largest[i]);
      sums[i] *= shrink;
#pragma unroll
      for (int j = 0; j < 8; j++) {
        results[j / 4][j % 4][i * 2] *= shrink;
        results[j / 4][j % 4][i * 2 + 1] *= shrink;
      }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
      float& s = scores[i / 4][i % 4];
      s = __expf(s - largest[i % 4 / 2]);
      sums[i % 4 / 2] += s;
    }
    const float(&low)[4] = scores[0], (&high)[4] = scores[1];
    uint32_t weights[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]), pack(high[2], high[3])};
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const uint4 &v0 = value[0].parts[i], &v1 = value[1].parts[i];
      multiply_tile(results[i][0], weights, transposed(v0.x), transposed(v1.x));
      multiply_tile(results[i][1], weights, transposed(v0.y), transposed(v1.y));
      multiply_tile(results[i][2], weights, transposed(v0.z), transposed(v1.z));
      multiply_tile(results[i][3], weights, transposed(v0.w), transposed(v1.w));
    }
    from += 16;
    if (ONCE || from >= last_key) break;
    sequences_of_keys(of_keys, from);
    do {
      look_at_sixteen(key, from, last_key, 1);
      look_at_sixteen(value, from, last_key, 2);
    } while (max(largest_of(key), largest_of(value)) == UNWRITTEN);
    __syncwarp();
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float sum = sums[half];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    float factor = __fdividef(1.0f, sum);
    int index = first + half * 8 + row;
    if (index >= end) continue;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      auto two = [&](int j) { return pack(results[i][j][half * 2] * factor, results[i][j][half * 2 + 1] * factor); };
      store(index, i * 32 + lane % 4 * 8, uint4{two(0), two(1), two(2), two(3)});
    }
  }
}

#endif
