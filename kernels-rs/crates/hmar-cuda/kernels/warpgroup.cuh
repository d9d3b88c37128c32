// Hopper's own way to multiply: the copy engine brings boxes of tensors to shared memory, where groups of four warps
// multiply 64 rows at once without loading operands into registers.
#pragma once

#include "copy_barrier.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A group's warps keep so many registers from here on, more or fewer than the kernel began with.
template <int COUNT>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

template <int COUNT>
__device__ __forceinline__ void leave_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

// Copies a box of a tensor; what lies outside of the tensor is zero.
__device__ __forceinline__ void copy_box(uint32_t to, const TensorMap& map, uint32_t barrier, int c0, int c1) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::
          "r"(to),
      "l"(&map), "r"(barrier), "r"(c0), "r"(c1)
      : "memory");
}

__device__ __forceinline__ void copy_box(uint32_t to, const TensorMap& map, uint32_t barrier, int c0, int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::
          "r"(to),
      "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}

__device__ __forceinline__ void copy_box(uint32_t to, const TensorMap& map, uint32_t barrier, int c0, int c1, int c2,
                                         int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}

// Copies a box to the same place of the first `COUNT` blocks of the cluster, and lets the same barrier of each know.
template <int COUNT>
__device__ __forceinline__ void copy_box_to_blocks(uint32_t to, const TensorMap& map, uint32_t barrier, int c0, int c1) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%3, %4}], [%2], %5;" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "h"((uint16_t)((1 << COUNT) - 1))
      : "memory");
}

template <int COUNT>
__device__ __forceinline__ void copy_box_to_blocks(uint32_t to, const TensorMap& map, uint32_t barrier, int c0, int c1,
                                                   int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%3, %4, %5}], [%2], %6;" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "h"((uint16_t)((1 << COUNT) - 1))
      : "memory");
}

// Has the copy engine fetch a tensor's description before it is needed.
__device__ __forceinline__ void bring_map_near(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// Brings a box near: to the L2 cache.
__device__ __forceinline__ void bring_box_near(const TensorMap& map, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];" ::"l"(&map), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}

// Brings bytes, a multiple of 16, near: to the L2 cache.
__device__ __forceinline__ void bring_near(const void* from, int bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes));
}

// Rows of 128 bytes whose 16-byte parts are mixed within groups of eight rows, as the copy engine's 128-byte swizzle
// leaves them. The address is a multiple of 1,024, plus 32 bytes for every 16 numbers along a row.
// Groups of eight rows lie `stride` bytes apart.
__device__ __forceinline__ uint64_t operand(uint32_t address, uint32_t stride = 1024) {
  return (uint64_t)((address & 0x3FFFF) >> 4) | 1ull << 16 | (uint64_t)(stride >> 4) << 32 | 1ull << 62;
}

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most `LEFT` groups of products are under way.
template <int LEFT>
__device__ __forceinline__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// `sums = a · bᵀ`, or `+=` where `add` is not 0: 64 rows by 8, 16 … columns, 16 deep. Warp w of the group holds rows
// 16·w …, lane by lane as in `multiply_tile`.
#define FOUR(i) "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])

__device__ __forceinline__ void multiply_group(float (&sums)[1][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %6, 0;"
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3"
      "}, %4, %5, p, 1, 1, 0, 0;}"
      : FOUR(0)
      : "l"(a), "l"(b), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[2][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %10, 0;"
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7"
      "}, %8, %9, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1)
      : "l"(a), "l"(b), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[4][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %18, 0;"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
      "}, %16, %17, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3)
      : "l"(a), "l"(b), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[10][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %42, 0;"
      "wgmma.mma_async.sync.aligned.m64n80k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39"
      "}, %40, %41, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9)
      : "l"(a), "l"(b), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[20][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %82, 0;"
      "wgmma.mma_async.sync.aligned.m64n160k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
      "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
      "}, %80, %81, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9),
        FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14),
        FOUR(15), FOUR(16), FOUR(17), FOUR(18), FOUR(19)
      : "l"(a), "l"(b), "r"(add));
}

__device__ __forceinline__ void multiply_group(float (&sums)[24][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %98, 0;"
      "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
      "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
      "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
      "}, %96, %97, p, 1, 1, 0, 0;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9),
        FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14),
        FOUR(15), FOUR(16), FOUR(17), FOUR(18), FOUR(19),
        FOUR(20), FOUR(21), FOUR(22), FOUR(23)
      : "l"(a), "l"(b), "r"(add));
}

// The same of numbers in e4m3, 32 deep.
__device__ __forceinline__ void multiply_group_e4m3(float (&sums)[20][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %82, 0;"
      "wgmma.mma_async.sync.aligned.m64n160k32.f32.e4m3.e4m3 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
      "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
      "}, %80, %81, p, 1, 1;}"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4),
        FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9),
        FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14),
        FOUR(15), FOUR(16), FOUR(17), FOUR(18), FOUR(19)
      : "l"(a), "l"(b), "r"(add));
}

#undef FOUR

#endif
