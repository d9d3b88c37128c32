// Linear layers of any size in float32 arithmetic: 32×32 results a block, a thread four of them.
#include "common.cuh"
#include "ending.cuh"

constexpr int SIDE = 32;

template <typename T>
__device__ void multiply(const T* __restrict__ input, const T* __restrict__ weight, const float* __restrict__ bias,
                         void* out, const float* gates, const uint32_t* slots, int rows, int inputs, int outputs,
                         int ending, int gate_stride, int per_sequence) {
  __shared__ float some_inputs[SIDE][SIDE + 1], some_weights[SIDE][SIDE + 1];
  int first_output = blockIdx.x * SIDE, first_row = blockIdx.y * SIDE, column = threadIdx.x % SIDE;
  float sums[4] = {};
  for (int k = 0; k < inputs; k += SIDE) {
    for (int i = threadIdx.x / SIDE; i < SIDE; i += SIDE / 4) {
      bool inside = k + column < inputs;
      some_inputs[i][column] =
          inside && first_row + i < rows ? to_float(input[(size_t)(first_row + i) * inputs + k + column]) : 0;
      some_weights[i][column] =
          inside && first_output + i < outputs ? to_float(weight[(size_t)(first_output + i) * inputs + k + column]) : 0;
    }
    __syncthreads();
    for (int j = 0; j < SIDE; j++) {
#pragma unroll
      for (int i = 0; i < 4; i++) sums[i] += some_inputs[threadIdx.x / SIDE + i * (SIDE / 4)][j] * some_weights[column][j];
    }
    __syncthreads();
  }
  int output = first_output + column;
  if (output >= outputs) return;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int row = first_row + threadIdx.x / SIDE + i * (SIDE / 4);
    if (row >= rows) return;
    float x = sums[i] + bias[output];
    size_t at = (size_t)row * outputs + output;
    if (ending == FLOAT32) {
      static_cast<float*>(out)[at] = x;
    } else if (ending == GATED) {
      static_cast<float*>(out)[at] += gates[(size_t)slots[row / per_sequence] * gate_stride + output] * x;
    } else {
      if (ending == GELU) x = x / (1.0f + expf(-1.5957691216f * (x + 0.044715f * x * x * x)));
      static_cast<T*>(out)[at] = from_float<T>(x);
    }
  }
}

#define LINEAR(name, type)                                                                                            \
  extern "C" __global__ void __launch_bounds__(256) linear_plain_##name(                                              \
      const type* input, const type* weight, const float* bias, void* out, const float* gates,                        \
      const uint32_t* slots, int rows, int inputs, int outputs, int ending, int gate_stride, int per_sequence) {      \
    multiply(input, weight, bias, out, gates, slots, rows, inputs, outputs, ending, gate_stride, per_sequence);       \
  }

LINEAR(f32, float)
LINEAR(bf16, bf16)
