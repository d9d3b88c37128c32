// GroupNorm of channels-last pictures with SiLU (2.1): sums of parts in a fixed order, then every number.
#include "block.cuh"

constexpr int GROUPS = 32;

// A block sums one group over a part of a picture's pixels: grid (parts, groups, images), `sums [.., 2]`.
template <typename T>
__device__ void sum_parts(const T* __restrict__ input, float2* __restrict__ sums, int pixels, int channels,
                          int part_pixels) {
  __shared__ BlockMemory<float> memory;
  int width = channels / GROUPS, start = blockIdx.x * part_pixels, end = min(start + part_pixels, pixels);
  input += ((size_t)blockIdx.z * pixels + start) * channels + blockIdx.y * width;
  float sum = 0, squares = 0;
  for (int i = threadIdx.x; i < (end - start) * width; i += blockDim.x) {
    float x = to_float(input[(size_t)(i / width) * channels + i % width]);
    sum += x;
    squares += x * x;
  }
  sum = block_sum(sum, memory);
  squares = block_sum(squares, memory);
  if (threadIdx.x == 0) sums[(blockIdx.z * GROUPS + blockIdx.y) * gridDim.x + blockIdx.x] = {sum, squares};
}

// A factor and a summand for every channel of every picture; a block a picture.
extern "C" __global__ void group_norm_factors(const float2* __restrict__ sums, const float* __restrict__ weight,
                                              const float* __restrict__ bias, float2* __restrict__ factors, int parts,
                                              int pixels, int channels) {
  __shared__ double means[GROUPS], deviations[GROUPS];
  int width = channels / GROUPS;
  if (threadIdx.x < GROUPS) {
    double sum = 0, squares = 0;
    for (int part = 0; part < parts; part++) {
      float2 both = sums[(blockIdx.x * GROUPS + threadIdx.x) * parts + part];
      sum += both.x;
      squares += both.y;
    }
    double count = (double)pixels * width, mean = sum / count;
    means[threadIdx.x] = mean;
    deviations[threadIdx.x] = rsqrt(fmax(squares / count - mean * mean, 0.0) + 1e-6);
  }
  __syncthreads();
  for (int channel = threadIdx.x; channel < channels; channel += blockDim.x) {
    double factor = deviations[channel / width] * weight[channel];
    factors[blockIdx.x * channels + channel] = {(float)factor, (float)(bias[channel] - means[channel / width] * factor)};
  }
}

// Eight numbers a thread where the channels allow it, else one.
template <typename T, int COUNT>
__device__ void apply(const T* __restrict__ input, const float2* __restrict__ factors, T* __restrict__ out,
                      int picture_length, int channels, int activate, long long length) {
  struct __align__(sizeof(T) * COUNT) Several {
    T values[COUNT];
  };
  long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * COUNT;
  if (i >= length) return;
  Several several = *reinterpret_cast<const Several*>(input + i);
  const float2* own = factors + i / picture_length * channels + i % channels;
#pragma unroll
  for (int j = 0; j < COUNT; j++) {
    float x = to_float(several.values[j]) * own[j].x + own[j].y;
    if (activate) x = x / (1.0f + __expf(-x));
    several.values[j] = from_float<T>(x);
  }
  *reinterpret_cast<Several*>(out + i) = several;
}

#define GROUP_NORM(name, type, several)                                                                              \
  extern "C" __global__ void group_norm_sums_##name(const type* input, float2* sums, int pixels, int channels,       \
                                                    int part_pixels) {                                               \
    sum_parts(input, sums, pixels, channels, part_pixels);                                                           \
  }                                                                                                                  \
  extern "C" __global__ void group_norm_apply_##name(const type* input, const float2* factors, type* out,            \
                                                     int picture_length, int channels, int activate,                 \
                                                     long long length) {                                             \
    apply<type, several>(input, factors, out, picture_length, channels, activate, length);                           \
  }

GROUP_NORM(f32, float, 4)
GROUP_NORM(bf16, bf16, 8)

// Clamps to [−1, 1] and rounds to bytes: ⌊255·(x + 1)/2 + 0.5⌋.
template <typename T>
__device__ void round_to_bytes(const T* input, uint8_t* out, int length) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] = (uint8_t)(255.0f * ((fminf(fmaxf(to_float(input[i]), -1.0f), 1.0f) + 1.0f) / 2.0f) + 0.5f);
}

extern "C" __global__ void to_bytes_f32(const float* input, uint8_t* out, int length) { round_to_bytes(input, out, length); }
extern "C" __global__ void to_bytes_bf16(const bf16* input, uint8_t* out, int length) { round_to_bytes(input, out, length); }
