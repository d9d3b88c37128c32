// Attention with one wide head on Hopper, as the tokenizer's: every query's weights first, then their products with the
// values. A head of 640 does not fit beside its results in one multiprocessor, so the weights go through memory, which
// is the L2 cache: bfloat16, relative to the largest score of a tile of keys, which is kept beside them with the tile's
// sum.
#include "tile_products.cuh"
#include "turns.cuh"

// Of a launch: `heads` of a number of `sequences`, all rows of which are queries and keys.
struct Attention {
  bf16* weights;    // [sequences, heads, rows, tiles · KEYS]
  float2* moments;  // [sequences, heads, rows, tiles]: the largest score, times log₂e, and the sum of weights
  bf16* out;        // [sequences, rows, heads, width]
  float scale;      // of scores, times log₂e
  int rows, tiles, heads, width;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Rows of a group of four warps.
constexpr int GROUP_ROWS = 64;

// An operand whose rows of 128 bytes lie along the depth; its next 64 columns lie `next` bytes further.
__device__ __forceinline__ uint64_t transposed_operand(uint32_t address, uint32_t next) {
  return (uint64_t)((address & 0x3FFFF) >> 4) | (uint64_t)(next >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

// Steps of 64 numbers of `GROUPS` times 64 rows and of so many columns, in a ring of stages.
template <int GROUPS, int COLUMNS, int STAGES>
struct Ring {
  static constexpr int ROWS = GROUPS * GROUP_ROWS, TILES = COLUMNS / 8;
  static constexpr int ROW_BYTES = DEPTH * 2, LEFT_BYTES = ROWS * ROW_BYTES, STAGE_BYTES = LEFT_BYTES + COLUMNS * ROW_BYTES;

  uint32_t barriers, memory;

  __device__ __forceinline__ Ring(uint64_t* barriers, unsigned char* memory)
      : barriers(shared_address(barriers)), memory((shared_address(memory) + 1023) & ~1023u) {}

  __device__ __forceinline__ uint32_t full(int stage) const { return barriers + stage * 8; }
  __device__ __forceinline__ uint32_t empty(int stage) const { return full(STAGES + stage); }
  __device__ __forceinline__ uint32_t left(int stage) const { return memory + stage * STAGE_BYTES; }
  __device__ __forceinline__ uint32_t right(int stage) const { return left(stage) + LEFT_BYTES; }

  __device__ __forceinline__ void start_barriers() const {
    for (int stage = 0; stage < STAGES; stage++) {
      start_barrier(full(stage), 1);
      start_barrier(empty(stage), 4 * GROUPS);
    }
    show_barriers();
  }

  // One thread's work: `bring` starts a step's copies.
  template <typename Bring>
  __device__ __forceinline__ void fill(int steps, Bring bring) const {
    Place<STAGES> at;
    for (int step = 0; step < steps; step++) {
      wait_at(empty(at.slot), at.parity ^ 1);
      arrive_expecting(full(at.slot), STAGE_BYTES);
      bring(step, at.slot);
      at.advance();
    }
  }

  // A group's products of a step.
  template <bool TRANSPOSED>
  __device__ __forceinline__ void multiply(float (&sums)[TILES][4], const Place<STAGES>& at, int group, int add) const {
    wait_at(full(at.slot), at.parity);
    uint64_t rows = operand(left(at.slot) + group * GROUP_ROWS * ROW_BYTES);
    uint64_t columns = TRANSPOSED ? transposed_operand(right(at.slot), DEPTH * ROW_BYTES) : operand(right(at.slot));
    begin_products();
#pragma unroll
    for (int k = 0; k < DEPTH / 16; k++)
      multiply_tiles<false, TRANSPOSED>(sums, rows + k * 2, columns + k * (TRANSPOSED ? 16 * ROW_BYTES / 16 : 2), add | k);
    commit_products();
  }

  // Leaves a stage to be overwritten: a lane of every warp says so.
  __device__ __forceinline__ void leave(int stage) const {
    if (threadIdx.x % 32 == 0) arrive(empty(stage));
  }
};

// Nothing that reads or writes these moves across.
template <int TILES>
__device__ __forceinline__ void hold(float (&sums)[TILES][4]) {
#pragma unroll
  for (int i = 0; i < TILES * 4; i++) asm volatile("" : "+f"(sums[i / 4][i % 4])::"memory");
}

__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// A lane's numbers of a row, `sums[…][first]` and the next, to the row: 16 bytes a lane.
template <int TILES>
__device__ __forceinline__ void store_row(bf16* row, const float (&sums)[TILES][4], int first, bool there) {
#pragma unroll
  for (int tile = 0; tile < TILES; tile += 4) {
    uint32_t words[4];
#pragma unroll
    for (int k = 0; k < 4; k++) words[k] = pack(sums[tile + k][first], sums[tile + k][first + 1]);
    transpose(words);
    if (there)
      *reinterpret_cast<uint4*>(row + (tile + threadIdx.x % 4) * 8) = {words[0], words[1], words[2], words[3]};
  }
}

// Weights of a tile of queries for a tile of keys: grid (tiles of keys, tiles of queries, heads of sequences).
template <int GROUPS, int KEYS, int STAGES>
__device__ __forceinline__ void weigh(const TensorMap& queries, const TensorMap& keys, const Attention& attention) {
  using Ring = Ring<GROUPS, KEYS, STAGES>;
  extern __shared__ unsigned char memory[];
  __shared__ uint64_t barriers[2 * STAGES];
  Ring ring(barriers, memory);
  if (threadIdx.x == 0) ring.start_barriers();
  __syncthreads();
  let_next_start();
  int sequence = blockIdx.z / attention.heads, column = blockIdx.z % attention.heads * attention.width;
  int first_key = blockIdx.x * KEYS, first_query = blockIdx.y * Ring::ROWS, steps = attention.width / DEPTH;
  int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  wait_for_earlier();
  if (group == GROUPS) {
    if (threadIdx.x % 32 != 0) return;
    ring.fill(steps, [&](int step, int stage) {
      int query_column = column + step * DEPTH, key_column = query_column + attention.heads * attention.width;
      copy_box(ring.left(stage), queries, ring.full(stage), query_column, first_query, sequence);
      copy_box(ring.right(stage), keys, ring.full(stage), key_column, first_key, sequence);
    });
    return;
  }
  float sums[Ring::TILES][4];
  hold(sums);
  Place<STAGES> at;
  for (int step = 0, before = 0; step < steps; step++) {
    ring.template multiply<false>(sums, at, group, step);
    wait_for_products<1>();
    if (step > 0) ring.leave(before);
    before = at.slot;
    at.advance();
  }
  wait_for_products<0>();
  hold(sums);
  int lane = threadIdx.x % 32, row = first_query + threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
  for (int first = 0; first < 4; first += 2, row += 8) {
    float largest = -INFINITY, sum = 0;
#pragma unroll
    for (int tile = 0; tile < Ring::TILES; tile++) {
#pragma unroll
      for (int i = first; i < first + 2; i++) {
        bool there = first_key + tile * 8 + lane % 4 * 2 + i % 2 < attention.rows;
        sums[tile][i] = there ? sums[tile][i] * attention.scale : -INFINITY;
        largest = fmaxf(largest, sums[tile][i]);
      }
    }
    largest = row_max(largest);
#pragma unroll
    for (int tile = 0; tile < Ring::TILES; tile++) {
#pragma unroll
      for (int i = first; i < first + 2; i++) {
        sums[tile][i] = power_of_two_of(sums[tile][i] - largest);
        sum += sums[tile][i];
      }
    }
    sum = row_sum(sum);
    bool there = row < attention.rows;
    size_t at_row = (size_t)blockIdx.z * attention.rows + row;
    store_row(attention.weights + at_row * attention.tiles * KEYS + first_key, sums, first, there);
    if (there && lane % 4 == 0) attention.moments[at_row * attention.tiles + blockIdx.x] = {largest, sum};
  }
}

// What a row's weights are multiplied by: relative to the largest score of all tiles instead of their own.
struct Shift {
  const float2* moments;
  float largest = -INFINITY, sum = 0;

  // The four lanes that hold a row share its tiles.
  __device__ __forceinline__ Shift(const float2* of_row, int tiles) : moments(of_row) {
    for (int tile = threadIdx.x % 4; tile < tiles; tile += 4) {
      float2 both = moments[tile];
      float before = largest;
      largest = fmaxf(largest, both.x);
      sum = sum * power_of_two_of(before - largest) + both.y * power_of_two_of(both.x - largest);
    }
    float own = largest;
    largest = row_max(largest);
    sum = row_sum(sum > 0 ? sum * power_of_two_of(own - largest) : 0);
  }

  __device__ __forceinline__ float of(int tile) const { return power_of_two_of(moments[tile].x - largest); }
};

// Weights times values: grid (parts of the head, tiles of queries, heads of sequences).
template <int GROUPS, int COLUMNS, int STAGES, int KEYS>
__device__ __forceinline__ void mix(const TensorMap& weights, const TensorMap& values, const Attention& attention) {
  using Ring = Ring<GROUPS, COLUMNS, STAGES>;
  constexpr int STEPS = KEYS / DEPTH;  // of a tile
  extern __shared__ unsigned char memory[];
  __shared__ uint64_t barriers[2 * STAGES];
  Ring ring(barriers, memory);
  if (threadIdx.x == 0) ring.start_barriers();
  __syncthreads();
  let_next_start();
  int head = blockIdx.z % attention.heads, sequence = blockIdx.z / attention.heads;
  int first_column = blockIdx.x * COLUMNS, first_query = blockIdx.y * Ring::ROWS;
  int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  wait_for_earlier();
  if (group == GROUPS) {
    if constexpr (GROUPS == 3) leave_registers<24>();
    if (threadIdx.x % 128 != 0) return;
    int value_column = (2 * attention.heads + head) * attention.width + first_column;
    ring.fill(attention.tiles * STEPS, [&](int step, int stage) {
      copy_box(ring.left(stage), weights, ring.full(stage), step * DEPTH, first_query, blockIdx.z);
      for (int part = 0; part < COLUMNS / DEPTH; part++)
        copy_box(ring.right(stage) + part * DEPTH * Ring::ROW_BYTES, values, ring.full(stage), value_column + part * DEPTH,
                 step * DEPTH, sequence);
    });
    return;
  }
  if constexpr (GROUPS == 3) take_registers<160>();
  int lane = threadIdx.x % 32, row = first_query + threadIdx.x / 32 * 16 + lane / 4;
  auto shift_of = [&](int row) {
    size_t at = (size_t)blockIdx.z * attention.rows + min(row, attention.rows - 1);
    return Shift(attention.moments + at * attention.tiles, attention.tiles);
  };
  Shift shifts[2] = {shift_of(row), shift_of(row + 8)};
  float sums[Ring::TILES][4], all[Ring::TILES][4] = {};
  hold(sums);
  Place<STAGES> at;
  for (int tile = 0; tile < attention.tiles; tile++) {
    float factors[2] = {shifts[0].of(tile), shifts[1].of(tile)};
    int stages[STEPS];
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      ring.template multiply<true>(sums, at, group, step);
      stages[step] = at.slot;
      at.advance();
    }
    wait_for_products<0>();
    hold(sums);
#pragma unroll
    for (int step = 0; step < STEPS; step++) ring.leave(stages[step]);
#pragma unroll
    for (int i = 0; i < Ring::TILES * 4; i++) all[i / 4][i % 4] += factors[i % 4 / 2] * sums[i / 4][i % 4];
  }
#pragma unroll
  for (int i = 0; i < 2; i++, row += 8) {
    float share = 1.0f / shifts[i].sum;
#pragma unroll
    for (int tile = 0; tile < Ring::TILES; tile++) {
      all[tile][2 * i] *= share;
      all[tile][2 * i + 1] *= share;
    }
    size_t at_row = ((size_t)sequence * attention.rows + row) * attention.heads + head;
    store_row(attention.out + at_row * attention.width + first_column, all, 2 * i, row < attention.rows);
  }
}

#endif

// Other GPUs never launch these.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define WEIGH(...) weigh<__VA_ARGS__>(queries, keys, {weights, moments, nullptr, scale, rows, tiles, heads, width})
#define MIX(...) mix<__VA_ARGS__>(weights, values, {nullptr, moments, out, 1.0f, rows, tiles, heads, width})
#else
#define WEIGH(...)
#define MIX(...)
#endif

#define WEIGHTS(groups, threads, keys_of_tile, stages, blocks)                                                        \
  extern "C" __global__ void __launch_bounds__(threads, blocks) attention_weights_##keys_of_tile(                     \
      const __grid_constant__ TensorMap queries, const __grid_constant__ TensorMap keys, bf16* weights,               \
      float2* moments, float scale, int rows, int tiles, int heads, int width) {                                      \
    WEIGH(groups, keys_of_tile, stages);                                                                              \
  }

#define VALUES(groups, threads, columns, stages, blocks)                                                              \
  extern "C" __global__ void __launch_bounds__(threads, blocks) attention_values_##columns(                           \
      const __grid_constant__ TensorMap weights, const __grid_constant__ TensorMap values, float2* moments,           \
      bf16* out, int rows, int tiles, int heads, int width) {                                                         \
    MIX(groups, columns, stages, columns);                                                                            \
  }

WEIGHTS(1, 160, 64, 6, 2)
WEIGHTS(2, 288, 128, 3, 2)
VALUES(1, 160, 64, 6, 2)
VALUES(3, 512, 128, 5, 1)
