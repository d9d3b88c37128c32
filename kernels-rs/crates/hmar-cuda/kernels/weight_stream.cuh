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

// Where the ring is: slots of UNIT rows, of `row` bytes each, `pitch` bytes apart.
struct WeightStream {
  uint32_t slots, arrived, used;
  int count, row, pitch;
  int slot = 0;
  uint32_t parity = 0;

  // `barriers` takes 16 bytes a slot.
  __device__ __forceinline__ WeightStream(void* memory, void* barriers, int count, int row)
      : slots(shared_address(memory)), arrived(shared_address(barriers)), used(arrived + count * 8), count(count),
        row(row), pitch(row + 32) {}

  __device__ void start(int readers) {
    for (int i = 0; i < count; i++) {
      start_barrier(arrived + i * 8, 1);
      start_barrier(used + i * 8, readers);
    }
    show_barriers();
  }

  __device__ __forceinline__ void advance() {
    if (++slot == count) {
      slot = 0;
      parity ^= 1;
    }
  }

  // Asks for `row` bytes of UNIT rows that are `stride` bytes apart. All lanes of a warp call it.
  __device__ __forceinline__ void request(const unsigned char* from, size_t stride, uint64_t policy) {
    int lane = threadIdx.x % 32;
    wait_at(used + slot * 8, parity ^ 1);
    if (lane == 0) arrive_expecting(arrived + slot * 8, UNIT * row);
    __syncwarp();
    if (lane < UNIT) {
      uint32_t to = slots + (slot * UNIT + lane) * pitch;
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(to),
          "l"(from + lane * stride), "r"(row), "r"(arrived + slot * 8), "l"(policy)
          : "memory");
    }
    advance();
  }

  // The address of the next slot, once its weights are there.
  __device__ __forceinline__ uint32_t next() {
    wait_at(arrived + slot * 8, parity);
    return slots + slot * UNIT * pitch;
  }

  // Gives the slot back. All lanes of a warp call it.
  __device__ __forceinline__ void release() {
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(used + slot * 8);
    advance();
  }
};

// Weights are read once a pass: what is used again shall stay in the cache instead.
__device__ __forceinline__ uint64_t used_once() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

#endif
