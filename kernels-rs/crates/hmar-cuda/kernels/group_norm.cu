// GroupNorm of channels-last pictures with SiLU (2.1): sums of parts in a fixed order, then every number. The convolution
// before may have made the sums already.
#include "block.cuh"

constexpr int GROUPS = 32;

// Several neighbouring activations at once: 16 bytes.
template <typename T>
struct __align__(16) Several {
  static constexpr int COUNT = 16 / sizeof(T);
  T values[COUNT];
};

// A block sums all channels over a part of a picture's pixels, and then the groups: grid (parts, images),
// `sums [images, groups, parts, 2]`. A thread keeps to its channels; the shared memory holds two numbers a channel for
// every row of threads.
template <typename T>
__device__ void sum_parts(const T* __restrict__ input, float2* __restrict__ sums, int pixels, int channels,
                          int part_pixels) {
  constexpr int COUNT = Several<T>::COUNT;
  extern __shared__ float2 of_channels[];
  let_next_start();
  int across = channels / COUNT, down = blockDim.x / across, width = channels / GROUPS;
  int row = threadIdx.x / across, column = threadIdx.x % across * COUNT;
  int start = blockIdx.x * part_pixels, end = min(start + part_pixels, pixels);
  input += (size_t)blockIdx.y * pixels * channels + column;
  float sum[COUNT] = {}, squares[COUNT] = {};
  wait_for_earlier();
  if (row < down) {
#pragma unroll 4
    for (int pixel = start + row; pixel < end; pixel += down) {
      Several<T> several = *reinterpret_cast<const Several<T>*>(input + (size_t)pixel * channels);
#pragma unroll
      for (int i = 0; i < COUNT; i++) {
        float x = to_float(several.values[i]);
        sum[i] += x;
        squares[i] += x * x;
      }
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++) of_channels[row * channels + column + i] = {sum[i], squares[i]};
  }
  __syncthreads();
  // Eight threads a group.
  for (int i = threadIdx.x; i < GROUPS * 8; i += blockDim.x) {
    float2 both = {0, 0};
    for (int j = i % 8; j < down * width; j += 8) {
      float2 x = of_channels[j / width * channels + i / 8 * width + j % width];
      both.x += x.x;
      both.y += x.y;
    }
#pragma unroll
    for (int lane = 4; lane > 0; lane /= 2) {
      both.x += __shfl_xor_sync(0xffffffffu, both.x, lane);
      both.y += __shfl_xor_sync(0xffffffffu, both.y, lane);
    }
    if (i % 8 == 0) sums[((size_t)blockIdx.y * GROUPS + i / 8) * gridDim.x + blockIdx.x] = both;
  }
}

// Adds up many parts: grid (groups, images), `sums [images, groups, parts]` to `out [images, groups, 1]`.
extern "C" __global__ void __launch_bounds__(256) group_norm_gather(const float2* __restrict__ sums,
                                                                    float2* __restrict__ out, int parts) {
  __shared__ BlockMemory<double> memory;
  let_next_start();
  size_t at = (size_t)blockIdx.y * GROUPS + blockIdx.x;
  double sum = 0, squares = 0;
  wait_for_earlier();
#pragma unroll 4
  for (int part = threadIdx.x; part < parts; part += blockDim.x) {
    float2 both = sums[at * parts + part];
    sum += both.x;
    squares += both.y;
  }
  sum = block_sum(sum, memory);
  squares = block_sum(squares, memory);
  if (threadIdx.x == 0) out[at] = {(float)sum, (float)squares};
}

// Mean and inverse deviation of every group of a picture from its parts' sums; all blocks come to the same.
struct Moments {
  double means[GROUPS];
  float inverses[GROUPS];

  // `share` is one over the numbers of a group. Eight threads a group, so that hardly any block has to begin again.
  __device__ __forceinline__ void find(const float2* __restrict__ sums, int parts, double share) {
#pragma unroll 1
    for (int i = threadIdx.x; i < GROUPS * 8; i += blockDim.x) {
      int group = i / 8;
      double sum = 0, squares = 0;
#pragma unroll 4
      for (int part = i % 8; part < parts; part += 8) {
        float2 both = sums[group * parts + part];
        sum += both.x;
        squares += both.y;
      }
#pragma unroll
      for (int lane = 4; lane > 0; lane /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, lane);
        squares += __shfl_xor_sync(0xffffffffu, squares, lane);
      }
      if (i % 8 != 0) continue;
      double mean = sum * share;
      means[group] = mean;
      inverses[group] = rsqrtf((float)(fmax(squares * share - mean * mean, 0.0) + 1e-6));
    }
    __syncthreads();
  }
};

// A block normalises a part of a picture's pixels, not the parts that were summed: grid (blocks, images). A thread
// keeps to its channels, and asks for several pixels at once.
template <typename T>
__device__ void apply(const T* __restrict__ input, const float2* __restrict__ sums, const float* __restrict__ weight,
                      const float* __restrict__ bias, T* __restrict__ out, int parts, int pixels, int channels,
                      int block_pixels, double share, int activate) {
  constexpr int COUNT = Several<T>::COUNT, AHEAD = 2;
  __shared__ Moments moments;
  extern __shared__ float2 factors[];  // and offsets, of every channel
  let_next_start();
  int across = channels / COUNT, down = blockDim.x / across;
  int row = threadIdx.x / across, column = threadIdx.x % across * COUNT;
  int first = blockIdx.x * block_pixels + row;
  // Threads without channels of their own have no pixels.
  int end = row < down ? min((int)(blockIdx.x + 1) * block_pixels, pixels) : 0;
  size_t start = ((size_t)blockIdx.y * pixels + first) * channels + column;
  int step = down * channels, count = (end - first + down - 1) / down;
  input += start;
  out += start;
  Several<T> ahead[AHEAD];
  wait_for_earlier();
#pragma unroll
  for (int k = 0; k < AHEAD; k++) {
    if (k < count) ahead[k] = *reinterpret_cast<const Several<T>*>(input + k * step);
  }
  input += AHEAD * step;
  moments.find(sums + (size_t)blockIdx.y * GROUPS * parts, parts, share);
  for (int channel = threadIdx.x; channel < channels; channel += blockDim.x) {
    int group = channel / (channels / GROUPS);
    float factor = moments.inverses[group] * weight[channel];
    factors[channel] = {factor, (float)(bias[channel] - moments.means[group] * factor)};
  }
  __syncthreads();
  if (count <= 0) return;
  float2 own[COUNT];
#pragma unroll
  for (int i = 0; i < COUNT; i++) own[i] = factors[column + i];
#pragma unroll 1
  for (; count > 0; count -= AHEAD) {
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      if (k >= count) break;
      Several<T> several = ahead[k];
      if (k + AHEAD < count) ahead[k] = *reinterpret_cast<const Several<T>*>(input);
#pragma unroll
      for (int i = 0; i < COUNT; i++) {
        float x = to_float(several.values[i]) * own[i].x + own[i].y;
        if (activate) x = __fdividef(x, 1.0f + __expf(-x));
        several.values[i] = from_float<T>(x);
      }
      *reinterpret_cast<Several<T>*>(out) = several;
      input += step;
      out += step;
    }
  }
}

#define GROUP_NORM(name, type)                                                                                        \
  extern "C" __global__ void __launch_bounds__(1024) group_norm_sums_##name(const type* input, float2* sums,          \
                                                                            int pixels, int channels,                 \
                                                                            int part_pixels) {                        \
    sum_parts(input, sums, pixels, channels, part_pixels);                                                            \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(1024) group_norm_apply_##name(                                         \
      const type* input, const float2* sums, const float* weight, const float* bias, type* out, int parts,            \
      int pixels, int channels, int block_pixels, double share, int activate) {                                       \
    apply(input, sums, weight, bias, out, parts, pixels, channels, block_pixels, share, activate);                    \
  }

GROUP_NORM(f32, float)
GROUP_NORM(bf16, bf16)

// Clamps to [−1, 1] and rounds to bytes: ⌊255·(x + 1)/2 + 0.5⌋.
template <typename T>
__device__ void round_to_bytes(const T* input, uint8_t* out, int length) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] = (uint8_t)(255.0f * ((fminf(fmaxf(to_float(input[i]), -1.0f), 1.0f) + 1.0f) / 2.0f) + 0.5f);
}

extern "C" __global__ void to_bytes_f32(const float* input, uint8_t* out, int length) { round_to_bytes(input, out, length); }
extern "C" __global__ void to_bytes_bf16(const bf16* input, uint8_t* out, int length) { round_to_bytes(input, out, length); }
