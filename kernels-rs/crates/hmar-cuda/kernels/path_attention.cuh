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

__device__ __forceinline__ uint32_t largest_of(const HeadPart& x) { return max(largest_of(x.parts[0]), largest_of(x.parts[1])); }

template <int EIGHTS>
__device__ __forceinline__ uint32_t largest_of(const HeadPart (&x)[EIGHTS]) {
  return max(largest_of(x[0]), largest_of(x[EIGHTS - 1]));
}

// Adds the products of sixteen rows, or eight, with eight.
template <int EIGHTS>
__device__ __forceinline__ void multiply_heads(float (&sums)[4], const HeadPart (&a)[EIGHTS], const HeadPart& b) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const uint4 &a0 = a[0].parts[i], &a1 = a[EIGHTS - 1].parts[i], &k = b.parts[i];
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

// Queries from `first` to `end`, EIGHTS times eight at most, of a head, which see those keys from `first_key` to `last_key`
// that are of their `sequence`. `rows` is the head's part of [rows, `stride`]: queries, `width` further keys, then values.
// `store` gets eight neighbouring results of a row at a time. Keys come by as many as there are queries; if that is ONCE,
// registers have room for their values before they are needed.
template <int EIGHTS, bool ONCE, typename Sequence, typename Store>
__device__ __forceinline__ void attend(const bf16* rows, int stride, int width, int first, int end, int first_key, int last_key,
                                       Sequence sequence, float factor, bool normalized, Store store) {
  int lane = thread_anew() % 32, row = lane / 4;
  rows += lane % 4 * 8;
  auto look_at_heads = [&](HeadPart(&of)[EIGHTS], int from, int last, int which) {
    const bf16* own = rows + which * width;
#pragma unroll
    for (int i = 0; i < EIGHTS; i++) of[i] = look_at_head(own + (uint32_t)(min(from + i * 8 + row, last - 1) * stride));
  };
  // The sequence of a query; of a key that is none, one that no query is of.
  auto sequence_of = [&](int index, int last) { return index < last ? (int)sequence(index) : -1; };
  auto sequences_of_keys = [&](int(&of)[EIGHTS * 2], int from) {
#pragma unroll
    for (int i = 0; i < EIGHTS * 2; i++) of[i] = sequence_of(from + i / 2 * 8 + lane % 4 * 2 + i % 2, last_key);
  };
  int of_queries[EIGHTS], of_keys[EIGHTS * 2];
#pragma unroll
  for (int i = 0; i < EIGHTS; i++) of_queries[i] = sequence_of(first + i * 8 + row, end);
  sequences_of_keys(of_keys, first_key);
  HeadPart query[EIGHTS], key[EIGHTS], value[EIGHTS];
  uint32_t largest_word;
  do {
    look_at_heads(query, first, end, 0);
    look_at_heads(key, first_key, last_key, 1);
    if (ONCE) look_at_heads(value, first_key, last_key, 2);
    largest_word = max(largest_of(query), largest_of(key));
    if (ONCE) largest_word = max(largest_word, largest_of(value));
  } while (largest_word == UNWRITTEN);
  __syncwarp();
  float of_query[EIGHTS];
#pragma unroll
  for (int i = 0; i < EIGHTS; i++) {
    float norms[4] = {};
    multiply_heads(norms, query, query[i]);
    of_query[i] = factor * (normalized ? inverse_norm(norms[i * 2], norms[i * 2 + 1], row) : 1);
  }

  float largest[EIGHTS], sums[EIGHTS] = {};
#pragma unroll
  for (int i = 0; i < EIGHTS; i++) largest[i] = -INFINITY;
  // Of dimension 32·i + 8·(lane % 4) + 2·j and the next.
  float results[2][4][4] = {};
#pragma unroll 1
  for (int from = first_key;;) {
    // By eight keys: a lane's two scores of each of its queries.
    float scores[EIGHTS][4];
#pragma unroll
    for (int tile = 0; tile < EIGHTS; tile++) {
      float(&s)[4] = scores[tile], norms[4] = {};
      s[0] = s[1] = s[2] = s[3] = 0;
      multiply_heads(s, query, key[tile]);
      multiply_heads(norms, key, key[tile]);
#pragma unroll
      for (int i = 0; i < 2; i++) {
        float norm = inverse_norm(norms[tile * 2], norms[tile * 2 + 1], lane % 4 * 2 + i), of_key = normalized ? norm : 1;
#pragma unroll
        for (int j = 0; j < EIGHTS; j++)
          s[j * 2 + i] = of_keys[tile * 2 + i] == of_queries[j] ? s[j * 2 + i] * of_query[j] * of_key : -INFINITY;
      }
    }
#pragma unroll
    for (int i = 0; i < EIGHTS; i++) {
      float before = largest[i];
#pragma unroll
      for (int tile = 0; tile < EIGHTS; tile++)
        largest[i] = fmaxf(largest[i], fmaxf(scores[tile][i * 2], scores[tile][i * 2 + 1]));
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(0xffffffffu, largest[i], 1));
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(0xffffffffu, largest[i], 2));
      float shrink = __expf(before - largest[i]);
      sums[i] *= shrink;
#pragma unroll
      for (int j = 0; j < 8; j++) {
        results[j / 4][j % 4][i * 2] *= shrink;
        results[j / 4][j % 4][i * 2 + 1] *= shrink;
      }
#pragma unroll
      for (int j = 0; j < EIGHTS * 2; j++) {
        float& s = scores[j / 2][i * 2 + j % 2];
        s = __expf(s - largest[i]);
        sums[i] += s;
      }
    }
    if (!ONCE) {
      do look_at_heads(value, from, last_key, 2);
      while (largest_of(value) == UNWRITTEN);
      __syncwarp();
    }
    // Of what there is not, nothing is added.
    uint32_t weights[4] = {};
#pragma unroll
    for (int i = 0; i < EIGHTS * EIGHTS; i++)
      weights[i / EIGHTS * 2 + i % EIGHTS] = pack(scores[i / EIGHTS][i % EIGHTS * 2], scores[i / EIGHTS][i % EIGHTS * 2 + 1]);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const uint4 &v0 = value[0].parts[i], &v1 = value[EIGHTS - 1].parts[i];
      multiply_tile(results[i][0], weights, transposed(v0.x), transposed(v1.x));
      multiply_tile(results[i][1], weights, transposed(v0.y), transposed(v1.y));
      multiply_tile(results[i][2], weights, transposed(v0.z), transposed(v1.z));
      multiply_tile(results[i][3], weights, transposed(v0.w), transposed(v1.w));
    }
    from += EIGHTS * 8;
    if (ONCE || from >= last_key) break;
    sequences_of_keys(of_keys, from);
    do look_at_heads(key, from, last_key, 1);
    while (largest_of(key) == UNWRITTEN);
    __syncwarp();
  }
#pragma unroll
  for (int half = 0; half < EIGHTS; half++) {
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
