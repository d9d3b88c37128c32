// Convolutions of large channels-last pictures in bfloat16 on Hopper. A block makes a rectangle of pixels 16 wide. For
// every column of the kernel the copy engine brings the rectangle and its rows above and below once; the kernel's rows
// are windows of it. Enlarging ×2 is four convolutions of 2×2 of the small picture, one for each place of a pixel.
#include "warpgroup.cuh"

struct Layer {
  const float* bias;
  const bf16* residual;
  bf16* out;
  int side, channels, outputs;
  int kernel;   // its rows and columns: 3, 1, or 2 where pictures are enlarged
  int tiles_x, tiles_y;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Channels of a step: 128 bytes.
constexpr int DEPTH = 64;
constexpr int COLUMNS = 16;
constexpr int ROW_BYTES = COLUMNS * DEPTH * 2;

// A place in a ring of slots, and the parity of its turn.
template <int SLOTS>
struct Turn {
  int slot = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++slot == SLOTS) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// Word k of a lane goes to lane k of its four, as that lane's word of the giver's number.
__device__ __forceinline__ void transpose(uint32_t (&words)[4]) {
  bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
  uint32_t x = __shfl_xor_sync(0xffffffffu, odd ? words[0] : words[1], 1);
  uint32_t y = __shfl_xor_sync(0xffffffffu, odd ? words[2] : words[3], 1);
  (odd ? words[0] : words[1]) = x;
  (odd ? words[2] : words[3]) = y;
  x = __shfl_xor_sync(0xffffffffu, high ? words[0] : words[2], 2);
  y = __shfl_xor_sync(0xffffffffu, high ? words[1] : words[3], 2);
  (high ? words[0] : words[2]) = x;
  (high ? words[1] : words[3]) = y;
}

__device__ __forceinline__ float2 unpack(uint32_t both) {
  return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(both));
}

// Which part of the results a block makes.
struct Part {
  int output, image, y, x, phase;
};

// Eight neighbouring outputs of a pixel: added up, rounded, stored. `sums` are four tiles' pairs of this lane.
__device__ __forceinline__ void finish_four(const Layer& layer, const float2 (&bias)[4], const float (&sums)[4][2],
                                            size_t at, bool there) {
  uint32_t words[4] = {};
  if (layer.residual != nullptr) {
    uint4 before = there ? *reinterpret_cast<const uint4*>(layer.residual + at) : uint4{};
    words[0] = before.x, words[1] = before.y, words[2] = before.z, words[3] = before.w;
    transpose(words);
  }
#pragma unroll
  for (int k = 0; k < 4; k++) {
    float2 before = unpack(words[k]);
    words[k] = pack(sums[k][0] + bias[k].x + before.x, sums[k][1] + bias[k].y + before.y);
  }
  transpose(words);
  if (there) *reinterpret_cast<uint4*>(layer.out + at) = {words[0], words[1], words[2], words[3]};
}

// A pair of outputs, one by one.
__device__ __forceinline__ void finish_pair(const Layer& layer, const float (&sums)[2], size_t pixel, int output) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    if (output + i >= layer.outputs) return;
    size_t at = pixel * layer.outputs + output + i;
    float x = sums[i] + layer.bias[output + i];
    layer.out[at] = __float2bfloat16_rn(layer.residual != nullptr ? x + to_float(layer.residual[at]) : x);
  }
}

// GROUPS groups of four warps multiply, 8 rows of 16 pixels each; one group more has the operands brought.
template <int GROUPS, int OUTPUTS, int INPUT_SLOTS, int WEIGHT_SLOTS>
struct Block {
  static constexpr int ROWS = GROUPS * 8, TILES = OUTPUTS / 8, FOURS = TILES / 4 * 4;
  static constexpr int INPUT_BYTES = (ROWS + 2) * ROW_BYTES, WEIGHT_BYTES = OUTPUTS * DEPTH * 2;

  const Layer& layer;
  uint32_t barriers, inputs, kernels;
  Part part;
  float sums[2][TILES][4];

  __device__ __forceinline__ uint32_t input_full(int slot) const { return barriers + slot * 8; }
  __device__ __forceinline__ uint32_t input_empty(int slot) const { return input_full(INPUT_SLOTS + slot); }
  __device__ __forceinline__ uint32_t weight_full(int slot) const { return input_full(2 * INPUT_SLOTS + slot); }
  __device__ __forceinline__ uint32_t weight_empty(int slot) const { return weight_full(WEIGHT_SLOTS + slot); }

  __device__ __forceinline__ Block(const Layer& of, uint32_t barriers, uint32_t memory)
      : layer(of), barriers(barriers), inputs(memory), kernels(memory + INPUT_SLOTS * INPUT_BYTES) {
    int at = blockIdx.x, across = (layer.outputs + OUTPUTS - 1) / OUTPUTS, phases = layer.kernel == 2 ? 4 : 1;
    part.output = at % across * OUTPUTS;
    at /= across;
    part.phase = at % phases;
    at /= phases;
    part.x = at % layer.tiles_x * COLUMNS;
    at /= layer.tiles_x;
    part.y = at % layer.tiles_y * ROWS;
    part.image = at / layer.tiles_y;
  }

  __device__ __forceinline__ void start_barriers() const {
    for (int slot = 0; slot < INPUT_SLOTS; slot++) {
      start_barrier(input_full(slot), 1);
      start_barrier(input_empty(slot), GROUPS * 4);
    }
    for (int slot = 0; slot < WEIGHT_SLOTS; slot++) {
      start_barrier(weight_full(slot), 1);
      start_barrier(weight_empty(slot), GROUPS * 4);
    }
    show_barriers();
  }

  // One thread's work: it goes ahead of the products as far as there are slots.
  __device__ __forceinline__ void bring(const TensorMap& pictures, const TensorMap& weights) const {
    Turn<INPUT_SLOTS> input;
    Turn<WEIGHT_SLOTS> weight;
    // Where the kernel's first tap lies: one pixel before; for 2×2 that depends on the enlarged pixel's place.
    int kernel = layer.kernel, before = kernel > 1 ? -1 : 0;
    int first_y = part.y + before + part.phase / 2, first_x = part.x + before + part.phase % 2;
    for (int channel = 0; channel < layer.channels; channel += DEPTH) {
      for (int dx = 0; dx < kernel; dx++) {
        wait_at(input_empty(input.slot), input.parity ^ 1);
        arrive_expecting(input_full(input.slot), (ROWS + kernel - 1) * ROW_BYTES);
        copy_box(inputs + input.slot * INPUT_BYTES, pictures, input_full(input.slot), channel, first_x + dx, first_y,
                 part.image);
        input.advance();
        for (int dy = 0; dy < kernel; dy++) {
          wait_at(weight_empty(weight.slot), weight.parity ^ 1);
          arrive_expecting(weight_full(weight.slot), WEIGHT_BYTES);
          copy_box(kernels + weight.slot * WEIGHT_BYTES, weights, weight_full(weight.slot), channel,
                   part.phase * 4 + dy * kernel + dx, part.output);
          weight.advance();
        }
      }
    }
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

  __device__ __forceinline__ void multiply(int group) {
    Turn<INPUT_SLOTS> input;
    Turn<WEIGHT_SLOTS> weight;
    int kernel = layer.kernel, lane = threadIdx.x % 32;
    int add = 0, last_input = 0, last_weight = 0;
    for (int channel = 0; channel < layer.channels; channel += DEPTH) {
      for (int dx = 0; dx < kernel; dx++) {
        wait_at(input_full(input.slot), input.parity);
        for (int dy = 0; dy < kernel; dy++) {
          wait_at(weight_full(weight.slot), weight.parity);
          uint64_t rows = operand(inputs + input.slot * INPUT_BYTES + (group * 8 + dy) * ROW_BYTES);
          uint64_t columns = operand(kernels + weight.slot * WEIGHT_BYTES);
          if (layer.channels - channel > DEPTH / 2) {
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
    }
    wait_for_products<0>();
  }

  __device__ __forceinline__ void finish(int group) const {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, quarter = lane % 4;
    int scale = layer.kernel == 2 ? 2 : 1, out_side = layer.side * scale;
    // A lane's two pixels in each of the two halves of its group's.
    int pixels[2][2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int low = 0; low < 2; low++) {
        int y = part.y + group * 8 + half * 4 + warp, x = part.x + low * 8 + lane / 4;
        bool there = y < layer.side && x < layer.side;
        y = y * scale + part.phase / 2;
        x = x * scale + part.phase % 2;
        pixels[half][low] = there ? (part.image * out_side + y) * out_side + x : -1;
      }
    }
    bool wide = layer.outputs % 8 == 0;
#pragma unroll
    for (int tile = 0; tile < FOURS; tile += 4) {
      if (!wide) break;
      float2 bias[4];
#pragma unroll
      for (int k = 0; k < 4; k++) {
        int output = part.output + (tile + k) * 8 + quarter * 2;
        bias[k] = output < layer.outputs ? *reinterpret_cast<const float2*>(layer.bias + output) : float2{};
      }
      int output = part.output + (tile + quarter) * 8;
#pragma unroll
      for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int low = 0; low < 2; low++) {
          float four[4][2];
#pragma unroll
          for (int k = 0; k < 4; k++) {
            four[k][0] = sums[half][tile + k][low * 2];
            four[k][1] = sums[half][tile + k][low * 2 + 1];
          }
          int pixel = pixels[half][low];
          finish_four(layer, bias, four, (size_t)pixel * layer.outputs + output, pixel >= 0 && output < layer.outputs);
        }
      }
    }
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
      if (tile < FOURS && wide) continue;
#pragma unroll
      for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int low = 0; low < 2; low++) {
          float pair[2] = {sums[half][tile][low * 2], sums[half][tile][low * 2 + 1]};
          if (pixels[half][low] >= 0)
            finish_pair(layer, pair, pixels[half][low], part.output + tile * 8 + quarter * 2);
        }
      }
    }
  }
};

template <int GROUPS, int OUTPUTS, int INPUT_SLOTS, int WEIGHT_SLOTS, int BLOCKS>
__device__ __forceinline__ void convolve(const TensorMap& pictures, const TensorMap& weights, const Layer& layer) {
  extern __shared__ unsigned char memory[];
  __shared__ uint64_t barriers[2 * (INPUT_SLOTS + WEIGHT_SLOTS)];
  // The copy engine mixes parts by their addresses, from multiples of 1,024 on.
  uint32_t start = (shared_address(memory) + 1023) & ~1023u;
  Block<GROUPS, OUTPUTS, INPUT_SLOTS, WEIGHT_SLOTS> block(layer, shared_address(barriers), start);
  if (threadIdx.x == 0) block.start_barriers();
  __syncthreads();
  let_next_start();
  // The same for a whole group, which the compiler cannot know.
  int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group == GROUPS) {
    leave_registers<40>();
    if (threadIdx.x == GROUPS * 128) {
      wait_for_earlier();
      block.bring(pictures, weights);
    }
  } else {
    // What the blocks of a multiprocessor begin with, less what the others of theirs left.
    take_registers<BLOCKS == 1 ? 232 : BLOCKS == 2 ? 208 : 88>();
    block.multiply(group);
    wait_for_earlier();
    block.finish(group);
  }
}

#endif

// `blocks` are meant to share a multiprocessor. Other GPUs never launch these.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define CONVOLVE(groups, outputs, input_slots, weight_slots, blocks)                                                  \
  convolve<groups, outputs, input_slots, weight_slots, blocks>(                                                       \
      pictures, weights, {bias, residual, out, side, channels, output_count, kernel, tiles_x, tiles_y})
#else
#define CONVOLVE(...)
#endif

#define CONVOLUTION(groups, outputs, input_slots, weight_slots, blocks)                                               \
  extern "C" __global__ void __launch_bounds__(groups * 128 + 128, blocks) convolution_boxes_##outputs##x##groups(    \
      const __grid_constant__ TensorMap pictures, const __grid_constant__ TensorMap weights, const float* bias,       \
      const bf16* residual, bf16* out, int side, int channels, int output_count, int kernel, int tiles_x,             \
      int tiles_y) {                                                                                                  \
    CONVOLVE(groups, outputs, input_slots, weight_slots, blocks);                                                     \
  }

CONVOLUTION(1, 16, 2, 6, 4)
CONVOLUTION(1, 80, 2, 6, 2)
CONVOLUTION(1, 160, 2, 3, 2)
CONVOLUTION(2, 160, 2, 6, 1)
