// Products of many rows on Hopper, with the endings of linear layers. Blocks stay, and take one tile of 128 rows after
// another; two groups of warps take turns. The blocks of a cluster have the same weights, of which each brings a part to
// all.
#include "linear_endings.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int ROWS = 128, SHARE = 2;

// The most tiles beside one another that are made before those of the next rows.
constexpr int BAND = 12;

// Bytes of a row in a step.
constexpr int STEP_BYTES = 128;
constexpr int INPUT_BYTES = ROWS * STEP_BYTES;

// OUTPUTS results a row, SLOTS steps ahead; factors in bfloat16 or e4m3.
template <int OUTPUTS, int SLOTS, bool E4M3>
struct Block {
  static constexpr int STEP = E4M3 ? STEP_BYTES : STEP_BYTES / 2;
  static constexpr int TILES = OUTPUTS / 8, PART = OUTPUTS / SHARE;
  static constexpr int SLOT_BYTES = INPUT_BYTES + OUTPUTS * STEP_BYTES, BARRIERS = 2 * SLOTS;
  using Sums = float[2][TILES][4];

  const Layer& layer;
  uint32_t barriers, memory;

  __device__ __forceinline__ uint32_t full(int slot) const { return barriers + slot * 8; }
  __device__ __forceinline__ uint32_t free(int slot) const { return full(SLOTS + slot); }
  __device__ __forceinline__ uint32_t inputs(int slot) const { return memory + slot * SLOT_BYTES; }
  __device__ __forceinline__ uint32_t weights(int slot) const { return inputs(slot) + INPUT_BYTES; }

  // Made anew wherever they are asked for: registers are scarce.
  __device__ __forceinline__ int rank() const { return blockIdx.x % SHARE; }
  __device__ __forceinline__ int cluster() const { return blockIdx.x / SHARE; }
  __device__ __forceinline__ int clusters() const { return gridDim.x / SHARE; }
  __device__ __forceinline__ int down() const { return (layer.rows + ROWS * SHARE - 1) / (ROWS * SHARE); }
  __device__ __forceinline__ int across() const { return (layer.outputs + OUTPUTS - 1) / OUTPUTS; }
  __device__ __forceinline__ int shares() const { return down() * across(); }
  __device__ __forceinline__ int steps() const { return (layer.inputs + STEP - 1) / STEP; }

  // Of the cluster's share number `number` of all work, what this block does. Tiles lie in bands from the first row to the
  // last, narrow enough for what is multiplied at once to stay in the L2 cache.
  struct Tile {
    int row, output;
  };
  __device__ __forceinline__ Tile find(int number) const {
    int bands = (across() + BAND - 1) / BAND, wide = (across() + bands - 1) / bands;
    int first = number / (down() * wide) * wide, within = number % (down() * wide);
    int own = min(wide, across() - first);
    return {(within / own * SHARE + rank()) * ROWS, (first + within % own) * OUTPUTS};
  }

  __device__ __forceinline__ void start_barriers() const {
    for (int slot = 0; slot < SLOTS; slot++) {
      start_barrier(full(slot), 1);
      start_barrier(free(slot), 4 * SHARE);
    }
    show_barriers();
    for (int slot = 0; slot < SLOTS; slot++) arrive_expecting(full(slot), SLOT_BYTES);
  }

  // A thread's work, which goes ahead of the products as far as there are slots: of each share, from the row `first(share)`
  // of its operand on, `bring(slot, column, row)` for each step. Whoever used a slot before let its barrier expect more.
  template <typename First, typename Bring>
  __device__ __forceinline__ void go_ahead(First first, Bring bring) const {
    Place<SLOTS> place;
    int all = shares(), depth = steps() * STEP;
    for (int number = cluster(); number < all; number += clusters()) {
      int row = first(number);
#pragma unroll 1
      for (int column = 0; column < depth; column += STEP) {
        wait_at(free(place.slot), place.parity ^ 1);
        bring(place.slot, column, row);
        place.advance();
      }
    }
  }

  __device__ __forceinline__ void bring_inputs(const TensorMap& map) const {
    go_ahead([&](int number) { return find(number).row; },
             [&](int slot, int column, int row) { copy_box(inputs(slot), map, full(slot), column, row); });
  }

  __device__ __forceinline__ void bring_weights(const TensorMap& map) const {
    go_ahead([&](int number) { return find(number).output + rank() * PART; },
             [&](int slot, int column, int row) {
               uint32_t to = weights(slot) + rank() * PART * STEP_BYTES;
               copy_box_to_blocks<SHARE>(to, map, full(slot), column, row);
             });
  }

  __device__ __forceinline__ void leave(int slot) const {
    if (threadIdx.x % 32 != 0) return;
#pragma unroll
    for (int block = 0; block < SHARE; block++) arrive_at_block(free(slot), block);
  }

  // A group's work: the product of a tile, of which `place` is the first step's.
  __device__ __forceinline__ void multiply(Sums& sums, Place<SLOTS> place, int group, int number) const {
    if (number >= clusters()) wait_for_turn(group);
    hold(sums);
    int before = -1;
    for (int step = 0; step < steps(); step++) {
      wait_at(full(place.slot), place.parity);
      uint64_t rows = operand(inputs(place.slot)), columns = operand(weights(place.slot));
      begin_products();
#pragma unroll
      for (int k = 0; k < STEP_BYTES / 32; k++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          uint64_t a = rows + k * 2 + half * (INPUT_BYTES / 2 / 16), b = columns + k * 2;
          if constexpr (E4M3) {
            multiply_group_e4m3(sums[half], a, b, step | k);
          } else {
            multiply_group(sums[half], a, b, step | k);
          }
        }
      }
      commit_products();
      if (threadIdx.x % 128 == 0) arrive_expecting(full(place.slot), SLOT_BYTES);
      // All but these are done: what they read may be overwritten.
      wait_for_products<1>();
      if (before >= 0) leave(before);
      before = place.slot;
      place.advance();
    }
    if (number + clusters() < shares()) give_turn(group);
    wait_for_products<0>();
    hold(sums);
    leave(before);
  }

  __device__ __forceinline__ void end(const Sums& sums, int row, int output) const {
    if (layer.ending == GATED) {
      add_gated<E4M3>(layer, sums, row, output);
    } else if (layer.ending == FEATURES) {
      store_features<false, E4M3>(layer, sums, row, output);
    } else if constexpr (E4M3) {
      store_e4m3(layer, sums, row, output);
    } else if (layer.ending == GELU) {
      store_features<true, E4M3>(layer, sums, row, output);
    } else {
      store_float32(layer, sums, row, output);
    }
  }
};

template <int OUTPUTS, int SLOTS, bool E4M3>
__device__ __forceinline__ void multiply(const TensorMap& inputs, const TensorMap& weights, const Layer& layer) {
  using Block = Block<OUTPUTS, SLOTS, E4M3>;
  extern __shared__ unsigned char memory[];
  __shared__ uint64_t barriers[Block::BARRIERS];
  // The copy engine mixes parts by their addresses, from multiples of 1,024 on.
  Block block{layer, shared_address(barriers), (shared_address(memory) + 1023) & ~1023u};
  if (threadIdx.x == 0) block.start_barriers();
  arrive_in_cluster();
  wait_for_cluster();
  let_next_start();
  // The same for a whole group, which the compiler cannot know.
  int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group == GROUPS) {
    leave_registers<24>();
    int thread = threadIdx.x % 128;
    if (thread == 0) {
      block.bring_weights(weights);
    } else if (thread == 32) {
      wait_for_earlier();
      block.bring_inputs(inputs);
    }
  } else {
    take_registers<240>();
    Place<SLOTS> place;
    typename Block::Sums sums;
    if (group == 1) place.skip(block.steps());
    int first = block.cluster() + group * block.clusters();
    for (int number = first; number < block.shares(); number += GROUPS * block.clusters()) {
      block.multiply(sums, place, group, number);
      place.skip(GROUPS * block.steps());
      wait_for_earlier();
      auto tile = block.find(number);
      block.end(sums, tile.row + first_of_thread(), tile.output);
    }
  }
  // No block goes while another tells its barriers that operands have been used.
  arrive_in_cluster();
  wait_for_cluster();
}

#endif

// Other GPUs never launch these.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define MULTIPLY(width, steps, e4m3, ...)                                                                              \
  multiply<width, steps, e4m3>(                                                                                        \
      rows, weights,                                                                                                   \
      {bias, out, gates, slots, count, inputs, outputs, ending, gate_stride, per_sequence, __VA_ARGS__})
#else
#define MULTIPLY(...)
#endif

#define LINEAR(width, steps)                                                                                           \
  extern "C" __global__ void __launch_bounds__(384, 1) linear_tiles_##width(                                           \
      const __grid_constant__ TensorMap rows, const __grid_constant__ TensorMap weights, const float* bias, void* out, \
      const float* gates, const uint32_t* slots, int count, int inputs, int outputs, int ending, int gate_stride,      \
      int per_sequence) {                                                                                              \
    MULTIPLY(width, steps, false, );                                                                                   \
  }

#define LINEAR_E4M3(width, steps)                                                                                      \
  extern "C" __global__ void __launch_bounds__(384, 1) linear_e4m3_##width(                                            \
      const __grid_constant__ TensorMap rows, const __grid_constant__ TensorMap weights, const float* row_scales,      \
      const float* output_scales, const float* row_norms, const float* largest_norm, float largest_bias,               \
      const float* bias, void* out, const float* gates, const uint32_t* slots, int count, int inputs, int outputs,     \
      int ending, int gate_stride, int per_sequence) {                                                                 \
    MULTIPLY(width, steps, true, row_scales, output_scales, row_norms, largest_norm, largest_bias);                    \
  }

LINEAR(160, 6)
LINEAR(192, 5)
LINEAR_E4M3(160, 6)
