// Convolutions of many pixels on Hopper. Blocks stay, and take one rectangle of 8 rows of 16 pixels after another; two
// groups of warps take turns. The copy engine brings a rectangle with its margin once for all taps, which are windows of
// it. The blocks of a cluster have the same weights, and take turns in having them brought to all. Enlarging ×2 is four
// convolutions of 2×2 of the small picture, one for each place of a pixel.
#include "turns.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int ROWS = 8, COLUMNS = 16, SHARE = 2;

// Bytes of a pixel's step, and of a rectangle with a margin of a pixel, from a multiple of 1,024 on.
constexpr int PIXEL_BYTES = DEPTH * 2;
constexpr int INPUT_BYTES = ((ROWS + 2) * (COLUMNS + 2) * PIXEL_BYTES + 1023) / 1024 * 1024;

// GroupNorm's.
constexpr int CHANNEL_GROUPS = 32;

struct Layer {
  const float* bias;
  const bf16* residual;
  bf16* out;
  // Sums and sums of squares of groups of the results' channels: [images, groups, parts], a part for every rectangle of
  // an image and place of an enlarged pixel. Null where nobody asks.
  float2* sums;
  int first, end;               // rectangles, of those of all images
  int first_image, first_row;   // what the inputs begin with
  int side, channels, outputs;
  int kernel;  // its rows and columns: 3, 1, or 2 where pictures are enlarged
  int packed;  // weights lie in the order they are used in: see convolution_pack.cu
};

// A tap's window of a rectangle, as the tensor cores are told of it.
struct Window {
  uint64_t rows;
  int column = 0;

  __device__ __forceinline__ explicit Window(uint64_t rows) : rows(rows) {}

  __device__ __forceinline__ void advance(int kernel, int pitch) {
    column++;
    bool ends = column == kernel;
    rows += (ends ? pitch + 1 - kernel : 1) * (PIXEL_BYTES / 16);
    if (ends) column = 0;
  }
};

// The results a group of warps makes in a turn.
struct Part {
  int output, image, y, x, phase;
  int index, count;  // of the image's parts
  bool there;        // the last share may be a rectangle too large

  // The cluster's share number `number` of all work, of which its block `rank` does a rectangle.
  __device__ __forceinline__ Part(const Layer& layer, int number, int outputs, int rank) {
    int across = (layer.outputs + outputs - 1) / outputs, phases = layer.kernel == 2 ? 4 : 1;
    int tiles_x = (layer.side + COLUMNS - 1) / COLUMNS, tiles = tiles_x * ((layer.side + ROWS - 1) / ROWS);
    output = number % across * outputs;
    number /= across;
    phase = number % phases;
    number = layer.first + number / phases * SHARE + rank;
    there = number < layer.end;
    x = number % tiles_x * COLUMNS;
    // Boxes below the picture are zeros, and nothing of memory is read for them.
    y = there ? number % tiles / tiles_x * ROWS : layer.side + ROWS;
    image = number / tiles;
    index = number % tiles * phases + phase;
    count = tiles * phases;
  }

  // Where a pixel of the rectangle lies among those of the results; negative outside of the picture.
  __device__ __forceinline__ int pixel(const Layer& layer, int row, int column) const {
    int scale = layer.kernel == 2 ? 2 : 1, side = layer.side * scale;
    if (!there || y + row >= layer.side || x + column >= layer.side) return -1;
    return (image * side + (y + row) * scale + phase / 2) * side + (x + column) * scale + phase % 2;
  }
};

template <int OUTPUTS, int INPUT_SLOTS, int WEIGHT_SLOTS>
struct Block {
  static constexpr int TILES = OUTPUTS / 8, WEIGHT_BYTES = OUTPUTS * DEPTH * 2;
  static constexpr int BARRIERS = 2 * (INPUT_SLOTS + WEIGHT_SLOTS);
  static_assert(WEIGHT_SLOTS % SHARE == 0, "a slot's weights are always brought by the same block");

  const Layer& layer;
  int rank, cluster, clusters, shares, taps, pitch;
  int whole, half, steps;  // steps of 64 channels; whether 32 or fewer are left over; weights of a turn
  uint32_t barriers, inputs, weights;

  __device__ __forceinline__ uint32_t input_full(int slot) const { return barriers + slot * 8; }
  __device__ __forceinline__ uint32_t input_free(int slot) const { return input_full(INPUT_SLOTS + slot); }
  __device__ __forceinline__ uint32_t weight_full(int slot) const { return input_full(2 * INPUT_SLOTS + slot); }
  __device__ __forceinline__ uint32_t weight_free(int slot) const { return weight_full(WEIGHT_SLOTS + slot); }

  __device__ __forceinline__ Block(const Layer& of, uint64_t* barriers, uint32_t memory)
      : layer(of), rank(blockIdx.x % SHARE), cluster(blockIdx.x / SHARE), clusters(gridDim.x / SHARE),
        taps(of.kernel * of.kernel), pitch(COLUMNS + of.kernel - 1), barriers(shared_address(barriers)), inputs(memory),
        weights(memory + INPUT_SLOTS * INPUT_BYTES) {
    int across = (of.outputs + OUTPUTS - 1) / OUTPUTS, phases = of.kernel == 2 ? 4 : 1;
    shares = (of.end - of.first + SHARE - 1) / SHARE * phases * across;
    int left = of.channels % DEPTH;
    half = left > 0 && left <= DEPTH / 2;
    whole = of.channels / DEPTH + (left > DEPTH / 2);
    steps = whole * taps + half * ((taps + 1) / 2);
  }

  __device__ __forceinline__ Part part(int number) const { return Part(layer, number, OUTPUTS, rank); }

  __device__ __forceinline__ void start_barriers() const {
    for (int slot = 0; slot < INPUT_SLOTS; slot++) {
      start_barrier(input_full(slot), 1);
      start_barrier(input_free(slot), 4);
    }
    for (int slot = 0; slot < WEIGHT_SLOTS; slot++) {
      start_barrier(weight_full(slot), 1);
      start_barrier(weight_free(slot), 4 * SHARE);
    }
    show_barriers();
    for (int slot = 0; slot < WEIGHT_SLOTS; slot++) arrive_expecting(weight_full(slot), WEIGHT_BYTES);
  }

  // A warp's work: it goes ahead of the products as far as there are slots. What the results will be added to comes near.
  __device__ __forceinline__ void bring_inputs(const TensorMap& pictures) const {
    Place<INPUT_SLOTS> input;
    int lane = threadIdx.x % 32, bytes = (ROWS + layer.kernel - 1) * pitch * PIXEL_BYTES;
    for (int number = cluster; number < shares; number += clusters) {
      Part part = this->part(number);
      // The kernel's first tap lies one pixel before; for 2×2 that depends on the enlarged pixel's place.
      int x = part.x - (layer.kernel > 1) + part.phase % 2, y = part.y - (layer.kernel > 1) + part.phase / 2;
      for (int step = 0; step < whole + half; step++) {
        wait_at(input_free(input.slot), input.parity ^ 1);
        if (lane == 0) {
          arrive_expecting(input_full(input.slot), bytes);
          copy_box(inputs + input.slot * INPUT_BYTES, pictures, input_full(input.slot), step * DEPTH, x,
                   y - layer.first_row, part.image - layer.first_image);
        }
        input.advance();
      }
      if (layer.residual == nullptr || layer.outputs % 8 != 0) continue;
      for (int i = lane; i < ROWS * COLUMNS; i += 32) {
        int pixel = part.pixel(layer, i / COLUMNS, i % COLUMNS);
        if (pixel < 0) continue;
        bring_near(layer.residual + (size_t)pixel * layer.outputs + part.output, min(OUTPUTS, layer.outputs - part.output) * 2);
      }
    }
  }

  // One thread's. Every SHAREth slot is filled by this block, for all of the cluster; whoever used it before let its
  // barrier expect more.
  __device__ __forceinline__ void bring_weights(const TensorMap& map) const {
    Place<WEIGHT_SLOTS> weight;
    for (int number = cluster; number < shares; number += clusters) {
      Part part = this->part(number);
      for (int step = 0; step < steps; step++) {
        if (weight.slot % SHARE == rank) {
          wait_at(weight_free(weight.slot), weight.parity ^ 1);
          copy_box_to_blocks<SHARE>(weights + weight.slot * WEIGHT_BYTES, map, weight_full(weight.slot),
                                    (layer.packed ? step : step / taps) * DEPTH,
                                    layer.packed ? part.phase : part.phase * taps + step % taps, part.output);
        }
        weight.advance();
      }
    }
  }

  // Starts the products with a slot's weights: 32 channels under one window, and as many under another, if any.
  template <bool BOTH>
  __device__ __forceinline__ void start_products(float (&sums)[2][TILES][4], uint64_t first, uint64_t second, int slot,
                                                 int add) const {
    uint64_t columns = operand(weights + slot * WEIGHT_BYTES);
    begin_products();
#pragma unroll
    for (int k = 0; k < (BOTH ? 4 : 2); k++) {
      uint64_t rows = (k < 2 ? first : second) + k % 2 * 2;
      multiply_group(sums[0], rows, columns + k * 2, add | k);
      // The other eight columns of the rectangle.
      multiply_group(sums[1], rows + 8 * PIXEL_BYTES / 16, columns + k * 2, add | k);
    }
    commit_products();
  }

  // What follows on `start_products`: whatever was used before it is left to be overwritten.
  __device__ __forceinline__ void step_on(Place<WEIGHT_SLOTS>& weight, int& before) const {
    if (threadIdx.x % 128 == 0) arrive_expecting(weight_full(weight.slot), WEIGHT_BYTES);
    wait_for_products<1>();
    if (before >= 0 && threadIdx.x % 32 == 0) arrive_at_block(weight_free(before), before % SHARE);
    before = weight.slot;
    weight.advance();
  }

  // A group's work: all taps of all channels of a rectangle, of which `input` and `weight` are the first slots.
  __device__ __forceinline__ void multiply(float (&sums)[2][TILES][4], Place<INPUT_SLOTS> input, Place<WEIGHT_SLOTS> weight,
                                           int group, int number) const {
    if (number >= clusters) wait_for_turn(group);
    hold(sums);
    int before = -1, input_before = -1;
    for (int step = 0; step < whole + half; step++) {
      wait_at(input_full(input.slot), input.parity);
      Window window(operand(inputs + input.slot * INPUT_BYTES, pitch * PIXEL_BYTES));
      for (int tap = 0; tap < taps;) {
        wait_at(weight_full(weight.slot), weight.parity);
        uint64_t first = window.rows;
        window.advance(layer.kernel, pitch);
        tap++;
        if (step < whole) {
          start_products<true>(sums, first, first + 4, weight.slot, before >= 0);
        } else if (tap < taps) {
          start_products<true>(sums, first, window.rows, weight.slot, before >= 0);
          window.advance(layer.kernel, pitch);
          tap++;
        } else {
          start_products<false>(sums, first, 0, weight.slot, before >= 0);
        }
        step_on(weight, before);
        if (input_before >= 0 && threadIdx.x % 32 == 0) arrive(input_free(input_before));
        input_before = -1;
      }
      input_before = input.slot;
      input.advance();
    }
    if (number + clusters < shares) give_turn(group);
    wait_for_products<0>();
    hold(sums);
    if (threadIdx.x % 32 == 0) {
      arrive_at_block(weight_free(before), before % SHARE);
      arrive(input_free(input_before));
    }
  }
};

// Adds up a tile's columns over the pixels of a warp, and keeps the sums of its eight columns: `kept [8, 2]`. The lane's
// numbers are four pixels' pairs.
__device__ __forceinline__ void keep_sums(const float (&low)[4], const float (&high)[4], float* kept) {
  float2 sum = {0, 0}, squares = {0, 0};
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    sum.x += low[i] + high[i];
    sum.y += low[i + 1] + high[i + 1];
    squares.x += low[i] * low[i] + high[i] * high[i];
    squares.y += low[i + 1] * low[i + 1] + high[i + 1] * high[i + 1];
  }
  int lane = threadIdx.x % 32;
  bool second = lane & 4, squared = lane & 8;
  float x = __shfl_xor_sync(0xffffffffu, second ? sum.x : sum.y, 4);
  float y = __shfl_xor_sync(0xffffffffu, second ? squares.x : squares.y, 4);
  x += second ? sum.y : sum.x;
  y += second ? squares.y : squares.x;
  float both = __shfl_xor_sync(0xffffffffu, squared ? x : y, 8) + (squared ? y : x);
  both += __shfl_xor_sync(0xffffffffu, both, 16);
  if (lane < 16) kept[(lane % 4 * 2 + second) * 2 + squared] = both;
}

// Eight neighbouring outputs of a pixel: added up, rounded, stored. `sums` are four tiles' numbers of this lane, of which
// the pixel's pairs begin at `first`; what was stored takes their place, zeros outside of the picture.
__device__ __forceinline__ void finish_four(const Layer& layer, const float2 (&bias)[4], uint4 before, float (*sums)[4],
                                            int first, int pixel, int output) {
  uint32_t words[4] = {before.x, before.y, before.z, before.w};
  if (layer.residual != nullptr) transpose(words);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    float2 added = unpack(words[k]);
    words[k] = pack(sums[k][first] + bias[k].x + added.x, sums[k][first + 1] + bias[k].y + added.y);
    float2 rounded = unpack(pixel >= 0 ? words[k] : 0);
    sums[k][first] = rounded.x;
    sums[k][first + 1] = rounded.y;
  }
  transpose(words);
  if (pixel >= 0 && output < layer.outputs)
    *reinterpret_cast<uint4*>(layer.out + (size_t)pixel * layer.outputs + output) = {words[0], words[1], words[2], words[3]};
}

// A pair of outputs, one by one; what was stored takes the place of the sums.
__device__ __forceinline__ void finish_pair(const Layer& layer, float* sums, int pixel, int output) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float x = sums[i];
    sums[i] = 0;
    if (pixel < 0 || output + i >= layer.outputs) continue;
    size_t at = (size_t)pixel * layer.outputs + output + i;
    x += layer.bias[output + i];
    bf16 rounded = __float2bfloat16_rn(layer.residual != nullptr ? x + to_float(layer.residual[at]) : x);
    layer.out[at] = rounded;
    sums[i] = to_float(rounded);
  }
}

// Stores a group's results. `kept [4, OUTPUTS, 2]` takes the sums of every warp's columns.
template <int TILES>
__device__ __forceinline__ void finish(const Layer& layer, const Part& part, float (&sums)[2][TILES][4], float* kept) {
  constexpr int FOURS = TILES / 4 * 4;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, quarter = lane % 4;
  kept += warp * TILES * 16;
  // A lane's two pixels in each of the two halves of the rectangle.
  int pixels[2][2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int low = 0; low < 2; low++) pixels[half][low] = part.pixel(layer, warp * 2 + low, half * 8 + lane / 4);
  }
  bool wide = layer.outputs % 8 == 0;
#pragma unroll
  for (int tile = 0; tile < FOURS; tile += 4) {
    if (!wide) break;
    int own = part.output + (tile + quarter) * 8;
    float2 bias[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      int output = part.output + (tile + k) * 8 + quarter * 2;
      bias[k] = output < layer.outputs ? *reinterpret_cast<const float2*>(layer.bias + output) : float2{};
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      uint4 before[2];
#pragma unroll
      for (int low = 0; low < 2; low++) {
        int pixel = pixels[half][low];
        bool there = layer.residual != nullptr && pixel >= 0 && own < layer.outputs;
        before[low] = there ? *reinterpret_cast<const uint4*>(layer.residual + (size_t)pixel * layer.outputs + own) : uint4{};
      }
#pragma unroll
      for (int low = 0; low < 2; low++)
        finish_four(layer, bias, before[low], &sums[half][tile], low * 2, pixels[half][low], own);
    }
    if (layer.sums == nullptr) continue;
#pragma unroll
    for (int k = 0; k < 4; k++) keep_sums(sums[0][tile + k], sums[1][tile + k], kept + (tile + k) * 16);
  }
#pragma unroll
  for (int tile = 0; tile < TILES; tile++) {
    if (tile < FOURS && wide) continue;
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int low = 0; low < 2; low++)
        finish_pair(layer, &sums[half][tile][low * 2], pixels[half][low], part.output + tile * 8 + quarter * 2);
    }
    if (layer.sums != nullptr) keep_sums(sums[0][tile], sums[1][tile], kept + tile * 16);
  }
}

// The sums of groups of channels from those of every warp's columns, eight threads a group. Blocks make whole groups.
template <int OUTPUTS>
__device__ __forceinline__ void add_groups(const Layer& layer, const Part& part, const float2* kept) {
  if (!part.there) return;
  int width = layer.outputs / CHANNEL_GROUPS, first = part.output / width, eighth = threadIdx.x % 8;
  int groups = min(OUTPUTS, layer.outputs - part.output) / width;
  // Whole warps, so that all lanes take part.
  for (int i = threadIdx.x % 128; i < (groups * 8 + 31) / 32 * 32; i += 128) {
    int group = i / 8;
    float2 both = {0, 0};
    for (int j = eighth; group < groups && j < width * 4; j += 8) {
      float2 x = kept[j / width * OUTPUTS + group * width + j % width];
      both.x += x.x;
      both.y += x.y;
    }
#pragma unroll
    for (int lane = 4; lane > 0; lane /= 2) {
      both.x += __shfl_xor_sync(0xffffffffu, both.x, lane);
      both.y += __shfl_xor_sync(0xffffffffu, both.y, lane);
    }
    if (eighth == 0 && group < groups)
      layer.sums[((size_t)part.image * CHANNEL_GROUPS + first + group) * part.count + part.index] = both;
  }
}

template <int OUTPUTS, int INPUT_SLOTS, int WEIGHT_SLOTS>
__device__ __forceinline__ void convolve(const TensorMap& pictures, const TensorMap& weights, const Layer& layer) {
  using Block = Block<OUTPUTS, INPUT_SLOTS, WEIGHT_SLOTS>;
  extern __shared__ unsigned char memory[];
  __shared__ uint64_t barriers[Block::BARRIERS];
  __shared__ float2 kept[GROUPS][4 * OUTPUTS];
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
      block.bring_inputs(pictures);
    }
  } else {
    take_registers<240>();
    Place<INPUT_SLOTS> input;
    Place<WEIGHT_SLOTS> weight;
    float sums[2][Block::TILES][4];
    int pictures_of_turn = block.whole + block.half;
    if (group == 1) {
      input.skip(pictures_of_turn);
      weight.skip(block.steps);
    }
    for (int number = block.cluster + group * block.clusters; number < block.shares; number += GROUPS * block.clusters) {
      block.multiply(sums, input, weight, group, number);
      input.skip(GROUPS * pictures_of_turn);
      weight.skip(GROUPS * block.steps);
      Part part = block.part(number);
      wait_for_earlier();
      // What the turn before kept has been read.
      if (layer.sums != nullptr) meet(group);
      finish(layer, part, sums, reinterpret_cast<float*>(kept[group]));
      if (layer.sums == nullptr) continue;
      meet(group);
      add_groups<OUTPUTS>(layer, part, kept[group]);
    }
  }
  // No block goes while another tells its barriers that weights have been used.
  arrive_in_cluster();
  wait_for_cluster();
}

#endif

// Other GPUs never launch these.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define CONVOLVE(width, input_slots, weight_slots)                                                                     \
  convolve<width, input_slots, weight_slots>(pictures, weights, {bias, residual, out, sums, first, end, first_image,   \
                                                                 first_row, side, channels, outputs, kernel, packed})
#else
#define CONVOLVE(...)
#endif

#define CONVOLUTION(width, input_slots, weight_slots)                                                                  \
  extern "C" __global__ void __launch_bounds__(384, 1) convolution_tiles_##width(                                      \
      const __grid_constant__ TensorMap pictures, const __grid_constant__ TensorMap weights, const float* bias,        \
      const bf16* residual, bf16* out, float2* sums, int first, int end, int first_image, int first_row, int side,     \
      int channels, int outputs, int kernel, int packed) {                                                             \
    CONVOLVE(width, input_slots, weight_slots);                                                                        \
  }

CONVOLUTION(16, 6, 18)
CONVOLUTION(80, 4, 10)
CONVOLUTION(160, 2, 8)
