// Hopper's products of 64 outputs by tens to hundreds of rows, 16 deep: weights are the first operand, rows the second.
// Those of 32 rows are among the ones of warpgroup.cuh.
#pragma once

#include "warpgroup.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#define FOUR(i) "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])

// `sums = weights · rowsᵀ`, or `+=` where `add` is not 0. Warp w of the group holds outputs 16·w …, of which a lane has
// lane/4 and lane/4 + 8, of every eight rows 2·(lane%4) and the next.
__device__ __forceinline__ void multiply_group(float (&sums)[3][4], uint64_t weights, uint64_t rows, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %14, 0;"
      "wgmma.mma_async.sync.aligned.m64n24k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11"
      "}, %12, %13, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2)
      : "l"(weights), "l"(rows), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[7][4], uint64_t weights, uint64_t rows, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %30, 0;"
      "wgmma.mma_async.sync.aligned.m64n56k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27"
      "}, %28, %29, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6)
      : "l"(weights), "l"(rows), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[9][4], uint64_t weights, uint64_t rows, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %38, 0;"
      "wgmma.mma_async.sync.aligned.m64n72k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35"
      "}, %36, %37, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6), FOUR(7), FOUR(8)
      : "l"(weights), "l"(rows), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[13][4], uint64_t weights, uint64_t rows, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %54, 0;"
      "wgmma.mma_async.sync.aligned.m64n104k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51"
      "}, %52, %53, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9),
        FOUR(10), FOUR(11), FOUR(12)
      : "l"(weights), "l"(rows), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[16][4], uint64_t weights, uint64_t rows, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %66, 0;"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
      "}, %64, %65, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9),
        FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14),
        FOUR(15)
      : "l"(weights), "l"(rows), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[22][4], uint64_t weights, uint64_t rows, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %90, 0;"
      "wgmma.mma_async.sync.aligned.m64n176k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
      "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
      "%80,%81,%82,%83,%84,%85,%86,%87"
      "}, %88, %89, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9),
        FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14),
        FOUR(15), FOUR(16), FOUR(17), FOUR(18), FOUR(19),
        FOUR(20), FOUR(21)
      : "l"(weights), "l"(rows), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[26][4], uint64_t weights, uint64_t rows, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %106, 0;"
      "wgmma.mma_async.sync.aligned.m64n208k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
      "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
      "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
      "%96,%97,%98,%99,%100,%101,%102,%103"
      "}, %104, %105, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9),
        FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14),
        FOUR(15), FOUR(16), FOUR(17), FOUR(18), FOUR(19),
        FOUR(20), FOUR(21), FOUR(22), FOUR(23), FOUR(24),
        FOUR(25)
      : "l"(weights), "l"(rows), "r"(add));
}

#undef FOUR

#endif
