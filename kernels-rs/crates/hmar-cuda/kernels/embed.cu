// The transformer's inputs (3.1) and what is computed once for a class.
#include "common.cuh"

template <typename T>
__device__ void activate(const float* input, T* out, int length) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] = from_float<T>(input[i] / (1.0f + expf(-input[i])));
}

extern "C" __global__ void silu_f32(const float* input, float* out, int length) { activate(input, out, length); }
extern "C" __global__ void silu_bf16(const float* input, bf16* out, int length) { activate(input, out, length); }

extern "C" __global__ void add_to_each(const float* __restrict__ addend, float* out, int width, int length) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] += addend[i % width];
}

// The first scale: a class's embedding and the start, in every row.
extern "C" __global__ void embed_start(const float* __restrict__ classes, const uint32_t* __restrict__ slots,
                                       const float* __restrict__ start, float* __restrict__ out, int row_length, int width,
                                       int length) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] = classes[(size_t)slots[i / row_length] * width + i % width] + start[i % row_length];
}

// A later scale: its embedded latent, position and, where masked, the mask's embedding; the same in both halves.
extern "C" __global__ void embed_scale(const float* __restrict__ embedded, const float* __restrict__ positional,
                                       const uint8_t* __restrict__ mask, const float* __restrict__ mask_embedding,
                                       float* __restrict__ out, int images, int positions, int width, int per_sequence,
                                       int at, int length) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= length) return;
  int channel = i % width, position = i / width % positions, sequence = i / width / positions;
  int row = sequence % images * positions + position;
  float x = embedded[(size_t)row * width + channel] + positional[(size_t)position * width + channel];
  if (mask != nullptr && mask[row] != 0) x += mask_embedding[channel];
  out[((size_t)sequence * per_sequence + at + position) * width + channel] = x;
}

// `out = input · weightᵀ` for few inputs, in float32: a thread an output.
extern "C" __global__ void project(const float* __restrict__ input, const float* __restrict__ weight,
                                   float* __restrict__ out, int inputs, int outputs) {
  int output = blockIdx.x * blockDim.x + threadIdx.x;
  extern __shared__ float row[];
  for (int i = threadIdx.x; i < inputs; i += blockDim.x) row[i] = input[(size_t)blockIdx.y * inputs + i];
  __syncthreads();
  if (output >= outputs) return;
  float sum = 0;
  for (int i = 0; i < inputs; i++) sum += row[i] * weight[(size_t)output * inputs + i];
  out[(size_t)blockIdx.y * outputs + output] = sum;
}
