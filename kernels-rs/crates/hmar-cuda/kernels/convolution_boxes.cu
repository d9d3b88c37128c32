// Convolutions of large pictures on Hopper: two blocks of a cluster make neighbouring rectangles with the same weights.
#include "convolution_boxes.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int SHARE = 2;

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
__device__ __forceinline__ void finish_four(const Layer& layer, const float2 (&bias)[4], float (*sums)[4], int first,
                                            int pixel, int output) {
  bool there = pixel >= 0 && output < layer.outputs;
  size_t at = (size_t)pixel * layer.outputs + output;
  uint32_t words[4] = {};
  if (layer.residual != nullptr) {
    uint4 before = there ? *reinterpret_cast<const uint4*>(layer.residual + at) : uint4{};
    words[0] = before.x, words[1] = before.y, words[2] = before.z, words[3] = before.w;
    transpose(words);
  }
#pragma unroll
  for (int k = 0; k < 4; k++) {
    float2 before = unpack(words[k]);
    words[k] = pack(sums[k][first] + bias[k].x + before.x, sums[k][first + 1] + bias[k].y + before.y);
    float2 rounded = unpack(pixel >= 0 ? words[k] : 0);
    sums[k][first] = rounded.x;
    sums[k][first + 1] = rounded.y;
  }
  transpose(words);
  if (there) *reinterpret_cast<uint4*>(layer.out + at) = {words[0], words[1], words[2], words[3]};
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

// Stores a group's results. `kept [groups · 4, OUTPUTS, 2]` takes the sums of every warp's columns.
template <typename Block>
__device__ __forceinline__ void finish(Block& block, int group, float* kept) {
  constexpr int TILES = Block::TILES, FOURS = TILES / 4 * 4;
  const Layer& layer = block.layer;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, quarter = lane % 4;
  kept += (group * 4 + warp) * TILES * 16;
  // A lane's two pixels in each of the two halves of its group's.
  int pixels[2][2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int low = 0; low < 2; low++)
      pixels[half][low] = block.part.pixel(layer, group * 8 + half * 4 + warp, low * 8 + lane / 4);
  }
  bool wide = layer.outputs % 8 == 0;
#pragma unroll
  for (int tile = 0; tile < FOURS; tile += 4) {
    if (!wide) break;
    float2 bias[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      int output = block.part.output + (tile + k) * 8 + quarter * 2;
      bias[k] = output < layer.outputs ? *reinterpret_cast<const float2*>(layer.bias + output) : float2{};
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int low = 0; low < 2; low++)
        finish_four(layer, bias, &block.sums[half][tile], low * 2, pixels[half][low],
                    block.part.output + (tile + quarter) * 8);
    }
    if (layer.sums == nullptr) continue;
#pragma unroll
    for (int k = 0; k < 4; k++)
      keep_sums(block.sums[0][tile + k], block.sums[1][tile + k], kept + (tile + k) * 16);
  }
#pragma unroll
  for (int tile = 0; tile < TILES; tile++) {
    if (tile < FOURS && wide) continue;
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int low = 0; low < 2; low++)
        finish_pair(layer, &block.sums[half][tile][low * 2], pixels[half][low],
                    block.part.output + tile * 8 + quarter * 2);
    }
    if (layer.sums != nullptr) keep_sums(block.sums[0][tile], block.sums[1][tile], kept + tile * 16);
  }
}

// The sums of groups of channels from those of every warp's columns, eight threads a group.
template <typename Block>
__device__ __forceinline__ void add_groups(const Block& block, const float2* kept) {
  const Layer& layer = block.layer;
  if (layer.sums == nullptr || block.part.image >= layer.images) return;
  block.meet();
  int width = layer.outputs / CHANNEL_GROUPS, groups = block.channel_groups(), eighth = threadIdx.x % 8;
  // Whole warps, so that all lanes take part.
  for (int i = threadIdx.x; i < (groups * 8 + 31) / 32 * 32; i += Block::THREADS) {
    int group = i / 8;
    float2 both = {0, 0};
    for (int j = eighth; group < groups && j < width * (Block::THREADS / 32); j += 8) {
      float2 x = kept[j / width * (Block::TILES * 8) + group * width + j % width];
      both.x += x.x;
      both.y += x.y;
    }
#pragma unroll
    for (int lane = 4; lane > 0; lane /= 2) {
      both.x += __shfl_xor_sync(0xffffffffu, both.x, lane);
      both.y += __shfl_xor_sync(0xffffffffu, both.y, lane);
    }
    if (eighth == 0 && group < groups) *block.part.sums(layer, group) = both;
  }
}

template <int GROUPS, int OUTPUTS, int INPUT_SLOTS, int WEIGHT_SLOTS, int BLOCKS>
__device__ __forceinline__ void convolve(const TensorMap& pictures, const TensorMap& weights, const Layer& layer) {
  using Block = Block<GROUPS, OUTPUTS, INPUT_SLOTS, WEIGHT_SLOTS, SHARE>;
  extern __shared__ unsigned char memory[];
  __shared__ uint64_t barriers[Block::BARRIERS];
  __shared__ float2 kept[GROUPS * 4 * OUTPUTS];
  // The copy engine mixes parts by their addresses, from multiples of 1,024 on.
  Block block(layer, 1, barriers, (shared_address(memory) + 1023) & ~1023u);
  if (threadIdx.x == 0) block.start_barriers();
  arrive_in_cluster();
  wait_for_cluster();
  let_next_start();
  // The same for a whole group, which the compiler cannot know.
  int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group == GROUPS) {
    leave_registers<40>();
    if (threadIdx.x == GROUPS * 128) {
      wait_for_earlier();
      block.bring_inputs(pictures);
    } else if (threadIdx.x == GROUPS * 128 + 32) {
      block.bring_weights(weights);
    }
    arrive_in_cluster();
  } else {
    // What the blocks of a multiprocessor begin with, less what the others of theirs left.
    take_registers<BLOCKS == 1 ? 232 : BLOCKS == 2 ? 208 : 88>();
    block.multiply(group);
    arrive_in_cluster();
    wait_for_earlier();
    finish(block, group, reinterpret_cast<float*>(kept));
    add_groups(block, kept);
  }
  // No block goes while another tells its barriers that weights have been used.
  wait_for_cluster();
}

#endif

// `blocks` are meant to share a multiprocessor. Other GPUs never launch these.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define CONVOLVE(groups, outputs, input_slots, weight_slots, blocks)                                                  \
  convolve<groups, outputs, input_slots, weight_slots, blocks>(                                                       \
      pictures, weights,                                                                                              \
      {bias, residual, out, sums, images, side, channels, output_count, kernel, tiles_x, tiles_y})
#else
#define CONVOLVE(...)
#endif

#define CONVOLUTION(groups, outputs, input_slots, weight_slots, blocks)                                               \
  extern "C" __global__ void __launch_bounds__(groups * 128 + 128, blocks) convolution_boxes_##outputs##x##groups(    \
      const __grid_constant__ TensorMap pictures, const __grid_constant__ TensorMap weights, const float* bias,       \
      const bf16* residual, bf16* out, float2* sums, int images, int side, int channels, int output_count,            \
      int kernel, int tiles_x, int tiles_y) {                                                                         \
    CONVOLVE(groups, outputs, input_slots, weight_slots, blocks);                                                     \
  }

CONVOLUTION(1, 16, 2, 6, 4)
CONVOLUTION(1, 80, 2, 6, 2)
CONVOLUTION(1, 160, 2, 3, 2)
CONVOLUTION(2, 160, 2, 6, 1)
