// Barriers in shared memory that wait for the copy engine and for threads: from Hopper on.
#pragma once

#include "tensor_core.cuh"

// Describes a tensor to the copy engine; made by the driver.
struct alignas(64) TensorMap {
  uint64_t words[16];
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

__device__ __forceinline__ void start_barrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}

// Makes started barriers known to the copy engine.
__device__ __forceinline__ void show_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives at the same barrier of another block of the cluster.
__device__ __forceinline__ void arrive_at_block(uint32_t barrier, int rank) {
  asm volatile(
      "{.reg .b32 theirs;"
      "mapa.shared::cluster.u32 theirs, %0, %1;"
      "mbarrier.arrive.shared::cluster.b64 _, [theirs];}" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

// Arrives, and lets the barrier wait for so many bytes of copies as well.
__device__ __forceinline__ void arrive_expecting(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Waits until the barrier's phase of this parity is over.
__device__ __forceinline__ void wait_at(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{.reg .pred p;"
      "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;"
      "@p bra over;"
      "bra again;"
      "over:}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// The address of the same place in another block of the cluster.
__device__ __forceinline__ uint32_t address_at_block(uint32_t address, int rank) {
  uint32_t theirs;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(theirs) : "r"(address), "r"(rank));
  return theirs;
}

// Stores 16 bytes in another block of the cluster without waiting; its barrier counts them.
__device__ __forceinline__ void store_at_block(uint32_t to, float4 x, uint32_t barrier) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to), "f"(x.x),
      "f"(x.y), "f"(x.z), "f"(x.w), "r"(barrier)
      : "memory");
}

// Stores 16 bytes here, and loads them.
__device__ __forceinline__ void store_here(uint32_t to, float4 x) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w) : "memory");
}

__device__ __forceinline__ float4 load_here(uint32_t from) {
  float4 x;
  asm("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w) : "r"(from) : "memory");
  return x;
}

// The two halves of a barrier for all threads of a cluster's blocks.
__device__ __forceinline__ void arrive_in_cluster() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
__device__ __forceinline__ void wait_for_cluster() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

// The first half without an order for memory: enough for what the copy engine has brought and the tensor cores have read.
// The other waits until all of the thread's reads and writes are done.
__device__ __forceinline__ void arrive_in_cluster_unordered() { asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory"); }

#endif
