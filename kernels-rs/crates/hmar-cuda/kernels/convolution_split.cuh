// What a block of a convolution of small pictures does on Hopper. It makes a rectangle of 8 rows of 16 pixels, of a part of
// what is summed. For every column of the kernel the copy engine brings the rectangle and its rows above and below once; the
// kernel's rows are windows of it. Enlarging ×2 is four convolutions of 2×2 of the small picture, one for each place of
// a pixel.
#pragma once

#include "turns.cuh"

// GroupNorm's.
constexpr int CHANNEL_GROUPS = 32;

struct Layer {
  const float* bias;
  const bf16* residual;
  bf16* out;
  // Sums and sums of squares of groups of the results' channels: [images, groups, parts], a part for every block of an
  // image that makes the group. Null where nobody asks.
  float2* sums;
  int images, side, channels, outputs;
  int kernel;  // its rows and columns: 3, 1, or 2 where pictures are enlarged
  int tiles_x, tiles_y;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int ROWS = 8, COLUMNS = 16;
constexpr int ROW_BYTES = COLUMNS * DEPTH * 2;

// Threads that multiply; as many more have the operands brought.
constexpr int THREADS = 128;

// The results a block makes, and its share of what is summed: a unit is a step's channels under a column of the kernel.
struct Part {
  int output, image, y, x, phase;
  int rank, begin, end;  // within the cluster; the units
  int index, count;      // of the image's parts

  // The blocks of a cluster divide what is summed.
  __device__ __forceinline__ Part(const Layer& layer, int outputs, int split) {
    int across = (layer.outputs + outputs - 1) / outputs, phases = layer.kernel == 2 ? 4 : 1;
    int units = (layer.channels + DEPTH - 1) / DEPTH * layer.kernel, tiles = layer.tiles_x * layer.tiles_y;
    int at = blockIdx.x / split;
    rank = blockIdx.x % split;
    begin = rank * units / split;
    end = (rank + 1) * units / split;
    output = at % across * outputs;
    at /= across;
    phase = at % phases;
    at /= phases;
    x = at % layer.tiles_x * COLUMNS;
    y = at % tiles / layer.tiles_x * ROWS;
    image = at / tiles;
    index = (at % tiles * phases + phase) * split + rank;
    count = tiles * phases * split;
  }

  // Where a pixel of the rectangle lies among those of the results; negative outside of the picture.
  __device__ __forceinline__ int pixel(const Layer& layer, int row, int column) const {
    int scale = layer.kernel == 2 ? 2 : 1, side = layer.side * scale;
    if (image >= layer.images || y + row >= layer.side || x + column >= layer.side) return -1;
    return (image * side + (y + row) * scale + phase / 2) * side + (x + column) * scale + phase % 2;
  }

  // Where the block's sums of its group number `group` belong.
  __device__ __forceinline__ float2* sums(const Layer& layer, int group) const {
    int first = output / (layer.outputs / CHANNEL_GROUPS);
    return layer.sums + ((size_t)image * CHANNEL_GROUPS + first + group) * count + index;
  }
};

template <int OUTPUTS, int INPUT_SLOTS, int WEIGHT_SLOTS>
struct Block {
  static constexpr int TILES = OUTPUTS / 8;
  static constexpr int INPUT_BYTES = (ROWS + 2) * ROW_BYTES, WEIGHT_BYTES = OUTPUTS * DEPTH * 2;
  static constexpr int BARRIERS = 2 * (INPUT_SLOTS + WEIGHT_SLOTS);

  const Layer& layer;
  Part part;
  uint32_t barriers, inputs, kernels;
  float sums[2][TILES][4];

  __device__ __forceinline__ uint32_t input_full(int slot) const { return barriers + slot * 8; }
  __device__ __forceinline__ uint32_t input_empty(int slot) const { return input_full(INPUT_SLOTS + slot); }
  __device__ __forceinline__ uint32_t weight_full(int slot) const { return input_full(2 * INPUT_SLOTS + slot); }
  __device__ __forceinline__ uint32_t weight_empty(int slot) const { return weight_full(WEIGHT_SLOTS + slot); }

  __device__ __forceinline__ Block(const Layer& of, int split, uint64_t* barriers, uint32_t memory)
      : layer(of), part(of, OUTPUTS, split), barriers(shared_address(barriers)), inputs(memory),
        kernels(memory + INPUT_SLOTS * INPUT_BYTES) {}

  __device__ __forceinline__ void start_barriers() const {
    for (int slot = 0; slot < INPUT_SLOTS; slot++) {
      start_barrier(input_full(slot), 1);
      start_barrier(input_empty(slot), 4);
    }
    for (int slot = 0; slot < WEIGHT_SLOTS; slot++) {
      start_barrier(weight_full(slot), 1);
      start_barrier(weight_empty(slot), 4);
    }
    show_barriers();
  }

  // One thread's work: it goes ahead of the products as far as there are slots.
  __device__ __forceinline__ void bring_inputs(const TensorMap& pictures) const {
    Place<INPUT_SLOTS> input;
    // Where the kernel's first tap lies: one pixel before; for 2×2 that depends on the enlarged pixel's place.
    int kernel = layer.kernel, before = kernel > 1 ? -1 : 0;
    int first_y = part.y + before + part.phase / 2, first_x = part.x + before + part.phase % 2;
    for (int unit = part.begin; unit < part.end; unit++) {
      wait_at(input_empty(input.slot), input.parity ^ 1);
      arrive_expecting(input_full(input.slot), (ROWS + kernel - 1) * ROW_BYTES);
      copy_box(inputs + input.slot * INPUT_BYTES, pictures, input_full(input.slot), unit / kernel * DEPTH,
               first_x + unit % kernel, first_y, part.image);
      input.advance();
    }
  }

  // Calls `use(channel, tap)` for every step's weights.
  template <typename Use>
  __device__ __forceinline__ void each_step(Use use) const {
    int kernel = layer.kernel;
    for (int unit = part.begin; unit < part.end; unit++)
      for (int dy = 0; dy < kernel; dy++) use(unit / kernel * DEPTH, part.phase * 4 + dy * kernel + unit % kernel);
  }

  // Another thread's. It does not wait for earlier kernels; what there are no slots for yet comes near.
  __device__ __forceinline__ void bring_weights(const TensorMap& weights) const {
    Place<WEIGHT_SLOTS> weight;
    auto bring = [&](int channel, int tap) {
      uint32_t slot = kernels + weight.slot * WEIGHT_BYTES, full = weight_full(weight.slot);
      wait_at(weight_empty(weight.slot), weight.parity ^ 1);
      arrive_expecting(full, WEIGHT_BYTES);
      copy_box(slot, weights, full, channel, tap, part.output);
      weight.advance();
    };
    int step = 0;
    each_step([&](int channel, int tap) {
      if (step++ >= WEIGHT_SLOTS) bring_box_near(weights, channel, tap, part.output);
    });
    each_step(bring);
  }

  // Starts the products of a step of so many times 16 channels.
  template <int COUNT>
  __device__ __forceinline__ void multiply_step(uint64_t rows, uint64_t columns, int add) {
    begin_products();
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
      multiply_group(sums[0], rows + k * 2, columns + k * 2, add | k);
      multiply_group(sums[1], rows + k * 2 + 4 * ROW_BYTES / 16, columns + k * 2, add | k);
    }
    commit_products();
  }

  __device__ __forceinline__ void multiply() {
    Place<INPUT_SLOTS> input;
    Place<WEIGHT_SLOTS> weight;
    int kernel = layer.kernel, lane = threadIdx.x % 32;
    int add = 0, last_input = 0, last_weight = 0;
    for (int unit = part.begin; unit < part.end; unit++) {
      wait_at(input_full(input.slot), input.parity);
      for (int dy = 0; dy < kernel; dy++) {
        wait_at(weight_full(weight.slot), weight.parity);
        uint64_t rows = operand(inputs + input.slot * INPUT_BYTES + dy * ROW_BYTES);
        uint64_t columns = operand(kernels + weight.slot * WEIGHT_BYTES);
        if (layer.channels - unit / kernel * DEPTH > DEPTH / 2) {
          multiply_step<DEPTH / 16>(rows, columns, add);
        } else {
          multiply_step<DEPTH / 32>(rows, columns, add);
        }
        // All but these are done: what they read may be overwritten.
        wait_for_products<1>();
        if (add && lane == 0) {
          arrive(weight_empty(last_weight));
          if (dy == 0) arrive(input_empty(last_input));
        }
        add = 1;
        last_weight = weight.slot;
        weight.advance();
      }
      last_input = input.slot;
      input.advance();
    }
    wait_for_products<0>();
  }

  // Groups of channels that the block makes, where sums of groups are asked for: it makes whole ones then.
  __device__ __forceinline__ int channel_groups() const {
    return min(OUTPUTS, layer.outputs - part.output) / (layer.outputs / CHANNEL_GROUPS);
  }
};

#endif
