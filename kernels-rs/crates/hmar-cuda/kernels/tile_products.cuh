// Hopper's products of 64×64 and 64×128 tiles, 16 deep at a time, with either operand as it lies or transposed, the first
// also from registers; and how results become operands.
#pragma once

#include "warpgroup.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int TILE = 64;
constexpr int TILE_BYTES = TILE * TILE * 2;

// How far an operand's description moves for the next 16 numbers along its rows, and for its next 16 rows.
constexpr int NEXT_COLUMNS = 32 / 16;
constexpr int NEXT_ROWS = 16 * 128 / 16;

// A group's 64×64 results: warp w has rows 16·w …, of which a lane holds lane/4 and lane/4 + 8, of every eight columns
// 2·(lane%4) and the next.
using TileSums = float[8][4];

#define FOUR(i) "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])
#define SUMS FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7)
#define SUMS_LIST                                                                                                     \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"   \
  "%30,%31}"

// `sums = a · bᵀ`, or `+=` where `add` is not 0. An operand's rows lie in shared memory along the depth, or, transposed,
// across it.
template <bool TRANSPOSED_A, bool TRANSPOSED_B>
__device__ __forceinline__ void multiply_tiles(TileSums& sums, uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %34, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " SUMS_LIST ", %32, %33, p, 1, 1, %35, %36;}"
      : SUMS
      : "l"(a), "l"(b), "r"(add), "n"(TRANSPOSED_A), "n"(TRANSPOSED_B));
}

// The same of a tile of 128 columns.
template <bool TRANSPOSED_A, bool TRANSPOSED_B>
__device__ __forceinline__ void multiply_tiles(float (&sums)[16][4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %66, 0;"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
      "}, %64, %65, p, 1, 1, %67, %68;}"
      : SUMS, FOUR(8), FOUR(9), FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14), FOUR(15)
      : "l"(a), "l"(b), "r"(add), "n"(TRANSPOSED_A), "n"(TRANSPOSED_B));
}

// 64 columns again, with `a` in registers.
template <bool TRANSPOSED_B>
__device__ __forceinline__ void multiply_tiles(TileSums& sums, const uint32_t (&a)[4], uint64_t b, int add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %37, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " SUMS_LIST ", {%32,%33,%34,%35}, %36, p, 1, 1, %38;}"
      : SUMS
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(TRANSPOSED_B));
}

// Results are read only after this, which follows the wait for their products.
__device__ __forceinline__ void settle(TileSums& sums) {
#pragma unroll
  for (int i = 0; i < 8; i++)
    asm volatile("" : "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])::"memory");
}

#undef FOUR
#undef SUMS
#undef SUMS_LIST

// Rounds results to the operands of a product in which their columns are the depth.
__device__ __forceinline__ void to_operands(uint32_t (&operands)[4][4], const TileSums& sums) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
    operands[i / 2][i % 2 * 2] = pack(sums[i][0], sums[i][1]);
    operands[i / 2][i % 2 * 2 + 1] = pack(sums[i][2], sums[i][3]);
  }
}

// Where the 16 bytes number `piece` of a row lie in a tile, mixed as the copy engine and the tensor cores do.
__device__ __forceinline__ uint32_t place(uint32_t tile, int row, int piece) {
  return tile + row * 128 + ((piece ^ (row & 7)) << 4);
}

// Writes a group's rounded results to a tile.
__device__ __forceinline__ void store_operands(uint32_t tile, const uint32_t (&operands)[4][4]) {
  int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  uint32_t first = place(tile, warp * 16 + lane % 16, lane / 16);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    // Tiles begin at multiples of 1,024: two pieces further on is another two bits, mixed or not.
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(first ^ k << 5),
                 "r"(operands[k][0]), "r"(operands[k][1]), "r"(operands[k][2]), "r"(operands[k][3])
                 : "memory");
  }
}

// The thread's number, asked for anew: what the compiler makes of it before a loop would keep registers through it.
__device__ __forceinline__ int thread_now() {
  int thread;
  asm volatile("mov.u32 %0, %tid.x;" : "=r"(thread));
  return thread;
}

// The numbers of a tile that stand where a lane's results `sums[i][2 * half …]` do, two a word.
__device__ __forceinline__ void load_beside(uint32_t (&words)[8], uint32_t tile, int half) {
  int thread = thread_now(), lane = thread % 32;
  uint32_t first = place(tile, thread / 32 % 4 * 16 + lane / 4 + half * 8, 0) + lane % 4 * 4;
#pragma unroll
  for (int i = 0; i < 8; i++) asm volatile("ld.shared.b32 %0, [%1];" : "=r"(words[i]) : "r"(first ^ i << 4));
}

// The sum over the four lanes that share a row.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Rounds a group's results and stores the first `rows` of them, `stride` numbers apart: by way of `tile`, of which each
// warp has its rows to itself.
__device__ __forceinline__ void store_rows(const TileSums& sums, uint32_t tile, bf16* to, size_t stride, int rows) {
  int thread = thread_now(), warp = thread / 32 % 4, lane = thread % 32;
  uint32_t operands[4][4];
  to_operands(operands, sums);
  __syncwarp();
  store_operands(tile, operands);
  __syncwarp();
  uint4 words[4];
  int row = warp * 16 + lane / 8, piece = lane % 8;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[i].x), "=r"(words[i].y), "=r"(words[i].z), "=r"(words[i].w)
                 : "r"(place(tile, row + i * 4, piece))
                 : "memory");
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (row + i * 4 < rows) *reinterpret_cast<uint4*>(to + (row + i * 4) * stride + piece * 8) = words[i];
  }
}

#endif
