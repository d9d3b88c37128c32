// Linear layers in bfloat16 (3): `out[row][output] = Σ input[row][k] · weight[output][k] + bias`, four ways to end.
#include "ending.cuh"
#include "gelu.cuh"
#include "product.cuh"

struct Layer {
  const float* bias;
  void* out;
  const float* gates;  // at the vector's place in the first slot
  const uint32_t* slots;
  int outputs, ending, gate_stride, per_sequence;
};

// A pair of neighbouring outputs of a row.
__device__ __forceinline__ void finish(const Layer& layer, int row, int output, float x, float y) {
  x += layer.bias[output];
  y += layer.bias[output + 1];
  size_t at = (size_t)row * layer.outputs + output;
  if (layer.ending == FLOAT32) {
    *reinterpret_cast<float2*>(static_cast<float*>(layer.out) + at) = {x, y};
  } else if (layer.ending == GATED) {
    const float* gate = layer.gates + (size_t)layer.slots[row / layer.per_sequence] * layer.gate_stride + output;
    float2* residual = reinterpret_cast<float2*>(static_cast<float*>(layer.out) + at);
    float2 before = *residual;
    *residual = {before.x + gate[0] * x, before.y + gate[1] * y};
  } else {
    if (layer.ending == GELU) {
      x = gelu(x);
      y = gelu(y);
    }
    *reinterpret_cast<uint32_t*>(static_cast<bf16*>(layer.out) + at) = pack(x, y);
  }
}

#define LINEAR(multiply, outputs, rows, warps_o, warps_r, stages)                                                               \
  extern "C" __global__ void __launch_bounds__(warps_o* warps_r * 32, 1) linear_##outputs##x##rows##_bf16(               \
      const bf16* input, const bf16* weight, const float* bias, void* out, const float* gates,                        \
      const uint32_t* slots, int row_count, int inputs, int output_count, int ending, int gate_stride,                \
      int per_sequence, int cluster) {                                                                                \
    Layer layer = {bias, out, gates, slots, output_count, ending, gate_stride, per_sequence};                         \
    multiply<outputs, rows, warps_o, warps_r, stages>(                                                                \
        {weight, row_count, inputs, output_count, cluster},                                                           \
        [&](bf16* tile, int first_row, int first) {                                                                   \
          start_tile<rows, warps_o * warps_r * 32>(tile, input, first_row, row_count, first, inputs);                 \
        },                                                                                                            \
        [&](int row, int output, float x, float y) { finish(layer, row, output, x, y); });                            \
  }

LINEAR(multiply, 64, 16, 4, 1, 8)
LINEAR(multiply, 64, 32, 4, 1, 6)
LINEAR(multiply, 64, 64, 4, 1, 6)
LINEAR(multiply, 64, 128, 4, 2, 4)
LINEAR(multiply_large, 128, 128, 2, 4, 4)
LINEAR(multiply_large, 160, 128, 2, 4, 4)
