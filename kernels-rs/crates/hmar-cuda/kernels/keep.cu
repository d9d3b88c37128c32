// Which positions stay masked (4, step 2), and which are masked again. One block an image.
#include "order.cuh"
#include "settings.cuh"

constexpr int ITEMS = 8;

// Parts the candidates of an image into the `count` least confident, the first among equals, and the others: calls
// `least(position)` for those and `other(position)` for these.
template <typename IsCandidate, typename Least, typename Other>
__device__ __forceinline__ void split(const float* confidence, int positions, int count, IsCandidate is_candidate,
                                      Least least, Other other) {
  __shared__ BlockMemory<int> memory;
  __shared__ Tally tally;
  int turn = 0;
  bool candidate[ITEMS];
  uint32_t keys[ITEMS];
  int own = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    int position = threadIdx.x * ITEMS + i;
    candidate[i] = position < positions && is_candidate(position);
    keys[i] = candidate[i] ? ordered(confidence[position]) : 0;
    own += candidate[i];
  }
  bool all = block_count(own, tally, turn) <= count;

  auto up_to = [&](uint32_t key) {
    int sum = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) sum += candidate[i] && keys[i] <= key;
    return block_count(sum, tally, turn);
  };
  // The count-th smallest key: all below are among the least, and of its equals the first that are still wanted.
  uint32_t threshold = 0;
  int wanted = 0;
  if (!all) {
    threshold = smallest_key(0, 0xffffffffu, [&](uint32_t key) { return up_to(key) >= count; });
    wanted = count == 0 ? 0 : count - (threshold == 0 ? 0 : up_to(threshold - 1));
  }
  int equal = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) equal += candidate[i] && keys[i] == threshold;
  int equal_before = block_sum_before(equal, memory);
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    if (!candidate[i]) continue;
    bool among = all || (count > 0 && keys[i] < threshold);
    if (!all && keys[i] == threshold) among = equal_before++ < wanted;
    int position = threadIdx.x * ITEMS + i;
    if (among) {
      least(position);
    } else {
      other(position);
    }
  }
}

// Of the masked positions, leaves the least confident ones masked.
extern "C" __global__ void __launch_bounds__(512) keep_least_confident(const float* confidence, uint8_t* mask,
                                                                         const DrawSettings* settings, int positions) {
  start_early();
  confidence += (size_t)blockIdx.x * positions;
  mask += (size_t)blockIdx.x * positions;
  auto masked = [&](int position) { return mask[position] != 0; };
  auto stays = [](int) {};
  auto commit = [&](int position) { mask[position] = 0; };
  split(confidence, positions, settings->open, masked, stays, commit);
}

// Of the positions that are not masked, masks the least confident ones, never those of infinite confidence.
extern "C" __global__ void __launch_bounds__(512) open_least_confident(const float* confidence, uint8_t* mask,
                                                                         const DrawSettings* settings, int positions) {
  start_early();
  confidence += (size_t)blockIdx.x * positions;
  mask += (size_t)blockIdx.x * positions;
  auto committed = [&](int position) { return mask[position] == 0 && confidence[position] != INFINITY; };
  auto open = [&](int position) { mask[position] = 1; };
  auto stays = [](int) {};
  split(confidence, positions, settings->revises, committed, open, stays);
}

// out += ln(input), element by element.
extern "C" __global__ void add_logarithm(const float* input, float* out, int length) {
  start_early();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < length) out[i] = (float)(out[i] + log((double)input[i]));
}

// Copies the tokens of a scale to their place in the images' maps.
extern "C" __global__ void store_tokens(const uint32_t* tokens, uint32_t* maps, int positions, int stride, int at,
                                        int count) {
  start_early();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) maps[(size_t)(i / positions) * stride + at + i % positions] = tokens[i];
}
