// Numbers that blocks hand to one another through memory while all of them run. Where nothing was written yet, memory
// holds a pattern that no result has: whoever needs a number looks until it is another one. There is no barrier, and a
// number is seen as soon as it can be.
#pragma once

#include "common.cuh"

// As float32 or as two bfloat16 a NaN, but never the one that arithmetic makes.
constexpr uint32_t UNWRITTEN = 0xFFFFFFFF;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

__device__ __forceinline__ uint4 look_at_four(const void* from) {
  uint4 x;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(from)
               : "memory");
  return x;
}

__device__ __forceinline__ uint2 look_at_two(const void* from) {
  uint2 x;
  asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "l"(from) : "memory");
  return x;
}

// The largest word: it is the pattern if any of them is.
__device__ __forceinline__ uint32_t largest_of(const uint4& x) { return max(max(x.x, x.y), max(x.z, x.w)); }
__device__ __forceinline__ uint32_t largest_of(const uint2& x) { return max(x.x, x.y); }

__device__ __forceinline__ void hand_over(void* to, uint32_t x) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(x) : "memory");
}

__device__ __forceinline__ void hand_over(void* to, uint2 x) {
  asm volatile("st.relaxed.gpu.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(x.x), "r"(x.y) : "memory");
}

__device__ __forceinline__ void hand_over(void* to, uint4 x) {
  asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
}

#endif
