// What kernels share whose groups of warps take turns: while one multiplies, the other stores what it has made.
#pragma once

#include "warpgroup.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Groups that take turns; one more has the operands brought.
constexpr int GROUPS = 2;

// Numbers of a row in a step: 128 bytes.
constexpr int DEPTH = 64;

// A place in a ring of slots, and the parity of its round.
template <int SLOTS>
struct Place {
  int slot = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++slot == SLOTS) {
      slot = 0;
      parity ^= 1;
    }
  }

  __device__ __forceinline__ void skip(int count) {
    slot += count;
    parity ^= slot / SLOTS & 1;
    slot %= SLOTS;
  }
};

// Groups begin to multiply one after another: a slot's barrier tells rounds apart by their parity alone.
__device__ __forceinline__ void wait_for_turn(int group) { asm volatile("bar.sync %0, 256;" ::"r"(group + 3) : "memory"); }
__device__ __forceinline__ void give_turn(int group) { asm volatile("bar.arrive %0, 256;" ::"r"(4 - group) : "memory"); }

// A barrier for the warps of a group.
__device__ __forceinline__ void meet(int group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

// Nothing that reads or writes these moves across: the compiler does not see when products are done.
template <int TILES>
__device__ __forceinline__ void hold(float (&sums)[2][TILES][4]) {
#pragma unroll
  for (int i = 0; i < 2 * TILES * 4; i++)
    asm volatile("" : "+f"(sums[i / (TILES * 4)][i / 4 % TILES][i % 4])::"memory");
}

// Word k of a lane goes to lane k of its four, as that lane's word of the giver's number.
__device__ __forceinline__ void transpose(uint32_t (&words)[4]) {
  bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
  uint32_t x = __shfl_xor_sync(0xffffffffu, odd ? words[0] : words[1], 1);
  uint32_t y = __shfl_xor_sync(0xffffffffu, odd ? words[2] : words[3], 1);
  (odd ? words[0] : words[1]) = x;
  (odd ? words[2] : words[3]) = y;
  x = __shfl_xor_sync(0xffffffffu, high ? words[0] : words[2], 2);
  y = __shfl_xor_sync(0xffffffffu, high ? words[1] : words[3], 2);
  (high ? words[0] : words[2]) = x;
  (high ? words[1] : words[3]) = y;
}

#endif
