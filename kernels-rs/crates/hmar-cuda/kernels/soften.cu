// Soft decoding (4.2): every row of filtered logits becomes weights, and these a sum of codes. One block a row.
#include "block.cuh"
#include "exponential.cuh"
#include "order.cuh"
#include "random.cuh"
#include "settings.cuh"

extern "C" __global__ void soften(const float* logits, const float* codebook, const DrawSettings* settings_on_device,
                                  float* out, int positions, int vocabulary, int width) {
  extern __shared__ float weights[];
  __shared__ BlockMemory<double> memory;
  __shared__ BlockMemory<uint32_t> keys;
  const DrawSettings settings = *settings_on_device;
  double ramp = settings.ramp, temperature = fmax(0.27 * (1.0 - 0.95 * ramp), 0.005);
  int place = blockIdx.x;
  uint32_t image = settings.first_image + place / positions;
  uint32_t first = (uint32_t)(place % positions) * vocabulary;
  logits += (size_t)place * vocabulary;

  uint32_t largest = 0;
  for (int token = threadIdx.x; token < vocabulary; token += blockDim.x) {
    float weight = logits[token];
    if (weight != -INFINITY) {
      double u = (philox(settings.seed, first + token, settings.pass, image, SOFT_DECODING) + 0.5) * 0x1p-32;
      weight = (float)((weight * (1.0 + ramp) - log(-log(u))) / temperature);
    }
    weights[token] = weight;
    largest = max(largest, ordered(weight));
  }
  largest = block_max(largest, keys);
  float highest = __uint_as_float(largest & 0x80000000u ? largest ^ 0x80000000u : ~largest);
  double own = 0;
  for (int token = threadIdx.x; token < vocabulary; token += blockDim.x) {
    weights[token] = exponential(__fsub_rn(weights[token], highest));
    own += weights[token];
  }
  float total = (float)block_sum(own, memory);

  // A warp sums every code's share of one dimension.
  for (int dimension = threadIdx.x / 32; dimension < width; dimension += blockDim.x / 32) {
    float sum = 0;
    for (int token = threadIdx.x % 32; token < vocabulary; token += 32)
      if (weights[token] > 0) sum += weights[token] / total * codebook[(size_t)token * width + dimension];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) out[(size_t)place * width + dimension] = sum;
  }
}
