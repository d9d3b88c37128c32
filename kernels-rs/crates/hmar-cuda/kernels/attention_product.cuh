// Products of attention at head width 64: 64 rows held in registers by a group of four warps, times 64 rows in shared
// memory as the copy engine's 128-byte swizzle leaves them.
#pragma once

#include "warpgroup.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A group's 64×64 sums. A lane holds rows lane/4 and lane/4 + 8 of its warp's 16; `sums[4·n + i]` is column
// 8·n + 2·(lane%4) + i%2 of row i/2.
using Sums = float[32];

#define EIGHT(i) \
  "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3]), "+f"(sums[i + 4]), "+f"(sums[i + 5]), \
      "+f"(sums[i + 6]), "+f"(sums[i + 7])

// `sums = rows · columns`, or `+=` where `add` is not 0, 16 deep. With TRANSPOSED, the columns' 128-byte rows lie along
// the depth: values, whose depth is the key.
template <int TRANSPOSED>
__device__ __forceinline__ void multiply_held(Sums& sums, const uint32_t* rows, uint64_t columns, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %37, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
      "}, {%32,%33,%34,%35}, %36, p, 1, 1, %38;}"
      : EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24)
      : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "l"(columns), "r"(add), "n"(TRANSPOSED));
}

// `sums = rows · columns`, or `+=` where `add` is not 0, both in shared memory.
__device__ __forceinline__ void multiply_lying(Sums& sums, uint64_t rows, uint64_t columns, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %34, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
      "}, %32, %33, p, 1, 1, 0, 0;}"
      : EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24)
      : "l"(rows), "l"(columns), "r"(add));
}

#undef EIGHT
#define EIGHT(i) \
  "=f"(sums[i]), "=f"(sums[i + 1]), "=f"(sums[i + 2]), "=f"(sums[i + 3]), "=f"(sums[i + 4]), "=f"(sums[i + 5]), \
      "=f"(sums[i + 6]), "=f"(sums[i + 7])

// `sums = rows · columns`, whatever the sums were: their registers may have served something else meanwhile.
__device__ __forceinline__ void multiply_held_anew(Sums& sums, const uint32_t* rows, uint64_t columns) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
      "}, {%32,%33,%34,%35}, %36, 0, 1, 1, 0;"
      : EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24)
      : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "l"(columns));
}

__device__ __forceinline__ void multiply_lying_anew(Sums& sums, uint64_t rows, uint64_t columns) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
      "}, %32, %33, 0, 1, 1, 0, 0;"
      : EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24)
      : "l"(rows), "l"(columns));
}

#undef EIGHT

// Whether the barrier's phase of this parity is over.
__device__ __forceinline__ bool is_over(uint32_t barrier, uint32_t parity) {
  uint32_t over;
  asm volatile(
      "{.reg .pred p;"
      "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;"
      "selp.u32 %0, 1, 0, p;}"
      : "=r"(over)
      : "r"(barrier), "r"(parity)
      : "memory");
  return over;
}

// What this thread wrote is seen by the tensor cores and the copy engine after the next barrier.
__device__ __forceinline__ void show_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#endif
