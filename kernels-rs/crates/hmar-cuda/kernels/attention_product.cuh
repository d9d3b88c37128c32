// Products of attention at head width 64: 64 rows held in registers by a group of four warps, times 64 rows in shared
// memory as the copy engine's 128-byte swizzle leaves them.
#pragma once

#include "warpgroup.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A group's 64×64 sums. A lane holds rows lane/4 and lane/4 + 8 of its warp's 16; `sums[4·n + i]` is column
// 8·n + 2·(lane%4) + i%2 of row i/2.
using Sums = float[32];

// 64 rows of sums of products with values, and their weights' sum in every one of eight more columns.
using Outputs = float[36];

#define FOUR(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define THIRTY_TWO FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28)

// `scores = rows · columnsᵀ`, or `+=` where `add` is not 0, 16 deep.
__device__ __forceinline__ void multiply_held(Sums& sums, const uint32_t (&rows)[4], uint64_t columns, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %37, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
      "}, {%32,%33,%34,%35}, %36, p, 1, 1, 0;}"
      : THIRTY_TWO
      : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "l"(columns), "r"(add));
}

// The same with 72 columns whose rows of 128 bytes lie along the depth: 64 of values, and 8 of ones.
__device__ __forceinline__ void multiply_held(Outputs& sums, const uint32_t (&rows)[4], uint64_t columns, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %41, 0;"
      "wgmma.mma_async.sync.aligned.m64n72k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35"
      "}, {%36,%37,%38,%39}, %40, p, 1, 1, 1;}"
      : THIRTY_TWO, FOUR(32)
      : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "l"(columns), "r"(add));
}

#undef THIRTY_TWO
#undef FOUR

// The first word of an operand: rows of 128 bytes, mixed as the copy engine's swizzle leaves them. 16 columns further
// along rows of numbers it is KEY_STEP more.
constexpr uint32_t KEY_STEP = 2;
__device__ __forceinline__ uint32_t key_operand(uint32_t address) { return address >> 4 | 1u << 16; }

// The same where rows lie along the depth; columns from the 64th on lie at `ones`. 16 rows further it is VALUE_STEP
// more: the way to the ones is shorter by as much as the address is larger.
constexpr uint32_t VALUE_STEP = (2048u >> 4) - (2048u >> 4 << 16);
__device__ __forceinline__ uint32_t value_operand(uint32_t address, uint32_t ones) {
  return address >> 4 | (ones - address) >> 4 << 16;
}

// The whole operand: eight rows are 1,024 bytes.
__device__ __forceinline__ uint64_t whole_operand(uint32_t first_word) {
  return (uint64_t)(1u << 30 | 1024u >> 4) << 32 | first_word;
}

// What this thread wrote is seen by the tensor cores and the copy engine after the next barrier.
__device__ __forceinline__ void show_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#endif
