// Attention of a path's few rows: a warp makes 16 queries of a head, all of it in registers.
#pragma once

#include "awaited.cuh"
#include "tensor_core.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

// The thread's number, so that what follows from it is not kept in registers from one layer to the next.
__device__ __forceinline__ int thread_anew() {
  int thread = threadIdx.x;
  asm volatile("" : "+r"(thread));
  return thread;
}

constexpr int HEAD_WIDTH = 64;
constexpr int QUERIES = 16;

// Numbers 8·(lane % 4) … + 7 and 32 more of a head of a row. The first two words of each are a lane's operands of one
// product 16 deep, the others' of the next: both operands are permuted alike.
struct HeadPart {
  uint4 parts[2];
};

__device__ __forceinline__ HeadPart look_at_head(const bf16* head, int lane) {
  int at = lane % 4 * 8;
  return {look_at_four(head + at), look_at_four(head + 32 + at)};
}

__device__ __forceinline__ bool is_missing(const HeadPart& x) { return is_missing(x.parts[0]) || is_missing(x.parts[1]); }

__device__ __forceinline__ float sum_of_squares(uint32_t word) {
  float2 x = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(word));
  return x.x * x.x + x.y * x.y;
}

// 1 / ‖row‖ of the row whose parts four neighbouring lanes hold.
__device__ __forceinline__ float inverse_norm(const HeadPart& x) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 2; i++)
    sum += (sum_of_squares(x.parts[i].x) + sum_of_squares(x.parts[i].y)) +
           (sum_of_squares(x.parts[i].z) + sum_of_squares(x.parts[i].w));
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  sum += __shfl_xor_sync(0xffffffffu, sum, 2);
  return fminf(rsqrtf(sum), 1e12f);
}

// An 8×8 tile of which every lane holds two neighbours of a row, transposed.
__device__ __forceinline__ uint32_t transposed(uint32_t tile) {
  uint32_t other;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(other) : "r"(tile));
  return other;
}

// Queries from `first` on of a head. `rows` is its first row's part of [rows, `stride`]: queries, `width` further keys,
// then values. Keys come by sixteens; where there are no more, registers have room for the values before they are needed.
template <bool SIXTEEN>
__device__ __forceinline__ void attend(const bf16* rows, int stride, int width, int keys, int first, float factor,
                                       bool normalized, bf16* out) {
  int lane = thread_anew() % 32, row = lane / 4;
  auto part = [&](int index, int which) {
    return look_at_head(rows + (size_t)min(index, keys - 1) * stride + which * width, lane);
  };
  auto look_at_sixteen = [&](HeadPart(&of)[2], int from, int which) {
    of[0] = part(from + row, which);
    of[1] = part(from + 8 + row, which);
  };
  auto are_missing = [](const HeadPart(&of)[2]) { return is_missing(of[0]) || is_missing(of[1]); };
  HeadPart query[2], first_key[2], first_value[2];
  if (SIXTEEN) {
    look_at_sixteen(first_key, 0, 1);
    look_at_sixteen(first_value, 0, 2);
  }
  do look_at_sixteen(query, first, 0);
  while (are_missing(query));
  __syncwarp();
  float of_query[2] = {factor, factor};
  if (normalized) {
    of_query[0] *= inverse_norm(query[0]);
    of_query[1] *= inverse_norm(query[1]);
  }

  float largest[2] = {-INFINITY, -INFINITY}, sums[2] = {};
  // Of dimension 32·i + 8·(lane % 4) + 2·j and the next.
  float results[2][4][4] = {};
#pragma unroll 1
  for (int from = 0; from < (SIXTEEN ? 1 : keys); from += 16) {
    HeadPart key[2], value[2];
    if (SIXTEEN) {
      key[0] = first_key[0], key[1] = first_key[1];
      value[0] = first_value[0], value[1] = first_value[1];
    } else {
      look_at_sixteen(key, from, 1);
    }
    while (are_missing(key)) look_at_sixteen(key, from, 1);
    __syncwarp();
    float scores[2][4], before[2] = {largest[0], largest[1]};
#pragma unroll
    for (int tile = 0; tile < 2; tile++) {
      float(&s)[4] = scores[tile];
      s[0] = s[1] = s[2] = s[3] = 0;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const uint4 &q0 = query[0].parts[i], &q1 = query[1].parts[i], &k = key[tile].parts[i];
        uint32_t low[4] = {q0.x, q1.x, q0.y, q1.y}, high[4] = {q0.z, q1.z, q0.w, q1.w};
        multiply_tile(s, low, k.x, k.y);
        multiply_tile(s, high, k.z, k.w);
      }
      float of_key[2] = {1, 1};
      if (normalized) {
        float norm = inverse_norm(key[tile]);
        of_key[0] = __shfl_sync(0xffffffffu, norm, lane % 4 * 8);
        of_key[1] = __shfl_sync(0xffffffffu, norm, lane % 4 * 8 + 4);
      }
#pragma unroll
      for (int i = 0; i < 4; i++) {
        bool there = from + tile * 8 + lane % 4 * 2 + i % 2 < keys;
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
    if (!SIXTEEN) look_at_sixteen(value, from, 2);
    while (are_missing(value)) look_at_sixteen(value, from, 2);
    __syncwarp();
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
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float sum = sums[half];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    float factor = __fdividef(1.0f, sum);
    int index = first + half * 8 + row;
    if (index >= keys) continue;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      auto two = [&](int j) { return pack(results[i][j][half * 2] * factor, results[i][j][half * 2 + 1] * factor); };
      hand_over(out + (size_t)index * width + i * 32 + lane % 4 * 8, uint4{two(0), two(1), two(2), two(3)});
    }
  }
}

#endif
