// Counter-based randomness (4.1), as on the CPU: Philox 4×32-10.
#pragma once

#include <cstdint>

// What a random number is for.
enum Purpose : uint32_t { TOKEN_DRAW = 0, SOFT_DECODING = 2 };

__device__ __forceinline__ uint32_t philox(uint64_t seed, uint32_t position, uint32_t pass, uint32_t image, Purpose purpose) {
  uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
  uint32_t c0 = position, c1 = pass, c2 = image, c3 = purpose;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    uint32_t high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    uint32_t high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c0;
}
