// Convolutions of small pictures on Hopper: the blocks of a cluster divide what is summed, so that there is work for
// every multiprocessor. Their sums meet in shared memory in a fixed order.
#include <cooperative_groups.h>

#include "convolution_split.cuh"

namespace cg = cooperative_groups;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Blocks of a cluster, at most.
constexpr int LARGEST_SPLIT = 8;

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

// Adds the blocks' sums of this block's pixels, [first, last), and stores the results; what was stored stays in
// `results`, zeros outside of the picture. All sums of a place are asked for before the first is added.
template <int PITCH, typename Block>
__device__ __forceinline__ void finish(const Block& block, float* results, int split, int first, int last) {
  constexpr int FOURS = Block::TILES * 2;
  const Layer& layer = block.layer;
  for (int i = first * FOURS + threadIdx.x; i < last * FOURS; i += blockDim.x) {
    int row = i / FOURS, four = i % FOURS * 4, output = block.part.output + four;
    int pixel = block.part.pixel(layer, row / COLUMNS, row % COLUMNS);
    float4* own = reinterpret_cast<float4*>(results + row * PITCH + four);
    float4 sum = {0, 0, 0, 0};
    if (pixel >= 0 && output < layer.outputs) {
      size_t at = (size_t)pixel * layer.outputs + output;
      sum = *reinterpret_cast<const float4*>(layer.bias + output);
      float4 parts[LARGEST_SPLIT];
#pragma unroll
      for (int part = 0; part < LARGEST_SPLIT; part++)
        parts[part] = part < split ? *cg::this_cluster().map_shared_rank(own, part) : float4{};
#pragma unroll
      for (const float4& x : parts) sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
      if (layer.residual != nullptr) {
        const __nv_bfloat162* before = reinterpret_cast<const __nv_bfloat162*>(layer.residual + at);
        float2 low = __bfloat1622float2(before[0]), high = __bfloat1622float2(before[1]);
        sum.x += low.x, sum.y += low.y, sum.z += high.x, sum.w += high.y;
      }
      __nv_bfloat162 low = __floats2bfloat162_rn(sum.x, sum.y), high = __floats2bfloat162_rn(sum.z, sum.w);
      *reinterpret_cast<uint2*>(layer.out + at) = {reinterpret_cast<uint32_t&>(low), reinterpret_cast<uint32_t&>(high)};
      float2 rounded_low = __bfloat1622float2(low), rounded_high = __bfloat1622float2(high);
      sum = {rounded_low.x, rounded_low.y, rounded_high.x, rounded_high.y};
    }
    *own = sum;
  }
}

// The sums of groups of channels over the block's pixels, a warp a group.
template <int PITCH, typename Block>
__device__ __forceinline__ void add_groups(const Block& block, const float* results, int first, int last) {
  const Layer& layer = block.layer;
  if (layer.sums == nullptr) return;
  __syncthreads();
  int width = layer.outputs / CHANNEL_GROUPS;
  for (int group = threadIdx.x / 32; group < block.channel_groups(); group += blockDim.x / 32) {
    float sum = 0, squares = 0;
    for (int j = threadIdx.x % 32; j < (last - first) * width; j += 32) {
      float x = results[(first + j / width) * PITCH + group * width + j % width];
      sum += x;
      squares += x * x;
    }
    sum = warp_sum(sum);
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0) *block.part.sums(layer, group) = {sum, squares};
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
  finish<PITCH>(block, results, split, first, last);
  // Nobody's shared memory goes while others read it.
  arrive_in_cluster();
  add_groups<PITCH>(block, results, first, last);
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
