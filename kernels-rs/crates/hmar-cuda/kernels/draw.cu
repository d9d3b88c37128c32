// Draws a token from every row of logits (4.1): guidance, temperature, top-k, top-p, min-p, inverse distribution.
//
// One block a row; a thread holds ITEMS neighbouring tokens in registers, and then FEW of those that top-k keeps, if they
// are so few. Thresholds are found by bisection over the keys' order instead of sorting; masses are summed as integers, and
// so exactly, whatever the order.
#include "exponential.cuh"
#include "order.cuh"
#include "random.cuh"
#include "settings.cuh"

#include <climits>

// Probabilities in units of 2⁻⁵⁰: those from 2⁻²⁶ on are exact.
constexpr double MASS_UNITS = 1125899906842624.0;

template <int ITEMS>
struct Row {
  float weights[ITEMS];
  uint32_t keys[ITEMS];  // 0 where dropped, and beyond the vocabulary
};

// A key's number again, but for a zero's sign.
__device__ __forceinline__ float number_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

struct Memory {
  Tally tally;
  union {
    BlockMemory<int> counts;
    BlockMemory<uint32_t> keys;
    BlockMemory<double> weights;
  };
};

// Where a token's logit lies in shared memory, apart from the banks of the threads beside.
template <int ITEMS>
__device__ __forceinline__ int staged(int token) {
  return token + token / ITEMS;
}

// Reads the row in order and hands every thread its neighbouring tokens.
template <int ITEMS>
__device__ void guide(Row<ITEMS>& row, const float* logits, size_t other_half, bool guided, const DrawSettings& settings,
                      int vocabulary) {
  extern __shared__ float stage[];
  float toward = (float)(1.0 + settings.guidance), away = (float)settings.guidance;
  for (int token = threadIdx.x; token < vocabulary; token += blockDim.x) {
    float logit = logits[token];
    if (guided) logit = __fsub_rn(__fmul_rn(toward, logit), __fmul_rn(away, logits[token + other_half]));
    if (settings.temperature != 1.0f) logit = __fdiv_rn(logit, settings.temperature);
    stage[staged<ITEMS>(token)] = logit;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    int token = threadIdx.x * ITEMS + i;
    bool there = token < vocabulary;
    row.keys[i] = there ? ordered(stage[staged<ITEMS>(token)]) : 0;
  }
}

// Drops every token below the k-th largest. Returns the largest key.
template <int ITEMS>
__device__ uint32_t keep_top_k(Row<ITEMS>& row, const DrawSettings& settings, int vocabulary, Memory& memory, int& turn) {
  uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) largest = max(largest, row.keys[i]);
  largest = block_max(largest, memory.keys);
  int k = settings.top_k;
  if (k == 0 || k >= vocabulary) return largest;
  // The smallest key that fewer than k keys are above is the k-th largest.
  uint32_t threshold = largest;
  for (uint32_t low = 0; low < threshold;) {
    uint32_t key = low + (threshold - low) / 2;
    int above = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) above += row.keys[i] > key;
    above = block_count(above, memory.tally, turn);
    if (above < k) {
      threshold = key;
    } else {
      low = key + 1;
      // These are the k largest: any threshold between them and the rest will do.
      if (above == k) threshold = low;
    }
  }
#pragma unroll
  for (int i = 0; i < ITEMS; i++)
    if (row.keys[i] < threshold) row.keys[i] = 0;
  return largest;
}

// Drops the least probable tokens that together have 1 − p at most; of equally probable ones the first, and never all.
template <int ITEMS>
__device__ void drop_beyond_top_p(Row<ITEMS>& row, double p, uint32_t largest, Memory& memory, int& turn) {
  double total = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) total += row.weights[i];
  float whole = (float)block_sum(total, memory.weights);
  unsigned long long masses[ITEMS];
#pragma unroll
  for (int i = 0; i < ITEMS; i++)
    masses[i] = row.keys[i] ? __double2ull_rn((double)__fdiv_rn(row.weights[i], whole) * MASS_UNITS) : 0;
  auto mass_up_to = [&](uint32_t key) {
    unsigned long long mass = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) mass += row.keys[i] <= key ? masses[i] : 0;
    return block_tally(mass, memory.tally, turn);
  };
  uint32_t complement = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) complement = max(complement, row.keys[i] ? ~row.keys[i] : 0);
  uint32_t smallest = ~block_max(complement, memory.keys);
  unsigned long long limit = __double2ull_rd((1.0 - p) * MASS_UNITS);
  uint32_t threshold = smallest_key(smallest, largest, [&](uint32_t key) { return mass_up_to(key) > limit; });
  unsigned long long below = mass_up_to(threshold - 1);

  int equal = 0;
  unsigned long long mass = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    if (row.keys[i] == threshold) {
      equal++;
      mass = masses[i];
    }
  }
  int equal_before = block_sum_before(equal, memory.counts);
  int equal_in_all = block_count(equal, memory.tally, turn);
  int most = threshold == largest ? equal_in_all - 1 : equal_in_all;
  int dropped = mass == 0 ? 0 : (int)min((unsigned long long)most, (limit - below) / mass);
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    bool drop = row.keys[i] < threshold;
    if (row.keys[i] == threshold) drop = equal_before++ < dropped;
    if (drop) {
      row.keys[i] = 0;
      row.weights[i] = 0;
    }
  }
}

// Lists what is left of the row, in the tokens' order, and drops the rest of it from the stage. Returns how many it is.
template <int ITEMS>
__device__ int list_kept(const Row<ITEMS>& row, float* stage, uint16_t* kept, int vocabulary, Memory& memory, int& turn) {
  int count = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) count += row.keys[i] != 0;
  int at = block_sum_before(count, memory.counts);
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    int token = threadIdx.x * ITEMS + i;
    if (row.keys[i] != 0) {
      kept[at++] = token;
    } else if (token < vocabulary) {
      stage[staged<ITEMS>(token)] = -INFINITY;
    }
  }
  return block_count(count, memory.tally, turn);
}

// Weighs what is left, drops what top-p and min-p do, and draws. `token_of` and `place_of` tell an item's token and its
// place in the stage.
template <int ITEMS, typename TokenOf, typename PlaceOf>
__device__ void draw_from(Row<ITEMS>& row, uint32_t largest, const DrawSettings& settings, float* stage,
                          int place, uint32_t* tokens, float* confidence, int positions, Memory& memory, int& drawn,
                          int& turn, TokenOf token_of, PlaceOf place_of) {
  float highest = number_of(largest);
#pragma unroll
  for (int i = 0; i < ITEMS; i++) row.weights[i] = row.keys[i] ? exponential(__fsub_rn(number_of(row.keys[i]), highest)) : 0;
  uint32_t before[ITEMS];
#pragma unroll
  for (int i = 0; i < ITEMS; i++) before[i] = row.keys[i];
  if (0 < settings.top_p && settings.top_p < 1) drop_beyond_top_p(row, settings.top_p, largest, memory, turn);
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    if (settings.min_p > 0 && (double)row.weights[i] < settings.min_p) {
      row.keys[i] = 0;
      row.weights[i] = 0;
    }
    if (before[i] != 0 && row.keys[i] == 0) stage[place_of(i)] = -INFINITY;
  }

  double own = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) own += row.weights[i];
  double cumulative = block_sum_before(own, memory.weights);
  double total = block_sum(own, memory.weights);
  uint32_t image = settings.first_image + place / positions;
  uint32_t word = philox(settings.seed, place % positions, settings.pass, image, TOKEN_DRAW);
  double goal = (word >> 8) * 0x1p-24 * total;
  if (threadIdx.x == 0) drawn = INT_MAX;
  __syncthreads();
  int first = INT_MAX;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    cumulative += row.weights[i];
    if (row.weights[i] > 0 && cumulative > goal) first = min(first, (int)threadIdx.x * ITEMS + i);
  }
  atomicMin(&drawn, first);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    if (threadIdx.x * ITEMS + i == drawn) {
      tokens[place] = token_of(i);
      confidence[place] = (float)(row.weights[i] / total);
    }
  }
}

// What is drawn where.
struct Draw {
  float* logits;
  const uint8_t* only;
  const DrawSettings* settings;
  uint32_t* tokens;
  float* confidence;
  int rows, positions, vocabulary, halves;
};

// Stands for a token while more than a few are left to draw from.
constexpr uint32_t LEFT = 0xffffffffu;

// Draws the token of a row; where it takes FEW only, and there are more, it is left.
template <int ITEMS, int FEW, bool FEW_ONLY>
__device__ __forceinline__ void draw(const Draw& of, int place) {
  extern __shared__ float stage[];
  __shared__ Memory memory;
  __shared__ int drawn;
  int turn = 0;
  if (of.only != nullptr && of.only[place] == 0) return;
  const DrawSettings settings = *of.settings;
  int vocabulary = of.vocabulary;
  float* logits = of.logits + (size_t)place * vocabulary;
  uint16_t* kept = reinterpret_cast<uint16_t*>(stage + staged<ITEMS>(vocabulary) + 1);

  Row<ITEMS> row;
  guide(row, logits, (size_t)of.rows * vocabulary, of.halves == 2, settings, vocabulary);
  uint32_t largest = keep_top_k(row, settings, vocabulary, memory, turn);
  int count = list_kept(row, stage, kept, vocabulary, memory, turn);
  __syncthreads();
  auto draw_of = [&](auto& row, auto token_of, auto place_of) {
    draw_from(row, largest, settings, stage, place, of.tokens, of.confidence, of.positions, memory, drawn, turn, token_of,
              place_of);
  };
  if (count <= FEW * blockDim.x) {
    Row<FEW> few;
    int first = threadIdx.x * FEW;
#pragma unroll
    for (int i = 0; i < FEW; i++)
      few.keys[i] = first + i < count ? ordered(stage[staged<ITEMS>(kept[first + i])]) : 0;
    draw_of(few, [&](int i) { return kept[first + i]; }, [&](int i) { return staged<ITEMS>(kept[first + i]); });
  } else if constexpr (FEW_ONLY) {
    if (threadIdx.x == 0) of.tokens[place] = LEFT;
    return;
  } else {
    draw_of(row, [&](int i) { return threadIdx.x * ITEMS + i; },
            [&](int i) { return staged<ITEMS>(threadIdx.x * ITEMS + i); });
  }
  for (int token = threadIdx.x; token < vocabulary; token += blockDim.x) logits[token] = stage[staged<ITEMS>(token)];
}

#define DRAW(name, items, few, few_only)                                                                       \
  extern "C" __global__ void __launch_bounds__(512) name(                                                      \
      float* logits, const uint8_t* only, const DrawSettings* settings, uint32_t* tokens, float* confidence,   \
      int rows, int positions, int vocabulary, int halves) {                                                   \
    Draw of = {logits, only, settings, tokens, confidence, rows, positions, vocabulary, halves};               \
    start_early();                                                                                             \
    draw<items, few, few_only>(of, blockIdx.x);                                                                \
  }

DRAW(draw_tokens_4, 4, 1, false)
DRAW(draw_tokens_16, 16, 4, false)

// The same in two kernels: the first, in fewer registers, draws from few tokens, the second what it has left.
DRAW(draw_tokens_few, 16, 4, true)

extern "C" __global__ void __launch_bounds__(512) draw_tokens_left(float* logits, const uint8_t* only,
                                                                    const DrawSettings* settings, uint32_t* tokens,
                                                                    float* confidence, int rows, int positions,
                                                                    int vocabulary, int halves) {
  Draw of = {logits, only, settings, tokens, confidence, rows, positions, vocabulary, halves};
  start_early();
  for (int place = blockIdx.x; place < rows; place += gridDim.x) {
    if (tokens[place] != LEFT) continue;
    draw<16, 4, false>(of, place);
    __syncthreads();
  }
}
