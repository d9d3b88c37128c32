// Numbers as integers of the same order, and the search for a place among them.
#pragma once

#include "block.cuh"

// Orders as the number does; zeros of either sign are equal.
__device__ __forceinline__ uint32_t ordered(float number) {
  uint32_t bits = __float_as_uint(number + 0.0f);
  return bits ^ ((uint32_t)((int32_t)bits >> 31) | 0x80000000u);
}

// The smallest key of [low, high] for which `reaches(key)` holds. It holds for `high`, and for all keys above one
// for which it holds; every thread of the block gets the same answers from it.
template <typename Reaches>
__device__ __forceinline__ uint32_t smallest_key(uint32_t low, uint32_t high, Reaches reaches) {
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (reaches(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return high;
}
