// GELU in its tanh form: 1 + tanh(u) = 2 / (1 + exp(−2u)).
#pragma once

__device__ __forceinline__ float gelu(float x) {
  return __fdividef(x, 1.0f + __expf(-1.5957691216f * (x + 0.044715f * x * x * x)));
}
