// Attention at head width 64 over any list of segments, on Hopper. docs/kernels.md explains it with pictures.
//
// A block stays on its multiprocessor and works through a list of items made by the host. One thread has keys and values
// brought by the copy engine through a ring of stages; three warps normalise the keys where they lie. Every other group
// of four warps owns 64 queries in registers and meets 64 keys at a time: while it softens the scores of one step, the
// tensor cores multiply the weights of the step before by their values. Factors go into the queries and sums of weights
// are products with ones, so that a score costs one exponential and half a rounding, and nothing else.
//
// |q̂·k̂| ≤ 1, so up to a factor of 64 every e^score lies within 2^±93 and sums of them are far from float32's ends:
// no maximum is searched and nothing is ever rescaled. bfloat16 has float32's exponents, so weights keep their
// precision too. Larger factors, and scores that are not normalised, take the usual running maximum.
#include "attention_product.cuh"

constexpr int GROUP = 128;

// What a group does in an item. Rows are those of a sequence.
struct alignas(16) Task {
  int sequence, head;        // in an assignment: counted from the item's, the head perhaps beyond the last
  int first, end;            // queries; none where they are equal
  int key_start, key_end;    // keys that any of them sees
  int open_start, open_end;  // keys that all of them see
  uint16_t before, stages;   // the item's stages before its own, and all of them
};

// What the groups of a block do together.
template <int GROUPS>
struct alignas(16) Assignment {
  int stages;              // steps of 64 keys
  int key_start, key_end;  // of the keys that all groups share; none where each group has its own stage
  Task tasks[GROUPS];
};

struct Attention {
  const float* factors;  // a number a head; null: scores are `scale` times the product
  bf16* out;             // [sequences, out_rows, heads, 64]
  float* lse;            // [sequences, heads, out_rows], the logarithm of the sum of e^score; or null
  const int2* bounds;    // each query row's keys: from, to; null: its task's
  const void* assignments;
  const int4* items;  // assignment, sequence, head
  const int* starts;  // [blocks + 1], into the items
  float scale;
  int heads, sequences;
  int query_column, key_column, value_column;  // of head 0 in the tensors' rows
  int out_rows, out_start;                     // the query row that is row 0 of `out`
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int WIDTH = 64;
constexpr int TILE = 64;
constexpr int TILE_BYTES = TILE * WIDTH * 2;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;
// The largest factor without a running maximum.
constexpr float LARGEST_UNSHIFTED = 64.0f;

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
  bf16 ones[16 * WIDTH];  // beside 16 keys' values: sums of weights are products too
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
      const auto& assignment = static_cast<const Assignment<GROUPS>*>(attention.assignments)[next.x];
      int sequence = next.y, head = next.z;
      if (item + 1 < end) next = attention.items[item + 1];
      hand_out(assignment, sequence, head, item - begin);
      int stages = assignment.stages, key = assignment.key_start;
      if (key < assignment.key_end) {
        for (int stage = 0; stage < stages; stage++) bring_stage(sequence, head, key + stage * TILE);
      } else {
        for (int stage = 0; stage < stages; stage++) {
          Task task = placed(assignment.tasks[stage], sequence, head);
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
  __device__ __forceinline__ void hand_out(const Assignment<GROUPS>& assignment, int sequence, int head, int turn) {
    int slot = turn & 1;
#pragma unroll 1
    for (int group = 0; group < GROUPS; group++) {
      Task task = placed(assignment.tasks[group], sequence, head);
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

// A factor as two bfloat16: the lower half is what rounding the upper one lost.
__device__ __forceinline__ uint32_t split(float factor) {
  __nv_bfloat16 most = __float2bfloat16_rn(factor);
  return pack(factor - __bfloat162float(most), __bfloat162float(most));
}

// Products with a split factor, rounded once as if it were exact.
__device__ __forceinline__ uint32_t scaled(uint32_t pair, uint32_t factor) {
  __nv_bfloat162 both = reinterpret_cast<__nv_bfloat162&>(pair), by = reinterpret_cast<__nv_bfloat162&>(factor);
  both = __hfma2(both, __high2bfloat162(by), __hmul2(both, __low2bfloat162(by)));
  return reinterpret_cast<uint32_t&>(both);
}

__device__ __forceinline__ float sum_of_squares(uint4 x) {
  return sum_of_squares(x.x) + sum_of_squares(x.y) + sum_of_squares(x.z) + sum_of_squares(x.w);
}

__device__ __forceinline__ uint4 scaled(uint4 x, uint32_t factor) {
  return uint4{scaled(x.x, factor), scaled(x.y, factor), scaled(x.z, factor), scaled(x.w, factor)};
}

// 1/‖·‖ of a vector, its norm taken to be 1e-12 at least.
__device__ __forceinline__ float inverse_norm(float squares) {
  float inverse;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(fmaxf(squares, 1e-24f)));
  return inverse;
}

// Eight numbers of a row of a tile whose 16-byte parts are mixed.
__device__ __forceinline__ uint4& part_of_row(bf16* tile, int row, int part) {
  return reinterpret_cast<uint4*>(tile)[row * 8 + (part ^ row % 8)];
}

// Divides the keys of a stage by their norms: one warp's work. Four lanes share a row, a lane has a part of eight rows;
// all of them are read before any is written, so that no load waits for another.
__device__ __forceinline__ void normalize(bf16* keys) {
  constexpr int ROWS = TILE / 8;
  int lane = threadIdx.x % 32, first = lane % 4 * 2, row = lane / 4;
  float squares[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    squares[i] = sum_of_squares(part_of_row(keys, row + i * 8, first)) +
                 sum_of_squares(part_of_row(keys, row + i * 8, first + 1));
  }
  // Lane l of the four ends with the sums of rows l and l + 4, so that it makes two inverses instead of eight.
  bool odd = lane & 1, upper = lane & 2;
#pragma unroll
  for (int i = 0; i < ROWS; i += 2) {
    float mine = odd ? squares[i + 1] : squares[i], theirs = odd ? squares[i] : squares[i + 1];
    squares[i] = mine + __shfl_xor_sync(0xffffffffu, theirs, 1);
  }
  uint32_t factors[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float mine = upper ? squares[4 * i + 2] : squares[4 * i], theirs = upper ? squares[4 * i] : squares[4 * i + 2];
    factors[i] = split(inverse_norm(mine + __shfl_xor_sync(0xffffffffu, theirs, 2)));
  }
#pragma unroll
  for (int i = 0; i < ROWS; i += 2) {
    uint4 parts[2][2];
#pragma unroll
    for (int j = 0; j < 4; j++) parts[j / 2][j % 2] = part_of_row(keys, row + (i + j / 2) * 8, first + j % 2);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      uint32_t factor = __shfl_sync(0xffffffffu, factors[i / 4], i % 4 + j / 2, 4);
      part_of_row(keys, row + (i + j / 2) * 8, first + j % 2) = scaled(parts[j / 2][j % 2], factor);
    }
  }
}

// Clears values that nobody may see: a weight of zero would not hide a NaN.
__device__ __forceinline__ void clear_from(bf16* values, int row) {
#pragma unroll 1
  for (int i = row * 8 + threadIdx.x % 32; i < TILE * 8; i += 32) reinterpret_cast<uint4*>(values)[i] = uint4{};
}

// Prepares every SHARE-th stage. One warp's work.
template <int GROUPS, int STAGES, int SHARE>
__device__ __forceinline__ void prepare(Shared<GROUPS, STAGES>& shared, const Attention& attention, int first, int begin,
                                        int end) {
  Turn<STAGES> at;
  int wait = first;
  for (int item = begin; item < end; item++) {
    const auto& assignment = static_cast<const Assignment<GROUPS>*>(attention.assignments)[attention.items[item].x];
    int stages = assignment.stages, keys = assignment.key_end - assignment.key_start;
    for (int stage = 0; stage < stages; stage++, at.advance()) {
      if (wait-- > 0) continue;
      wait = SHARE - 1;
      int rows = keys - stage * TILE;
      if (keys == 0) rows = assignment.tasks[stage].key_end - assignment.tasks[stage].key_start;
      wait_at(shared_address(&shared.full[at.stage]), at.parity);
      if (attention.factors != nullptr) normalize(shared.keys[at.stage]);
      if (rows < TILE) clear_from(shared.values[at.stage], rows);
      show_writes();
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(shared_address(&shared.ready[at.stage]));
    }
  }
}

// 64×64 weights as the operand of a product.
using Weights = uint32_t[TILE / 16][4];

// The keys that a lane's two rows see.
struct Sight {
  int2 keys[2];

  // Counted from a lane's first column of a step.
  __device__ __forceinline__ Sight from(int key) const {
    key += threadIdx.x % 4 * 2;
    return {{int2{keys[0].x - key, keys[0].y - key}, int2{keys[1].x - key, keys[1].y - key}}};
  }

  __device__ __forceinline__ bool sees(int row, int key) const { return key >= keys[row].x && key < keys[row].y; }
};

// A group of four warps and its ring.
template <int GROUPS, int STAGES>
struct Group {
  Shared<GROUPS, STAGES>& shared;
  const Attention& attention;
  int group;
  uint32_t first_keys, first_values;  // of the first stage, as operands
  Turn<STAGES> at;                    // the next stage to multiply the queries by
  Turn<STAGES> leaving;               // the next stage to be given back
  uint32_t queries[WIDTH / 16][4];  // times what makes 2^score of their products with keys a weight
  Outputs out;
  Sight sight;
  float largest[2];

  __device__ __forceinline__ Group(Shared<GROUPS, STAGES>& shared, const Attention& attention, int group)
      : shared(shared), attention(attention), group(group), first_keys(key_operand(shared_address(shared.keys))),
        first_values(value_operand(shared_address(shared.values), shared_address(shared.ones))) {}

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

  // Queries come to registers; their place is free again. Returns the head's factor, infinity where scores have no bound.
  __device__ __forceinline__ float take_queries(int slot, int head) {
    const bf16* tile = shared.queries[group][slot];
    int lane = threadIdx.x % 32, row = threadIdx.x % GROUP / 32 * 16 + lane % 16;
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++)
      load_tiles(queries[k], tile + row * WIDTH + ((k * 2 + lane / 16) ^ row % 8) * 8);
    __syncwarp();
    if (lane == 0) arrive(shared_address(&shared.query_empty[group][slot]));
    float factor = INFINITY, factors[2] = {attention.scale, attention.scale};
    if (attention.factors != nullptr) {
      factor = attention.factors[head];
      float squares[2] = {};
#pragma unroll
      for (int i = 0; i < WIDTH / 8; i++) {
        squares[0] += sum_of_squares(queries[i / 2][i % 2 * 2]);
        squares[1] += sum_of_squares(queries[i / 2][i % 2 * 2 + 1]);
      }
#pragma unroll
      for (int distance = 1; distance < 4; distance *= 2) {
        squares[0] += __shfl_xor_sync(0xffffffffu, squares[0], distance);
        squares[1] += __shfl_xor_sync(0xffffffffu, squares[1], distance);
      }
      factors[0] = factor * inverse_norm(squares[0]);
      factors[1] = factor * inverse_norm(squares[1]);
    }
    uint32_t by[2] = {split(factors[0] * LOG2_E), split(factors[1] * LOG2_E)};
#pragma unroll
    for (int i = 0; i < WIDTH / 4; i++) queries[i / 4][i % 4] = scaled(queries[i / 4][i % 4], by[i % 2]);
    return factor;
  }

  // Starts the products of the queries with the next stage's keys.
  __device__ __forceinline__ void multiply_keys(Sums& scores) {
    wait_at(shared_address(&shared.ready[at.stage]), at.parity);
    uint32_t keys = first_keys + at.stage * (TILE_BYTES >> 4);
    begin_products();
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++) multiply_held(scores, queries[k], whole_operand(keys + k * KEY_STEP), k);
    at.advance();
  }

  // Starts the products of weights with the values of the stage that is left next.
  __device__ __forceinline__ void multiply_values(const Weights& weights, int add) {
    uint32_t values = first_values + leaving.stage * (TILE / 16 * VALUE_STEP);
    begin_products();
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) multiply_held(out, weights[k], whole_operand(values + k * VALUE_STEP), add | k);
  }

  __device__ __forceinline__ Sight look(const Task& task) const {
    bool all = task.open_start <= task.key_start && task.key_end <= task.open_end;
    if (all || task.first == task.end) return {{int2{task.key_start, task.key_end}, int2{task.key_start, task.key_end}}};
    int row = task.first + row_in_tile();
    return {{attention.bounds[min(row, task.end - 1)], attention.bounds[min(row + 8, task.end - 1)]}};
  }

  // Scores become weights, e^score.
  template <bool MASKED>
  __device__ __forceinline__ void soften(const Sums& scores, Sums& softened, const Sight& sight) {
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float weight = power_of_two_of(scores[4 * n + i]);
        softened[4 * n + i] = !MASKED || sight.sees(i / 2, n * 8 + i % 2) ? weight : 0.0f;
      }
    }
  }

  __device__ __forceinline__ static void round_weights(Weights& weights, const Sums& softened) {
#pragma unroll
    for (int i = 0; i < TILE / 4; i++) weights[i / 4][i % 4] = pack(softened[2 * i], softened[2 * i + 1]);
  }

  // The same relative to the largest score so far.
  __device__ __forceinline__ void soften_shifted(Sums& scores, Weights& weights, const Sight& sight) {
    float most[2] = {largest[0], largest[1]};
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float& score = scores[4 * n + i];
        if (!sight.sees(i / 2, n * 8 + i % 2)) score = -INFINITY;
        most[i / 2] = fmaxf(most[i / 2], score);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 1));
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 2));
      float shrink = power_of_two_of(largest[half] - most[half]);
      largest[half] = most[half];
#pragma unroll
      for (int n = 0; n <= WIDTH / 8; n++) {
        out[4 * n + 2 * half] *= shrink;
        out[4 * n + 2 * half + 1] *= shrink;
      }
    }
#pragma unroll
    for (int i = 0; i < TILE / 4; i++) {
      float shift = largest[i % 2];
      weights[i / 4][i % 4] = pack(power_of_two_of(scores[2 * i] - shift), power_of_two_of(scores[2 * i + 1] - shift));
    }
  }

  __device__ __forceinline__ void soften_step(const Sums& scores, Sums& softened, const Task& task, int step) {
    int key = task.key_start + step * TILE;
    if (key >= task.open_start && key + TILE <= task.open_end) {
      soften<false>(scores, softened, Sight{});
    } else {
      soften<true>(scores, softened, sight.from(key));
    }
  }

  // While weights of a step are made, the step before is multiplied by its values.
  __device__ __forceinline__ void attend(const Task& task, int steps) {
    Sums scores, softened;
    Weights weights;
    multiply_keys(scores);
    commit_products();
    wait_for_products<0>();
    soften_step(scores, softened, task, 0);
    int step = 0;
    for (; step + 1 < steps; step++) {
      round_weights(weights, softened);
      multiply_keys(scores);
      commit_products();
      multiply_values(weights, step);
      commit_products();
      wait_for_products<1>();
      soften_step(scores, softened, task, step + 1);
      wait_for_products<0>();
      leave_stage();
    }
    round_weights(weights, softened);
    multiply_values(weights, step);
    commit_products();
    wait_for_products<0>();
    leave_stage();
  }

  // The same, step after step, with a running maximum.
  __device__ __forceinline__ void attend_shifted(const Task& task, int steps) {
    Sums scores;
    Weights weights;
#pragma unroll
    for (int i = 0; i < 36; i++) out[i] = 0;
    for (int step = 0; step < steps; step++) {
      multiply_keys(scores);
      commit_products();
      wait_for_products<0>();
      soften_shifted(scores, weights, sight.from(task.key_start + step * TILE));
      multiply_values(weights, 1);
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
      float sum = out[4 * (WIDTH / 8) + 2 * half], inverse = __fdividef(1.0f, sum);
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
        attention.lse[place * attention.out_rows + row] = (largest[half] + log2f(sum)) * LN_2;
      }
    }
  }

  __device__ __forceinline__ void run(int items) {
    for (int item = 0; item < items; item++) {
      int slot = item & 1;
      wait_at(shared_address(&shared.query_full[group][slot]), item >> 1 & 1);
      Task task = shared.tasks[group][slot];
      sight = look(task);
      float factor = take_queries(slot, task.head);
      int own = uniform(task.first < task.end ? (task.key_end - task.key_start + TILE - 1) / TILE : 0);
      pass(task.before);
      if (own > 0) {
        if (factor > LARGEST_UNSHIFTED) {
          largest[0] = largest[1] = -1e30f;
          attend_shifted(task, own);
        } else {
          largest[0] = largest[1] = 0;
          attend(task, own);
        }
        store(task);
      }
      pass(task.stages - task.before - own);
    }
  }
};

// GROUPS groups of queries, and one after them that supplies. Registers are moved from the latter to the former.
template <int GROUPS, int STAGES, int SUPPLY_REGISTERS, int REGISTERS>
__device__ __forceinline__ void attend_segments(const TensorMap& queries, const TensorMap& keys, const TensorMap& values,
                                                const Attention& attention) {
  // Tiles of mixed rows begin at multiples of 1,024 bytes.
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<GROUPS, STAGES>*>(memory);
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
  for (int i = threadIdx.x; i < 16 * WIDTH; i += (GROUPS + 1) * GROUP) shared.ones[i] = __float2bfloat16_rn(1.0f);
  show_writes();
  __syncthreads();
  wait_for_earlier();
  int group = uniform(threadIdx.x / GROUP);
  if (group == GROUPS) {
    leave_registers<SUPPLY_REGISTERS>();
    constexpr int SHARE = GROUP / 32 - 1;
    int warp = uniform(threadIdx.x % GROUP / 32);
    if (warp < SHARE) {
      prepare<GROUPS, STAGES, SHARE>(shared, attention, warp, begin, end);
    } else if (threadIdx.x % 32 == 0) {
      Bringer<GROUPS, STAGES>{shared, queries, keys, values, attention}.run(begin, end);
    }
  } else {
    take_registers<REGISTERS>();
    Group<GROUPS, STAGES>(shared, attention, group).run(end - begin);
  }
}

#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define ATTEND(...) attend_segments<__VA_ARGS__>(queries, keys, values, attention)
#else
#define ATTEND(...)
#endif

#define KERNEL(name, groups, blocks, ...)                                                           \
  extern "C" __global__ void __launch_bounds__((groups + 1) * GROUP, blocks)                        \
      name(const __grid_constant__ TensorMap queries, const __grid_constant__ TensorMap keys,       \
           const __grid_constant__ TensorMap values, const __grid_constant__ Attention attention) { \
    ATTEND(groups, __VA_ARGS__);                                                                    \
  }

// For launches that fill all multiprocessors, and for small ones: two blocks share one then.
KERNEL(attention_segments_3, 3, 1, 10, 56, 152)
KERNEL(attention_segments_1, 1, 2, 5, 56, 184)
