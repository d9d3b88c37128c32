// Attention at head width 64 over any list of segments, on Hopper. docs/kernels.md explains it with pictures.
//
// A block stays on its multiprocessor and works through a list of items made by the host. Its first four warps bring
// keys and values through a ring of stages by the copy engine, and normalise the keys where they lie. Every other group
// of four warps owns 64 queries in registers and meets 64 keys at a time: while it softens the scores of one step, the
// tensor cores multiply the step before by the values and the queries by the step after.
//
// |q̂·k̂| ≤ 1, so up to a factor of 64 every e^score lies within 2^±93 and sums of them are far from float32's ends:
// no maximum is searched and nothing is ever rescaled. bfloat16 has float32's exponents, so weights keep their
// precision too. Larger factors, and scores that are not normalised, take the usual running maximum.
#include "attention_product.cuh"


#ifndef UNROLLED
#define UNROLLED 2
#endif
#ifndef HELD
#define HELD 1
#endif
#ifndef OVERLAP
#define OVERLAP 1
#endif
#ifndef BY_PRODUCTS
#define BY_PRODUCTS 4
#endif


constexpr int WIDTH = 64;
constexpr int TILE = 64;
constexpr int TILE_BYTES = TILE * WIDTH * 2;
constexpr int GROUP = 128;
constexpr int ROWS_AT_ONCE = UNROLLED;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;
// The largest factor without a running maximum.
constexpr float LARGEST_UNSHIFTED = 64.0f;

// What a group does in an item. Rows are those of a sequence.
struct alignas(16) Task {
  int sequence, head;        // in a pattern: counted from the item's, the head perhaps beyond the last
  int first, end;            // queries; none where they are equal
  int key_start, key_end;    // keys that any of them sees
  int open_start, open_end;  // keys that all of them see
  uint16_t before, stages;   // the item's stages before its own, and all of them
};

// What the groups of a block do together.
template <int GROUPS>
struct alignas(16) Pattern {
  int stages;              // steps of 64 keys
  int key_start, key_end;  // of the keys that all groups share; none where each group has its own stage
  Task tasks[GROUPS];
};

struct Attention {
  const float* factors;  // a number a head; null: scores are `scale` times the product
  bf16* out;             // [sequences, out_rows, heads, 64]
  float* lse;            // [sequences, heads, out_rows], the logarithm of the sum of e^score; or null
  const int2* bounds;    // each query row's keys: from, to; null: its task's
  const void* patterns;
  const int4* items;  // pattern, sequence, head
  const int* starts;  // [blocks + 1], into the items
  float scale;
  int heads, sequences;
  int query_column, key_column, value_column;  // of head 0 in the tensors' rows
  int out_rows, out_start;                     // the query row that is row 0 of `out`
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Tells the compiler that all lanes have the same: products may only be started where no lane can stay away.
__device__ __forceinline__ int uniform(int x) { return __shfl_sync(0xffffffffu, x, 0); }

// A place in the ring of stages, and the parity of its turn.
template <int STAGES>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1;
    }
  }
};

template <int GROUPS, int STAGES>
struct Shared {
  bf16 queries[GROUPS][2][TILE * WIDTH];
  bf16 keys[STAGES][TILE * WIDTH];
  bf16 values[STAGES][TILE * WIDTH];
  Task tasks[GROUPS][2];
  uint64_t full[STAGES], ready[STAGES], empty[STAGES];
  uint64_t query_full[GROUPS][2], query_empty[GROUPS][2];
};

// Has queries, keys and values brought, as far ahead of the products as there are free stages. One thread's work.
template <int GROUPS, int STAGES>
struct Bringer {
  Shared<GROUPS, STAGES>& shared;
  const TensorMap &queries, &keys, &values;
  const Attention& attention;
  Turn<STAGES> at;

  __device__ __forceinline__ void run(int begin, int end) {
    int4 next = begin < end ? attention.items[begin] : int4{};
    for (int item = begin; item < end; item++) {
      const auto& pattern = static_cast<const Pattern<GROUPS>*>(attention.patterns)[next.x];
      int sequence = next.y, head = next.z;
      if (item + 1 < end) next = attention.items[item + 1];
      hand_out(pattern, sequence, head, item - begin);
      int stages = pattern.stages, key = pattern.key_start;
      if (key < pattern.key_end) {
        for (int stage = 0; stage < stages; stage++) bring_stage(sequence, head, key + stage * TILE);
      } else {
        for (int stage = 0; stage < stages; stage++) {
          Task task = placed(pattern.tasks[stage], sequence, head);
          bring_stage(task.sequence, task.head, task.key_start);
        }
      }
    }
  }

  __device__ __forceinline__ Task placed(Task task, int sequence, int head) const {
    task.sequence = sequence;
    task.head += head;
    while (task.head >= attention.heads) {
      task.head -= attention.heads;
      task.sequence++;
    }
    if (task.sequence >= attention.sequences) task.end = task.first;
    return task;
  }

  // Gives every group its task and queries.
  __device__ __forceinline__ void hand_out(const Pattern<GROUPS>& pattern, int sequence, int head, int turn) {
    int slot = turn & 1;
#pragma unroll 1
    for (int group = 0; group < GROUPS; group++) {
      Task task = placed(pattern.tasks[group], sequence, head);
      uint32_t full = shared_address(&shared.query_full[group][slot]);
      wait_at(shared_address(&shared.query_empty[group][slot]), (turn >> 1 & 1) ^ 1);
      shared.tasks[group][slot] = task;
      if (task.first < task.end) {
        arrive_expecting(full, TILE_BYTES);
        copy_box(shared_address(shared.queries[group][slot]), queries, full,
                 attention.query_column + task.head * WIDTH, task.first, task.sequence);
      } else {
        arrive(full);
      }
    }
  }

  __device__ __forceinline__ void bring_stage(int sequence, int head, int key) {
    uint32_t full = shared_address(&shared.full[at.stage]);
    wait_at(shared_address(&shared.empty[at.stage]), at.parity ^ 1);
    if (sequence < attention.sequences) {
      arrive_expecting(full, 2 * TILE_BYTES);
      copy_box(shared_address(shared.keys[at.stage]), keys, full, attention.key_column + head * WIDTH, key, sequence);
      copy_box(shared_address(shared.values[at.stage]), values, full, attention.value_column + head * WIDTH, key,
               sequence);
    } else {
      arrive(full);
    }
    at.advance();
  }
};

__device__ __forceinline__ float sum_of_squares(uint32_t pair) {
  float low = __uint_as_float(pair << 16), high = __uint_as_float(pair & 0xffff0000u);
  return low * low + high * high;
}

__device__ __forceinline__ uint32_t scaled(uint32_t pair, float by) {
  return pack(__uint_as_float(pair << 16) * by, __uint_as_float(pair & 0xffff0000u) * by);
}

__device__ __forceinline__ float sum_of_squares(uint4 x) {
  return sum_of_squares(x.x) + sum_of_squares(x.y) + sum_of_squares(x.z) + sum_of_squares(x.w);
}

__device__ __forceinline__ uint4 scaled(uint4 x, float by) {
  return uint4{scaled(x.x, by), scaled(x.y, by), scaled(x.z, by), scaled(x.w, by)};
}

// 1/‖·‖ of a vector, its norm taken to be 1e-12 at least.
__device__ __forceinline__ float inverse_norm(float squares) { return rsqrtf(fmaxf(squares, 1e-24f)); }

// Eight numbers of a row of a tile whose 16-byte parts are mixed.
__device__ __forceinline__ uint4& part_of_row(bf16* tile, int row, int part) {
  return reinterpret_cast<uint4*>(tile)[row * 8 + (part ^ row % 8)];
}

// Divides the keys of a stage by their norms, four lanes a row. One warp's work.
__device__ __forceinline__ void normalize(bf16* keys) {
  int lane = threadIdx.x % 32, first = lane % 4 * 2;
#pragma unroll ROWS_AT_ONCE
  for (int row = lane / 4; row < TILE; row += 8) {
    uint4 low = part_of_row(keys, row, first), high = part_of_row(keys, row, first + 1);
    float squares = sum_of_squares(low) + sum_of_squares(high);
    squares += __shfl_xor_sync(0xffffffffu, squares, 1);
    squares += __shfl_xor_sync(0xffffffffu, squares, 2);
    float by = inverse_norm(squares);
    part_of_row(keys, row, first) = scaled(low, by);
    part_of_row(keys, row, first + 1) = scaled(high, by);
  }
}

// Clears values that nobody may see: a weight of zero would not hide a NaN.
__device__ __forceinline__ void clear_from(bf16* values, int row) {
  for (int i = row * 8 + threadIdx.x % 32; i < TILE * 8; i += 32) reinterpret_cast<uint4*>(values)[i] = uint4{};
}

// Prepares every SHARE-th stage. One warp's work.
template <int GROUPS, int STAGES, int SHARE>
__device__ __forceinline__ void prepare(Shared<GROUPS, STAGES>& shared, const Attention& attention, int first, int begin,
                                        int end) {
  Turn<STAGES> at;
  int wait = first;
  for (int item = begin; item < end; item++) {
    const auto& pattern = static_cast<const Pattern<GROUPS>*>(attention.patterns)[attention.items[item].x];
    int stages = pattern.stages, keys = pattern.key_end - pattern.key_start;
    for (int stage = 0; stage < stages; stage++, at.advance()) {
      if (wait-- > 0) continue;
      wait = SHARE - 1;
      int rows = keys - stage * TILE;
      if (keys == 0) rows = pattern.tasks[stage].key_end - pattern.tasks[stage].key_start;
      wait_at(shared_address(&shared.full[at.stage]), at.parity);
      if (attention.factors != nullptr) normalize(shared.keys[at.stage]);
      if (rows < TILE) clear_from(shared.values[at.stage], rows);
      show_writes();
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(shared_address(&shared.ready[at.stage]));
    }
  }
}

// 2ˣ on the units for products instead of the one for functions: a cubic of the fraction, the whole part added to the
// exponent. Within 1e-4, where weights are rounded to 2⁻⁹. |x| < 126.
__device__ __forceinline__ float power_of_two_by_products(float score, float factor) {
  constexpr float ROUND = 12582912.0f;
  float shifted = fmaf(score, factor, ROUND);
  float fraction = fmaf(score, factor, ROUND - shifted);
  float p = fmaf(fraction, 0.05517166f, 0.24261114f);
  p = fmaf(p, fraction, 0.69326099f);
  p = fmaf(p, fraction, 0.99992807f);
  return __int_as_float(__float_as_int(p) + (__float_as_int(shifted) << 23));
}

// 64×64 weights as the operand of a product.
using Weights = uint32_t[TILE / 16][4];

// The keys that a lane's two rows see.
struct Sight {
  int from[2], count[2];

  __device__ __forceinline__ bool sees(int row, int key) const { return (unsigned)(key - from[row]) < (unsigned)count[row]; }
};

// A group of four warps and its ring.
template <int GROUPS, int STAGES>
struct Group {
  Shared<GROUPS, STAGES>& shared;
  const Attention& attention;
  int group;
  Turn<STAGES> at;       // the next stage to multiply the queries by
  Turn<STAGES> leaving;  // the next stage to be given back
#if HELD
  uint32_t held[WIDTH / 16][4];
#endif
  int slot;
  float factors[2];
  Sums out;
  float sum[2];
  float largest[2];

  __device__ __forceinline__ Group(Shared<GROUPS, STAGES>& shared, const Attention& attention, int group)
      : shared(shared), attention(attention), group(group) {}

  __device__ __forceinline__ int row_in_tile() const { return threadIdx.x % GROUP / 32 * 16 + threadIdx.x % 32 / 4; }

  __device__ __forceinline__ void leave_stage() {
    if (threadIdx.x % 32 == 0) arrive(shared_address(&shared.empty[leaving.stage]));
    leaving.advance();
  }

  // Lets stages of other groups pass.
  __device__ __forceinline__ void pass(int stages) {
    for (int i = 0; i < stages; i++) {
      wait_at(shared_address(&shared.ready[at.stage]), at.parity);
      at.advance();
      leave_stage();
    }
  }

  // Queries come to registers, their places are free again. Factors include what turns e to 2.
  __device__ __forceinline__ void take_queries(int head) {
    const bf16* tile = shared.queries[group][slot];
#if !HELD
    uint32_t held[WIDTH / 16][4];
#endif
    int lane = threadIdx.x % 32, row = threadIdx.x % GROUP / 32 * 16 + lane % 16;
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++)
      load_tiles(held[k], tile + row * WIDTH + ((k * 2 + lane / 16) ^ row % 8) * 8);
#if HELD
    __syncwarp();
    if (lane == 0) arrive(shared_address(&shared.query_empty[group][slot]));
#endif
    if (attention.factors == nullptr) {
      factors[0] = factors[1] = attention.scale * LOG2_E;
      return;
    }
    float factor = attention.factors[head] * LOG2_E;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float squares = 0;
#pragma unroll
      for (int k = 0; k < WIDTH / 16; k++) squares += sum_of_squares(held[k][half]) + sum_of_squares(held[k][half + 2]);
      squares += __shfl_xor_sync(0xffffffffu, squares, 1);
      squares += __shfl_xor_sync(0xffffffffu, squares, 2);
      factors[half] = factor * inverse_norm(squares);
    }
  }

  // Starts the products of the queries with the next stage's keys.
  __device__ __forceinline__ void multiply_keys(Sums& scores) {
    wait_at(shared_address(&shared.ready[at.stage]), at.parity);
    uint64_t keys = operand(shared_address(shared.keys[at.stage]));
    begin_products();
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++) {
#if HELD
      if (k == 0) {
        multiply_held<0>(scores, held[k], keys, 0);
      } else {
        multiply_held<0>(scores, held[k], keys + k * 2, 1);
      }
#else
      uint64_t queries = operand(shared_address(shared.queries[group][slot]));
      if (k == 0) {
        multiply_lying(scores, queries, keys, 0);
      } else {
        multiply_lying(scores, queries + k * 2, keys + k * 2, 1);
      }
#endif
    }
    at.advance();
  }

  // Starts the products of weights with the values of the stage that is left next.
  __device__ __forceinline__ void multiply_values(const Weights& weights, int stage, int add) {
    uint64_t values = operand(shared_address(shared.values[stage]));
    begin_products();
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) multiply_held<1>(out, weights[k], values + k * (16 * WIDTH * 2 / 16), add | k);
  }

  __device__ __forceinline__ Sight look(const Task& task) const {
    Sight sight;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int2 keys = int2{task.key_start, task.key_end};
      if (attention.bounds != nullptr)
        keys = attention.bounds[min(task.first + row_in_tile() + half * 8, task.end - 1)];
      sight.from[half] = keys.x;
      sight.count[half] = keys.y - keys.x;
    }
    return sight;
  }

  // Scores become weights, e^score.
  template <bool MASKED>
  __device__ __forceinline__ void soften(const Sums& scores, Weights& weights, int key, const Sight& sight) {
    key += threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
      float four[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float score = scores[4 * n + i];
        four[i] = (4 * n + i) % BY_PRODUCTS == 1 ? power_of_two_by_products(score, factors[i / 2])
                                                                    : power_of_two_of(score * factors[i / 2]);
        if (MASKED) four[i] = sight.sees(i / 2, key + n * 8 + i % 2) ? four[i] : 0.0f;
        sum[i / 2] += four[i];
      }
      weights[n / 2][n % 2 * 2] = pack(four[0], four[1]);
      weights[n / 2][n % 2 * 2 + 1] = pack(four[2], four[3]);
    }
  }

  // The same relative to the largest score so far.
  __device__ __forceinline__ void soften_shifted(Sums& scores, int key, const Sight& sight) {
    key += threadIdx.x % 4 * 2;
    float most[2] = {largest[0], largest[1]};
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float& score = scores[4 * n + i];
        score = sight.sees(i / 2, key + n * 8 + i % 2) ? score * factors[i / 2] : -INFINITY;
        most[i / 2] = fmaxf(most[i / 2], score);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 1));
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 2));
      float shrink = power_of_two_of(largest[half] - most[half]);
      largest[half] = most[half];
      sum[half] *= shrink;
#pragma unroll
      for (int n = 0; n < WIDTH / 8; n++) {
        out[4 * n + 2 * half] *= shrink;
        out[4 * n + 2 * half + 1] *= shrink;
      }
    }
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float& score = scores[4 * n + i];
        score = power_of_two_of(score - largest[i / 2]);
        sum[i / 2] += score;
      }
    }
  }

  __device__ __forceinline__ static void pack_weights(Weights& weights, const Sums& scores) {
#pragma unroll
    for (int i = 0; i < TILE / 4; i++) weights[i / 4][i % 4] = pack(scores[2 * i], scores[2 * i + 1]);
  }

  __device__ __forceinline__ void soften_step(const Sums& scores, Weights& weights, const Task& task, int step) {
    int key = task.key_start + step * TILE;
    if (key >= task.open_start && key + TILE <= task.open_end) {
      soften<false>(scores, weights, key, Sight{});
    } else {
      soften<true>(scores, weights, key, look(task));
    }
  }

  // One step: its scores are there, the values of the step before and the scores of the next are on their way.
  template <bool MORE>
  __device__ __forceinline__ void attend_step(Sums& scores, Weights& weights, const Task& task, int step, bool leave) {
    soften_step(scores, weights, task, step);
    wait_for_products<0>();
    if (leave) leave_stage();
    multiply_values(weights, leaving.stage, step);
    if (MORE) multiply_keys(scores);
    commit_products();
  }

  // Even and odd steps have registers of their own, so that the tensor cores go on while weights are made. Products on
  // their way must not meet at a branch's end: an odd step goes first, alone.
  __device__ __forceinline__ void attend(const Task& task, int steps) {
    Sums even, odd;
    Weights even_weights, odd_weights;
    int step = steps & 1;
    if (step) {
      multiply_keys(even);
      commit_products();
      wait_for_products<0>();
      attend_step<false>(even, even_weights, task, 0, false);
      wait_for_products<0>();
      leave_stage();
    }
    if (step == steps) return;
    multiply_keys(even);
    commit_products();
    wait_for_products<0>();
    multiply_keys(odd);
    commit_products();
    int first = step;
    for (; step + 2 < steps; step += 2) {
      attend_step<true>(even, even_weights, task, step, step > first);
      attend_step<true>(odd, odd_weights, task, step + 1, true);
    }
    attend_step<false>(even, even_weights, task, step, step > first);
    attend_step<false>(odd, odd_weights, task, step + 1, true);
    wait_for_products<0>();
    leave_stage();
  }

  // Without: the tensor cores serve other groups while this one makes weights.
  __device__ __forceinline__ void attend_alone(const Task& task, int steps) {
    Sums scores;
    Weights weights;
    multiply_keys(scores);
    commit_products();
    wait_for_products<0>();
    int step = 0;
    for (; step + 1 < steps; step++) {
      soften_step(scores, weights, task, step);
      multiply_values(weights, leaving.stage, step);
      multiply_keys(scores);
      commit_products();
      wait_for_products<0>();
      leave_stage();
    }
    soften_step(scores, weights, task, step);
    multiply_values(weights, leaving.stage, step);
    commit_products();
    wait_for_products<0>();
    leave_stage();
  }

  // The same, step after step, with a running maximum.
  __device__ __forceinline__ void attend_shifted(const Task& task, int steps) {
    Sums scores;
    Weights weights;
    Sight sight = look(task);
#pragma unroll
    for (int i = 0; i < 32; i++) out[i] = 0;
    for (int step = 0; step < steps; step++) {
      multiply_keys(scores);
      commit_products();
      wait_for_products<0>();
      soften_shifted(scores, task.key_start + step * TILE, sight);
      pack_weights(weights, scores);
      multiply_values(weights, leaving.stage, 1);
      commit_products();
      wait_for_products<0>();
      leave_stage();
    }
  }

  // Four lanes exchange four numbers each: lane l of the four gets number l of each.
  __device__ __forceinline__ static void exchange(uint32_t (&x)[4]) {
    int lane = threadIdx.x;
#pragma unroll
    for (int distance = 1; distance < 4; distance *= 2) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (i & distance) continue;
        bool upper = lane & distance;
        uint32_t theirs = __shfl_xor_sync(0xffffffffu, upper ? x[i] : x[i + distance], distance);
        (upper ? x[i] : x[i + distance]) = theirs;
      }
    }
  }

  __device__ __forceinline__ void store(const Task& task) {
    int lane = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
      sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
      float inverse = 1.0f / sum[half];
      int row = task.first + row_in_tile() + half * 8;
      bool there = row < task.end;
      row -= attention.out_start;
      bf16* target =
          attention.out + (((size_t)task.sequence * attention.out_rows + row) * attention.heads + task.head) * WIDTH;
#pragma unroll
      for (int n = 0; n < WIDTH / 8; n += 4) {
        uint32_t parts[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const float* both = out + 4 * (n + i) + 2 * half;
          parts[i] = pack(both[0] * inverse, both[1] * inverse);
        }
        exchange(parts);
        if (there) reinterpret_cast<uint4*>(target)[n + lane] = uint4{parts[0], parts[1], parts[2], parts[3]};
      }
      if (there && lane == 0 && attention.lse != nullptr) {
        size_t place = (size_t)task.sequence * attention.heads + task.head;
        attention.lse[place * attention.out_rows + row] = (largest[half] + log2f(sum[half])) * LN_2;
      }
    }
  }

  __device__ __forceinline__ void run(int items) {
    for (int item = 0; item < items; item++) {
      slot = item & 1;
      wait_at(shared_address(&shared.query_full[group][slot]), item >> 1 & 1);
      Task task = shared.tasks[group][slot];
      take_queries(task.head);
      int own = uniform(task.first < task.end ? (task.key_end - task.key_start + TILE - 1) / TILE : 0);
      pass(task.before);
      if (own > 0) {
        sum[0] = sum[1] = 0;
        bool shifted = attention.factors == nullptr || attention.factors[task.head] > LARGEST_UNSHIFTED;
        if (shifted) {
          largest[0] = largest[1] = -1e30f;
          attend_shifted(task, own);
        } else {
          largest[0] = largest[1] = 0;
          if (OVERLAP) attend(task, own); else attend_alone(task, own);
        }
#if !HELD
        if (threadIdx.x % 32 == 0) arrive(shared_address(&shared.query_empty[group][slot]));
#endif
        store(task);
      }
#if !HELD
      else {
        __syncwarp();
        if (threadIdx.x % 32 == 0) arrive(shared_address(&shared.query_empty[group][slot]));
      }
#endif
      pass(task.stages - task.before - own);
    }
  }
};

// GROUPS groups of queries, and SUPPLIERS threads after them that supply.
template <int GROUPS, int STAGES, int SUPPLIERS, int SUPPLY_REGISTERS, int REGISTERS>
__device__ __forceinline__ void attend_segments(const TensorMap& queries, const TensorMap& keys, const TensorMap& values,
                                                const Attention& attention) {
  extern __shared__ unsigned char memory[];
  // Tiles of mixed rows begin at multiples of 1,024 bytes.
  uint32_t misplaced = shared_address(memory) % 1024;
  auto& shared = *reinterpret_cast<Shared<GROUPS, STAGES>*>(memory + (1024 - misplaced) % 1024);
  let_next_start();
  int begin = attention.starts[blockIdx.x], end = attention.starts[blockIdx.x + 1];
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < STAGES; stage++) {
      start_barrier(shared_address(&shared.full[stage]), 1);
      start_barrier(shared_address(&shared.ready[stage]), 1);
      start_barrier(shared_address(&shared.empty[stage]), GROUPS * GROUP / 32);
    }
    for (int slot = 0; slot < 2 * GROUPS; slot++) {
      start_barrier(shared_address(&shared.query_full[0][slot]), 1);
      start_barrier(shared_address(&shared.query_empty[0][slot]), GROUP / 32);
    }
    show_barriers();
  }
  __syncthreads();
  wait_for_earlier();
  int group = uniform(threadIdx.x / GROUP);
  if (group == GROUPS) {
    if constexpr (SUPPLY_REGISTERS > 0) leave_registers<SUPPLY_REGISTERS>();
    constexpr int SHARE = SUPPLIERS / 32 - 1;
    int warp = uniform(threadIdx.x % GROUP / 32);
    if (warp < SHARE) {
      prepare<GROUPS, STAGES, SHARE>(shared, attention, warp, begin, end);
    } else if (threadIdx.x % 32 == 0) {
      Bringer<GROUPS, STAGES>{shared, queries, keys, values, attention}.run(begin, end);
    }
  } else {
    if constexpr (REGISTERS > 0) take_registers<REGISTERS>();
    Group<GROUPS, STAGES>(shared, attention, group).run(end - begin);
  }
}

#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define ATTEND(...) attend_segments<__VA_ARGS__>(queries, keys, values, attention)
#else
#define ATTEND(...)
#endif

#define KERNEL(name, threads, blocks, ...)                                                                 \
  extern "C" __global__ void __launch_bounds__(threads, blocks)                                            \
      name(const __grid_constant__ TensorMap queries, const __grid_constant__ TensorMap keys,              \
           const __grid_constant__ TensorMap values, const __grid_constant__ Attention attention) {        \
    ATTEND(__VA_ARGS__);                                                                                   \
  }

KERNEL(attention_segments_2, 3 * GROUP, 1, 2, 11, 128, 80, 208)
KERNEL(attention_segments_3, 4 * GROUP, 1, 3, 10, 128, 56, 152)
KERNEL(attention_segments_1, 2 * GROUP, 2, 1, 5, 128, 56, 184)
