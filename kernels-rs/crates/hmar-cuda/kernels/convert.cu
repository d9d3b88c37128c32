// Activations from float32 and back.
#include "common.cuh"

template <typename T>
__device__ void narrow(const float* __restrict__ input, T* __restrict__ out, int length) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] = from_float<T>(input[i]);
}

template <typename T>
__device__ void widen(const T* __restrict__ input, float* __restrict__ out, int length) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] = to_float(input[i]);
}

extern "C" __global__ void narrow_f32(const float* input, float* out, int length) { narrow(input, out, length); }
extern "C" __global__ void narrow_bf16(const float* input, bf16* out, int length) { narrow(input, out, length); }
extern "C" __global__ void widen_f32(const float* input, float* out, int length) { widen(input, out, length); }
extern "C" __global__ void widen_bf16(const bf16* input, float* out, int length) { widen(input, out, length); }
