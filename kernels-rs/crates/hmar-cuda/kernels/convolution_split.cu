// Convolutions of small pictures on Hopper: the blocks of a cluster divide what is summed, so that there is work for
// every multiprocessor. Their sums meet in shared memory in a fixed order.
#include <cooperative_groups.h>

#include "convolution_split.cuh"

namespace cg = cooperative_groups;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Blocks of a cluster, at most.
constexpr int LARGEST_SPLIT = 8;

// Pixels that a block finishes at once, so many threads each.
template <int FOURS>
constexpr int ROWS_AT_ONCE = 256 / FOURS;

// The block's sums to shared memory: `results [rows · 16, PITCH]`.
template <int PITCH, typename Block>
__device__ __forceinline__ void lay_down(const Block& block, float* results) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int tile = 0; tile < Block::TILES; tile++) {
#pragma unroll
      for (int low = 0; low < 2; low++) {
        const float* sums = &block.sums[half][tile][low * 2];
        int row = (half * 4 + warp) * COLUMNS + low * 8 + lane / 4;
        *reinterpret_cast<float2*>(results + row * PITCH + tile * 8 + lane % 4 * 2) = {sums[0], sums[1]};
      }
    }
  }
}

// Four neighbouring outputs of a pixel: the blocks' sums of them, which lie at `own` in every block, added up and stored.
// All are asked for before the first is added. Returns what was stored, zeros outside of the picture.
__device__ __forceinline__ float4 finish_four(const Layer& layer, const float4& bias, float4* own, int split, int pixel,
                                              int output) {
  bool there = pixel >= 0 && output < layer.outputs;
  size_t at = there ? (size_t)pixel * layer.outputs + output : 0;
  uint2 before = there && layer.residual != nullptr ? *reinterpret_cast<const uint2*>(layer.residual + at) : uint2{};
  float4 parts[LARGEST_SPLIT];
#pragma unroll
  for (int part = 0; part < LARGEST_SPLIT; part++)
    parts[part] = part < split ? *cg::this_cluster().map_shared_rank(own, part) : float4{};
  float4 sum = bias;
#pragma unroll
  for (const float4& x : parts) sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
  float2 low = unpack(before.x), high = unpack(before.y);
  before = {pack(sum.x + low.x, sum.y + low.y), pack(sum.z + high.x, sum.w + high.y)};
  if (!there) return {};
  *reinterpret_cast<uint2*>(layer.out + at) = before;
  low = unpack(before.x), high = unpack(before.y);
  return {low.x, low.y, high.x, high.y};
}

// Stores the results of this block's pixels, [first, last). A thread keeps to its four columns, and leaves their sums and
// sums of squares over its pixels in `kept [ROWS_AT_ONCE, OUTPUTS]`.
template <int PITCH, typename Block>
__device__ __forceinline__ void finish(const Block& block, float* results, int split, int first, int last, float2* kept) {
  constexpr int FOURS = Block::TILES * 2;
  const Layer& layer = block.layer;
  int row = threadIdx.x / FOURS, four = threadIdx.x % FOURS * 4, output = block.part.output + four;
  if (row >= ROWS_AT_ONCE<FOURS>) return;
  float4 bias = output < layer.outputs ? *reinterpret_cast<const float4*>(layer.bias + output) : float4{};
  float sums[4] = {}, squares[4] = {};
#pragma unroll 2
  for (int i = first + row; i < last; i += ROWS_AT_ONCE<FOURS>) {
    int pixel = block.part.pixel(layer, i / COLUMNS, i % COLUMNS);
    float4* own = reinterpret_cast<float4*>(results + i * PITCH + four);
    float4 stored = finish_four(layer, bias, own, split, pixel, output);
    float values[4] = {stored.x, stored.y, stored.z, stored.w};
#pragma unroll
    for (int k = 0; k < 4; k++) {
      sums[k] += values[k];
      squares[k] += values[k] * values[k];
    }
  }
#pragma unroll
  for (int k = 0; k < 4; k++) kept[row * FOURS * 4 + four + k] = {sums[k], squares[k]};
}

// The sums of groups of channels over the block's pixels, a warp a group.
template <typename Block>
__device__ __forceinline__ void add_groups(const Block& block, const float2* kept) {
  constexpr int OUTPUTS = Block::TILES * 8;
  const Layer& layer = block.layer;
  if (layer.sums == nullptr) return;
  __syncthreads();
  int width = layer.outputs / CHANNEL_GROUPS, lane = threadIdx.x % 32;
  for (int group = threadIdx.x / 32; group < block.channel_groups(); group += blockDim.x / 32) {
    float sum = 0, squares = 0;
    for (int column = lane; column < width; column += 32) {
#pragma unroll
      for (int row = 0; row < ROWS_AT_ONCE<OUTPUTS / 4>; row++) {
        float2 both = kept[row * OUTPUTS + group * width + column];
        sum += both.x;
        squares += both.y;
      }
    }
    sum = warp_sum(sum);
    squares = warp_sum(squares);
    if (lane == 0) *block.part.sums(layer, group) = {sum, squares};
  }
}

template <int OUTPUTS, int INPUT_SLOTS, int WEIGHT_SLOTS>
__device__ __forceinline__ void convolve(const TensorMap& pictures, const TensorMap& weights, const Layer& layer,
                                         int split) {
  using Block = Block<OUTPUTS, INPUT_SLOTS, WEIGHT_SLOTS>;
  constexpr int PITCH = OUTPUTS + 4, PIXELS = ROWS * COLUMNS;
  static_assert(PIXELS * PITCH * 4 <= INPUT_SLOTS * Block::INPUT_BYTES + WEIGHT_SLOTS * Block::WEIGHT_BYTES,
                "the results fit where the operands were");
  extern __shared__ unsigned char memory[];
  __shared__ uint64_t barriers[Block::BARRIERS];
  __shared__ float2 kept[ROWS_AT_ONCE<OUTPUTS / 4> * OUTPUTS];
  // The copy engine mixes parts by their addresses, from multiples of 1,024 on.
  uint32_t skipped = -shared_address(memory) & 1023u;
  float* results = reinterpret_cast<float*>(memory + skipped);
  Block block(layer, split, barriers, shared_address(memory) + skipped);
  if (threadIdx.x == 0) block.start_barriers();
  __syncthreads();
  let_next_start();
  int first = block.part.rank * PIXELS / split, last = (block.part.rank + 1) * PIXELS / split;
  // The same for a whole group, which the compiler cannot know.
  bool multiplies = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0) == 0;
  if (multiplies) {
    block.multiply();
    meet(0);
    lay_down<PITCH>(block, results);
  } else if (threadIdx.x == 128) {
    wait_for_earlier();
    block.bring_inputs(pictures);
  } else if (threadIdx.x == 128 + 32) {
    block.bring_weights(weights);
  }
  arrive_in_cluster();
  wait_for_cluster();
  wait_for_earlier();
  finish<PITCH>(block, results, split, first, last, kept);
  // Nobody's shared memory goes while others read it.
  arrive_in_cluster();
  add_groups(block, kept);
  wait_for_cluster();
}

#endif

// Other GPUs never launch these.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define CONVOLVE(outputs, input_slots, weight_slots)                                                                  \
  convolve<outputs, input_slots, weight_slots>(                                                                       \
      pictures, weights,                                                                                              \
      {bias, residual, out, sums, images, side, channels, output_count, kernel, tiles_x, tiles_y}, split)
#else
#define CONVOLVE(...)
#endif

#define CONVOLUTION(outputs, input_slots, weight_slots)                                                               \
  extern "C" __global__ void __launch_bounds__(256, 2) convolution_split_##outputs(                                   \
      const __grid_constant__ TensorMap pictures, const __grid_constant__ TensorMap weights, const float* bias,       \
      const bf16* residual, bf16* out, float2* sums, int images, int side, int channels, int output_count,            \
      int kernel, int tiles_x, int tiles_y, int split) {                                                              \
    CONVOLVE(outputs, input_slots, weight_slots);                                                                     \
  }

CONVOLUTION(80, 2, 6)
