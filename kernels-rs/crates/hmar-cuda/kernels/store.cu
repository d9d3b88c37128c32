// A few bytes that travel in the launch itself.
#include "common.cuh"

struct Words {
  uint32_t words[256];
};

extern "C" __global__ void store_bytes(const __grid_constant__ Words words, int bytes, unsigned char* out) {
  const unsigned char* source = reinterpret_cast<const unsigned char*>(words.words);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = source[i];
}
