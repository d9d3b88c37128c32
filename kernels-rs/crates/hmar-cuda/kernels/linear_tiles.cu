// Products of many rows on Hopper, with the endings of linear layers. Blocks stay, and take one tile of 128 rows after
// another; two groups of warps take turns. The blocks of a cluster have the same weights, and take turns in having them
// brought to all.
#include "turns.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int ROWS = 128, SHARE = 2;
constexpr int INPUT_BYTES = ROWS * DEPTH * 2;

enum Ending { FEATURES, GELU, FLOAT32, GATED };

struct Layer {
  const float* bias;
  void* out;  // bfloat16, or float32 where it is added to or asked for
  const float* gates;
  const uint32_t* slots;  // of every sequence of rows, among the gates
  int rows, inputs, outputs, ending, gate_stride, per_sequence;
};

// OUTPUTS results a row, SLOTS steps ahead.
template <int OUTPUTS, int SLOTS>
struct Block {
  static constexpr int TILES = OUTPUTS / 8, WEIGHT_BYTES = OUTPUTS * DEPTH * 2;
  static constexpr int SLOT_BYTES = INPUT_BYTES + WEIGHT_BYTES, BARRIERS = 3 * SLOTS;
  static_assert(SLOTS % SHARE == 0, "a slot's weights are always brought by the same block");

  const Layer& layer;
  int rank, cluster, clusters, across, shares, steps;
  uint32_t barriers, memory;

  __device__ __forceinline__ uint32_t full(int slot) const { return barriers + slot * 8; }
  __device__ __forceinline__ uint32_t inputs_free(int slot) const { return full(SLOTS + slot); }
  __device__ __forceinline__ uint32_t weights_free(int slot) const { return full(2 * SLOTS + slot); }
  __device__ __forceinline__ uint32_t inputs(int slot) const { return memory + slot * SLOT_BYTES; }
  __device__ __forceinline__ uint32_t weights(int slot) const { return inputs(slot) + INPUT_BYTES; }

  __device__ __forceinline__ Block(const Layer& of, uint64_t* barriers, uint32_t memory)
      : layer(of), rank(blockIdx.x % SHARE), cluster(blockIdx.x / SHARE), clusters(gridDim.x / SHARE),
        across((of.outputs + OUTPUTS - 1) / OUTPUTS), steps((of.inputs + DEPTH - 1) / DEPTH),
        barriers(shared_address(barriers)), memory(memory) {
    shares = (of.rows + ROWS * SHARE - 1) / (ROWS * SHARE) * across;
  }

  // Of the cluster's share number `number` of all work, what this block does.
  __device__ __forceinline__ int first_row(int number) const { return (number / across * SHARE + rank) * ROWS; }
  __device__ __forceinline__ int first_output(int number) const { return number % across * OUTPUTS; }

  __device__ __forceinline__ void start_barriers() const {
    for (int slot = 0; slot < SLOTS; slot++) {
      start_barrier(full(slot), 1);
      start_barrier(inputs_free(slot), 4);
      start_barrier(weights_free(slot), 4 * SHARE);
    }
    show_barriers();
    for (int slot = 0; slot < SLOTS; slot++) arrive_expecting(full(slot), SLOT_BYTES);
  }

  // A warp's work: it goes ahead of the products as far as there are slots. What the rows will be added to comes near.
  __device__ __forceinline__ void bring_inputs(const TensorMap& map) const {
    Place<SLOTS> place;
    int lane = threadIdx.x % 32;
    for (int number = cluster; number < shares; number += clusters) {
      int row = first_row(number), output = first_output(number);
      if (layer.ending == GATED) {
        int bytes = min(OUTPUTS, layer.outputs - output) * 4;
        for (int i = row + lane; i < min(row + ROWS, layer.rows); i += 32)
          bring_near(static_cast<float*>(layer.out) + (size_t)i * layer.outputs + output, bytes);
      }
      for (int step = 0; step < steps; step++) {
        wait_at(inputs_free(place.slot), place.parity ^ 1);
        if (lane == 0) copy_box(inputs(place.slot), map, full(place.slot), step * DEPTH, row);
        place.advance();
      }
    }
  }

  // One thread's. Every SHAREth slot is filled by this block, for all of the cluster; whoever used it before let its
  // barrier expect more.
  __device__ __forceinline__ void bring_weights(const TensorMap& map) const {
    Place<SLOTS> place;
    for (int number = cluster; number < shares; number += clusters) {
      for (int step = 0; step < steps; step++) {
        if (place.slot % SHARE == rank) {
          wait_at(weights_free(place.slot), place.parity ^ 1);
          copy_box_to_blocks<SHARE>(weights(place.slot), map, full(place.slot), step * DEPTH, first_output(number));
        }
        place.advance();
      }
    }
  }

  __device__ __forceinline__ void leave(int slot) const {
    if (threadIdx.x % 32 != 0) return;
    arrive(inputs_free(slot));
    arrive_at_block(weights_free(slot), slot % SHARE);
  }

  // A group's work: the product of a tile, of which `place` is the first step's.
  __device__ __forceinline__ void multiply(float (&sums)[2][TILES][4], Place<SLOTS> place, int group, int number) const {
    if (number >= clusters) wait_for_turn(group);
    hold(sums);
    int before = -1;
    for (int step = 0; step < steps; step++) {
      wait_at(full(place.slot), place.parity);
      uint64_t rows = operand(inputs(place.slot)), columns = operand(weights(place.slot));
      begin_products();
#pragma unroll
      for (int k = 0; k < DEPTH / 16; k++) {
        multiply_group(sums[0], rows + k * 2, columns + k * 2, step | k);
        multiply_group(sums[1], rows + k * 2 + INPUT_BYTES / 2 / 16, columns + k * 2, step | k);
      }
      commit_products();
      if (threadIdx.x % 128 == 0) arrive_expecting(full(place.slot), SLOT_BYTES);
      // All but these are done: what they read may be overwritten.
      wait_for_products<1>();
      if (before >= 0) leave(before);
      before = place.slot;
      place.advance();
    }
    if (number + clusters < shares) give_turn(group);
    wait_for_products<0>();
    hold(sums);
    leave(before);
  }
};

// GELU in its tanh form: 1 + tanh(u) = 2 / (1 + exp(−2u)).
__device__ __forceinline__ float gelu(float x) {
  return __fdividef(x, 1.0f + __expf(x * (-1.5957691216f - 0.0713548162726f * x * x)));
}

// The rows of a thread: four, of which the first is this one of the tile.
__device__ __forceinline__ int first_of_thread() { return threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4; }
__device__ __forceinline__ constexpr int distance(int part) { return part / 2 * 64 + part % 2 * 8; }

// Ends a tile in bfloat16, 16 bytes a lane.
template <int TILES>
__device__ __forceinline__ void store_features(const Layer& layer, float (&sums)[2][TILES][4], int row, int output) {
  static_assert(TILES % 4 == 0, "tiles are stored in fours");
  int quarter = threadIdx.x % 4;
  bf16* out = static_cast<bf16*>(layer.out) + (size_t)row * layer.outputs;
#pragma unroll
  for (int tile = 0; tile < TILES; tile += 4) {
    float2 bias[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      int column = output + (tile + k) * 8 + quarter * 2;
      bias[k] = column < layer.outputs ? *reinterpret_cast<const float2*>(layer.bias + column) : float2{};
    }
    int own = output + (tile + quarter) * 8;
#pragma unroll
    for (int part = 0; part < 4; part++) {
      uint32_t words[4];
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const float* pair = &sums[part / 2][tile + k][part % 2 * 2];
        float x = pair[0] + bias[k].x, y = pair[1] + bias[k].y;
        if (layer.ending == GELU) x = gelu(x), y = gelu(y);
        words[k] = pack(x, y);
      }
      transpose(words);
      if (row + distance(part) < layer.rows && own < layer.outputs)
        *reinterpret_cast<uint4*>(out + (size_t)distance(part) * layer.outputs + own) = {words[0], words[1], words[2], words[3]};
    }
  }
}

// Ends a tile in float32.
template <int TILES>
__device__ __forceinline__ void store_float32(const Layer& layer, float (&sums)[2][TILES][4], int row, int output) {
  output += threadIdx.x % 4 * 2;
  float* out = static_cast<float*>(layer.out) + (size_t)row * layer.outputs + output;
#pragma unroll
  for (int tile = 0; tile < TILES; tile++) {
    if (output + tile * 8 >= layer.outputs) break;
    float2 bias = *reinterpret_cast<const float2*>(layer.bias + output + tile * 8);
#pragma unroll
    for (int part = 0; part < 4; part++) {
      const float* pair = &sums[part / 2][tile][part % 2 * 2];
      if (row + distance(part) < layer.rows)
        *reinterpret_cast<float2*>(out + (size_t)distance(part) * layer.outputs + tile * 8) = {pair[0] + bias.x, pair[1] + bias.y};
    }
  }
}

// Adds a tile, gated, to what is there.
template <int TILES>
__device__ __forceinline__ void add_gated(const Layer& layer, float (&sums)[2][TILES][4], int row, int output) {
  // So many columns of eight at once, which the registers leave room for.
  constexpr int TOGETHER = TILES > 20 ? 1 : 2;
  output += threadIdx.x % 4 * 2;
  float* out = static_cast<float*>(layer.out) + (size_t)row * layer.outputs + output;
  int gates[4];
#pragma unroll
  for (int part = 0; part < 4; part++) {
    int at = min(row + distance(part), layer.rows - 1);
    gates[part] = layer.slots[at / layer.per_sequence] * layer.gate_stride + output;
  }
#pragma unroll
  for (int tile = 0; tile < TILES; tile += TOGETHER) {
    float2 before[TOGETHER][4], gate[TOGETHER][4];
#pragma unroll
    for (int k = 0; k < TOGETHER; k++) {
#pragma unroll
      for (int part = 0; part < 4; part++) {
        int column = (tile + k) * 8;
        bool there = output + column < layer.outputs && row + distance(part) < layer.rows;
        before[k][part] = there ? *reinterpret_cast<const float2*>(out + (size_t)distance(part) * layer.outputs + column) : float2{};
        gate[k][part] = there ? *reinterpret_cast<const float2*>(layer.gates + gates[part] + column) : float2{};
      }
    }
#pragma unroll
    for (int k = 0; k < TOGETHER; k++) {
      int column = (tile + k) * 8;
      if (output + column >= layer.outputs) break;
      float2 bias = *reinterpret_cast<const float2*>(layer.bias + output + column);
#pragma unroll
      for (int part = 0; part < 4; part++) {
        const float* pair = &sums[part / 2][tile + k][part % 2 * 2];
        float2 x = before[k][part], factor = gate[k][part];
        if (row + distance(part) < layer.rows)
          *reinterpret_cast<float2*>(out + (size_t)distance(part) * layer.outputs + column) = {
              x.x + factor.x * (pair[0] + bias.x), x.y + factor.y * (pair[1] + bias.y)};
      }
    }
  }
}

template <int OUTPUTS, int SLOTS>
__device__ __forceinline__ void multiply(const TensorMap& inputs, const TensorMap& weights, const Layer& layer) {
  using Block = Block<OUTPUTS, SLOTS>;
  extern __shared__ unsigned char memory[];
  __shared__ uint64_t barriers[Block::BARRIERS];
  // The copy engine mixes parts by their addresses, from multiples of 1,024 on.
  Block block(layer, barriers, (shared_address(memory) + 1023) & ~1023u);
  if (threadIdx.x == 0) block.start_barriers();
  arrive_in_cluster();
  wait_for_cluster();
  let_next_start();
  // The same for a whole group, which the compiler cannot know.
  int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group == GROUPS) {
    leave_registers<24>();
    int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32 % 4, 0);
    if (warp == 0) {
      if (threadIdx.x % 32 == 0) block.bring_weights(weights);
    } else if (warp == 1) {
      wait_for_earlier();
      block.bring_inputs(inputs);
    }
  } else {
    take_registers<240>();
    Place<SLOTS> place;
    float sums[2][Block::TILES][4];
    if (group == 1) place.skip(block.steps);
    for (int number = block.cluster + group * block.clusters; number < block.shares; number += GROUPS * block.clusters) {
      block.multiply(sums, place, group, number);
      place.skip(GROUPS * block.steps);
      wait_for_earlier();
      int row = block.first_row(number) + first_of_thread(), output = block.first_output(number);
      if (layer.ending == GATED) {
        add_gated(layer, sums, row, output);
      } else if (layer.ending == FLOAT32) {
        store_float32(layer, sums, row, output);
      } else {
        store_features(layer, sums, row, output);
      }
    }
  }
  // No block goes while another tells its barriers that weights have been used.
  arrive_in_cluster();
  wait_for_cluster();
}

#endif

// Other GPUs never launch these.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define MULTIPLY(width, steps)                                                                                         \
  multiply<width, steps>(rows, weights, {bias, out, gates, slots, count, inputs, outputs, ending, gate_stride, per_sequence})
#else
#define MULTIPLY(...)
#endif

#define LINEAR(width, steps)                                                                                           \
  extern "C" __global__ void __launch_bounds__(384, 1) linear_tiles_##width(                                           \
      const __grid_constant__ TensorMap rows, const __grid_constant__ TensorMap weights, const float* bias, void* out, \
      const float* gates, const uint32_t* slots, int count, int inputs, int outputs, int ending, int gate_stride,      \
      int per_sequence) {                                                                                              \
    MULTIPLY(width, steps);                                                                                            \
  }

LINEAR(160, 6)
LINEAR(192, 4)
