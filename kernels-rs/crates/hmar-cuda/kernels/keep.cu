// Of the masked positions, leaves the least confident ones masked (4, step 2). One block an image.
#include "order.cuh"
#include "settings.cuh"

constexpr int ITEMS = 8;

extern "C" __global__ void __launch_bounds__(512) keep_least_confident(const float* confidence, uint8_t* mask,
                                                                         const DrawSettings* settings, int positions) {
  __shared__ BlockMemory<int> memory;
  __shared__ Tally tally;
  int turn = 0;
  int count = settings->open;
  confidence += (size_t)blockIdx.x * positions;
  mask += (size_t)blockIdx.x * positions;
  bool set[ITEMS];
  uint32_t keys[ITEMS];
  int own = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    int position = threadIdx.x * ITEMS + i;
    set[i] = position < positions && mask[position] != 0;
    keys[i] = set[i] ? ordered(confidence[position]) : 0;
    own += set[i];
  }
  if (block_count(own, tally, turn) <= count) return;

  auto up_to = [&](uint32_t key) {
    int sum = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) sum += set[i] && keys[i] <= key;
    return block_count(sum, tally, turn);
  };
  // The count-th smallest key: all below stay masked, and of its equals the first that are still wanted.
  uint32_t threshold = smallest_key(0, 0xffffffffu, [&](uint32_t key) { return up_to(key) >= count; });
  int wanted = count == 0 ? 0 : count - (threshold == 0 ? 0 : up_to(threshold - 1));
  int equal = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) equal += set[i] && keys[i] == threshold;
  int equal_before = block_sum_before(equal, memory);
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    bool stays = count > 0 && keys[i] < threshold;
    if (keys[i] == threshold) stays = equal_before++ < wanted;
    if (set[i] && !stays) mask[threadIdx.x * ITEMS + i] = 0;
  }
}

// Copies the tokens of a scale to their place in the images' maps.
extern "C" __global__ void store_tokens(const uint32_t* tokens, uint32_t* maps, int positions, int stride, int at,
                                        int count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) maps[(size_t)(i / positions) * stride + at + i % positions] = tokens[i];
}
