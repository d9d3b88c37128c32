// Weights on their way through a ring of slots in shared memory: one thread asks the copy engine for them in the order in
// which all others use them. It runs as far ahead as there are slots, whatever the others wait for.
#pragma once

#include "copy_barrier.cuh"

// A slot: outputs by numbers of their sums' depth. Rows are 128 bytes long, their 16-byte parts mixed within groups of
// eight rows.
constexpr int TILE_OUTPUTS = 64;
constexpr int CHUNK = 64;
constexpr int SLOT_BYTES = TILE_OUTPUTS * CHUNK * 2;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

// Weights are read once a pass: what is used again shall stay in the cache instead.
__device__ __forceinline__ uint64_t used_once() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

struct WeightStream {
  uint32_t slots, arrived, used;
  int count;
  int slot = 0;
  uint32_t parity = 0;

  // `barriers` takes 16 bytes a slot.
  __device__ __forceinline__ WeightStream(uint32_t slots, uint32_t barriers, int count)
      : slots(slots), arrived(barriers), used(arrived + count * 8), count(count) {}

  __device__ void start(int readers) {
    for (int i = 0; i < count; i++) {
      start_barrier(arrived + i * 8, 1);
      start_barrier(used + i * 8, readers);
    }
  }

  // Asks for the next slot's weights. One thread calls it.
  __device__ __forceinline__ void request(const TensorMap& map, int input, int output, uint64_t policy) {
    wait_at(used + slot * 8, parity ^ 1);
    arrive_expecting(arrived + slot * 8, SLOT_BYTES);
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
        "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(slots + slot * SLOT_BYTES),
        "l"(&map), "r"(arrived + slot * 8), "r"(input), "r"(output), "l"(policy)
        : "memory");
    advance(1);
  }

  // Where the next slot lies, once its weights are there.
  __device__ __forceinline__ uint32_t wait() const {
    wait_at(arrived + slot * 8, parity);
    return slots + slot * SLOT_BYTES;
  }

  // Where each reader arrives once to give it back.
  __device__ __forceinline__ uint32_t release_barrier() const { return used + slot * 8; }

  __device__ __forceinline__ void advance(int number) {
    slot += number;
    while (slot >= count) {
      slot -= count;
      parity ^= 1;
    }
  }
};

#endif
