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
extern "C" __global__ void embed_start(const float* classes, const uint32_t* slots,
                                       const float* __restrict__ start, float* __restrict__ out, int row_length, int width,
                                       int length) {
  start_early();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] = classes[(size_t)slots[i / row_length] * width + i % width] + start[i % row_length];
}

// A later scale: its embedded latent, position and, where masked, the mask's embedding; the same in both halves. A block
// a row of the output.
extern "C" __global__ void embed_scale(const float* embedded, const float* __restrict__ positional,
                                       const uint8_t* mask, const float* __restrict__ mask_embedding,
                                       float* __restrict__ out, int images, int width, int per_sequence, int at) {
  start_early();
  int position = blockIdx.x, sequence = blockIdx.y;
  int row = sequence % images * gridDim.x + position;
  bool masked = mask != nullptr && mask[row] != 0;
  embedded += (size_t)row * width;
  positional += (size_t)position * width;
  out += ((size_t)sequence * per_sequence + at + position) * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    float x = embedded[i] + positional[i];
    if (masked) x += mask_embedding[i];
    out[i] = x;
  }
}

// Rows that share the weights a thread reads.
constexpr int TOGETHER = 16;

// `out = input · weightᵀ` for few inputs, in float32: a thread an output of TOGETHER rows.
extern "C" __global__ void project(const float* input, const float* __restrict__ weight,
                                   float* __restrict__ out, int rows, int inputs, int outputs) {
  extern __shared__ __align__(16) float some[];  // by input, then by row
  start_early();
  int first = blockIdx.x * TOGETHER, output = blockIdx.y * blockDim.x + threadIdx.x;
  for (int i = threadIdx.x; i < inputs * TOGETHER; i += blockDim.x) {
    int row = first + i / inputs;
    some[i % inputs * TOGETHER + i / inputs] = row < rows ? input[(size_t)row * inputs + i % inputs] : 0;
  }
  __syncthreads();
  if (output >= outputs) return;
  weight += (size_t)output * inputs;
  float sums[TOGETHER] = {};
  auto add = [&](int i, float w) {
#pragma unroll
    for (int row = 0; row < TOGETHER; row++) sums[row] += some[i * TOGETHER + row] * w;
  };
  // Rows of weights are aligned for four numbers at once where there are only whole fours.
  int fours = inputs % 4 == 0 ? inputs : 0;
  for (int i = 0; i < fours; i += 4) {
    float4 w = *reinterpret_cast<const float4*>(weight + i);
    add(i, w.x);
    add(i + 1, w.y);
    add(i + 2, w.z);
    add(i + 3, w.w);
  }
  for (int i = fours; i < inputs; i++) add(i, weight[i]);
#pragma unroll
  for (int row = 0; row < TOGETHER; row++)
    if (first + row < rows) out[(size_t)(first + row) * outputs + output] = sums[row];
}
