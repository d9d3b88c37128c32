// The latent's own 3×3 convolutions in float32: few channels, whose weights are on their way before the pixels are made.
#include "common.cuh"

// A block makes 32 outputs of PIXELS pixels: grid (pixels, outputs). Eight threads have an output, each every eighth four
// of its weights; the shared memory holds the pixels' patches, `[pixel, tap, channel]`. Channels are a multiple of 4.
template <int PIXELS>
__device__ void convolve(const float* __restrict__ input, const float4* __restrict__ weight,
                         const float* __restrict__ bias, float* __restrict__ out, int rows, int side, int channels,
                         int outputs) {
  constexpr int AHEAD = 9;  // all of them, where there are 32 channels
  extern __shared__ float4 patches[];
  let_next_start();
  int fours = 9 * channels / 4, first = blockIdx.x * PIXELS;
  int output = blockIdx.y * 32 + threadIdx.x / 8, eighth = threadIdx.x % 8;
  weight += (size_t)min(output, outputs - 1) * fours;
  float4 own[AHEAD];
  auto load = [&](int start) {
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      int four = start + k * 8 + eighth;
      own[k] = four < fours ? weight[four] : float4{};
    }
  };
  load(0);
  wait_for_earlier();
  for (int i = threadIdx.x; i < PIXELS * fours; i += blockDim.x) {
    int row = first + i / fours, tap = i % fours * 4 / channels, channel = i % fours * 4 % channels;
    int y = row / side % side + tap / 3 - 1, x = row % side + tap % 3 - 1;
    bool there = row < rows && y >= 0 && x >= 0 && y < side && x < side;
    size_t at = (size_t)((row / (side * side) * side + y) * side + x) * channels + channel;
    patches[i] = there ? *reinterpret_cast<const float4*>(input + at) : float4{};
  }
  __syncthreads();
  float sums[PIXELS] = {};
  for (int start = 0; start < fours; start += AHEAD * 8) {
    if (start > 0) load(start);
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      int four = min(start + k * 8 + eighth, fours - 1);  // beyond the last the weights are zero
#pragma unroll
      for (int pixel = 0; pixel < PIXELS; pixel++) {
        float4 x = patches[pixel * fours + four];
        sums[pixel] += x.x * own[k].x + x.y * own[k].y + x.z * own[k].z + x.w * own[k].w;
      }
    }
  }
#pragma unroll
  for (int pixel = 0; pixel < PIXELS; pixel++) {
#pragma unroll
    for (int lane = 4; lane > 0; lane /= 2) sums[pixel] += __shfl_xor_sync(0xffffffffu, sums[pixel], lane);
    if (eighth == pixel && output < outputs && first + pixel < rows)
      out[(size_t)(first + pixel) * outputs + output] = sums[pixel] + bias[output];
  }
}

// For sm_120 the compiler, left to itself, spills so as to have three blocks on a multiprocessor.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
#define BOUNDS __launch_bounds__(256, 2)
#else
#define BOUNDS __launch_bounds__(256)
#endif

#define CONVOLUTION(pixels)                                                                                           \
  extern "C" __global__ void BOUNDS convolution_exact_##pixels(                                                       \
      const float* input, const float4* weight, const float* bias, float* out, int rows, int side, int channels,      \
      int outputs) {                                                                                                  \
    convolve<pixels>(input, weight, bias, out, rows, side, channels, outputs);                                        \
  }

CONVOLUTION(2)
CONVOLUTION(8)
