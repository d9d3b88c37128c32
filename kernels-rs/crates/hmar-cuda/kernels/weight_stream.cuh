// Weights on their way through a ring of slots in shared memory: one warp asks the copy engine for them in the order in
// which all others use them. It runs as far ahead as there are slots, whatever the others wait for.
#pragma once

#include "copy_barrier.cuh"

// Outputs of a unit: what one tile of the tensor cores makes.
constexpr int UNIT = 8;

// The units of a product that this block makes: every `gridDim.x`-th from `first` on.
struct Share {
  int first, count;

  // Products take turns in where they begin, so that what does not divide evenly falls on different blocks.
  __device__ __forceinline__ Share(int units, int& turned) {
    int blocks = gridDim.x;
    first = (int)blockIdx.x - turned;
    if (first < 0) first += blocks;
    count = first < units ? (units - first + blocks - 1) / blocks : 0;
    turned = (turned + units) % blocks;
  }

  __device__ __forceinline__ int unit(int index) const { return first + index * gridDim.x; }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

// Weights are read once a pass: what is used again shall stay in the cache instead.
__device__ __forceinline__ uint64_t used_once() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// Where the ring is: slots of UNIT rows, of `row` bytes each, `pitch` bytes apart.
struct WeightStream {
  uint32_t slots, arrived, used;
  int count, row, pitch;
  int slot = 0;
  uint32_t parity = 0;

  // `barriers` takes 16 bytes a slot.
  __device__ __forceinline__ WeightStream(void* memory, void* barriers, int count, int row, int pitch)
      : slots(shared_address(memory)), arrived(shared_address(barriers)), used(arrived + count * 8), count(count),
        row(row), pitch(pitch) {}

  __device__ void start(int readers) {
    for (int i = 0; i < count; i++) {
      start_barrier(arrived + i * 8, 1);
      start_barrier(used + i * 8, readers);
    }
    show_barriers();
  }

  // Asks for `row` bytes of UNIT rows that are `stride` bytes apart. One thread calls it.
  __device__ __forceinline__ void request(const unsigned char* from, size_t stride, uint64_t policy) {
    wait_at(used + slot * 8, parity ^ 1);
    arrive_expecting(arrived + slot * 8, UNIT * row);
    for (int i = 0; i < UNIT; i++) {
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(
              slots + (slot * UNIT + i) * pitch),
          "l"(from + i * stride), "r"(row), "r"(arrived + slot * 8), "l"(policy)
          : "memory");
    }
    advance();
  }

  // Where the next slot begins within the ring, once its weights are there.
  __device__ __forceinline__ uint32_t next() {
    wait_at(arrived + slot * 8, parity);
    uint32_t place = slot * UNIT * pitch;
    advance();
    return place;
  }

  // Gives the `number` slots before the next one back. All lanes of a warp call it when they have read them: reads may
  // still be under way when the copy engine writes, unless it is told.
  __device__ __forceinline__ void release(int number) {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
    if (threadIdx.x % 32 != 0) return;
    for (int i = 0; i < number; i++) {
      int before = slot - 1 - i;
      arrive(used + (before < 0 ? before + count : before) * 8);
    }
  }

 private:
  __device__ __forceinline__ void advance() {
    if (++slot == count) {
      slot = 0;
      parity ^= 1;
    }
  }
};

#endif
