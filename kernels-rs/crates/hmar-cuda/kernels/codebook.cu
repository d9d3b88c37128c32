// Codes and their vectors, and φ's blend (2.4).
#include "common.cuh"

extern "C" __global__ void look_up(const float* __restrict__ codebook, const uint32_t* tokens,
                                   float* __restrict__ out, int width, int length) {
  start_early();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] = codebook[(size_t)tokens[i / width] * width + i % width];
}

// φ = (input + convolved)/2: stored (0), added (1) or subtracted (2).
extern "C" __global__ void blend_phi(const float* input, const float* convolved, float* out, int blend, int length) {
  start_early();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= length) return;
  float phi = 0.5f * input[i] + 0.5f * convolved[i];
  out[i] = blend == 0 ? phi : blend == 1 ? out[i] + phi : out[i] - phi;
}

// The nearest code of one vector a block: of equally near ones the first.
extern "C" __global__ void nearest_code(const float* __restrict__ vectors, const float* __restrict__ codebook,
                                        uint32_t* tokens, int vocabulary, int width) {
  extern __shared__ float vector[];
  __shared__ unsigned long long nearest;
  for (int i = threadIdx.x; i < width; i += blockDim.x) vector[i] = vectors[(size_t)blockIdx.x * width + i];
  if (threadIdx.x == 0) nearest = ~0ull;
  __syncthreads();
  unsigned long long own = ~0ull;
  for (int code = threadIdx.x; code < vocabulary; code += blockDim.x) {
    float distance = 0;
    for (int i = 0; i < width; i++) {
      float difference = vector[i] - codebook[(size_t)code * width + i];
      distance += difference * difference;
    }
    // Distances are not negative: their bits order as they do, and equal ones by their code.
    own = min(own, (unsigned long long)__float_as_uint(distance) << 32 | (uint32_t)code);
  }
  atomicMin(&nearest, own);
  __syncthreads();
  if (threadIdx.x == 0) tokens[blockIdx.x] = (uint32_t)nearest;
}
