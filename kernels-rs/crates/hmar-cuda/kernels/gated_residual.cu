// The residual stream of AdaLN's blocks (3), where the product was made by a library.
#include "common.cuh"

// `residual += gate · (product + bias)`, four outputs of a row a thread.
extern "C" __global__ void gated_residual(const float* __restrict__ product, const float* __restrict__ bias,
                                          const float* __restrict__ gates, const uint32_t* __restrict__ slots,
                                          float* __restrict__ residual, int first_row, int outputs, int gate_stride,
                                          int per_sequence, int fours) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= fours) return;
  int row = i / (outputs / 4), output = i % (outputs / 4) * 4;
  const float* gate = gates + (size_t)slots[(first_row + row) / per_sequence] * gate_stride + output;
  float4 x = reinterpret_cast<const float4*>(product)[i], b = *reinterpret_cast<const float4*>(bias + output),
         g = *reinterpret_cast<const float4*>(gate);
  float4* place = reinterpret_cast<float4*>(residual + (size_t)(first_row + row) * outputs + output);
  float4 y = *place;
  *place = {y.x + g.x * (x.x + b.x), y.y + g.y * (x.y + b.y), y.z + g.z * (x.z + b.z), y.w + g.w * (x.w + b.w)};
}
