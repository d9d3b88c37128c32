// Gradients of block-sparse attention on Hopper. Key groups, of four warps each, own 64 keys and add up the gradients of
// these and of their values over all queries that see them; a query group adds up the queries' gradients; one thread asks
// the copy engine for what they read.
//
// Scores are made transposed, keys by queries: their weights and gradients then are operands in registers for the keys'
// sums, and only the gradients pass through shared memory, for the queries'. Queries and keys are multiplied as they are;
// their norms are factors of scores and of these' gradients.
#include "attention_backward.cuh"
#include "tile_products.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int KEY_GROUPS = 2;
constexpr int SLOTS = 6;   // of query tiles
constexpr int STAGES = 2;  // of key tiles; of scores' gradients

// The first of the key groups' barriers; 0 is the block's.
constexpr int KEY_MEETING = 1;

// A tile of keys on its way, or the end.
struct KeyWork {
  int first, count;
  int sequence;
  int steps;     // 0: the end
  int finished;  // the unit whose last it is, or negative
};

// A tile of queries on its way for a tile of keys, or the end.
struct QueryWork {
  int first, count;  // 0: the end
  int sums;           // their place
  int order, orders;  // which addition to the sums it is, of how many
  // How many steps the tile of keys whose addition comes before must have made, and where that and this one's are told.
  int awaited, before;
  int step, own;  // negative where nobody waits
  bool masked[KEY_GROUPS];
};

struct Shared {
  bf16 keys[STAGES][KEY_GROUPS][TILE * TILE];
  bf16 values[STAGES][KEY_GROUPS][TILE * TILE];
  bf16 queries[SLOTS][TILE * TILE];
  bf16 d_outs[SLOTS][TILE * TILE];
  bf16 d_scores[STAGES][KEY_GROUPS][TILE * TILE];
  bf16 finished[TILE * TILE];
  float rows[SLOTS][ROW_NUMBERS][QUERIES];
  int2 ranges[SLOTS][QUERIES];
  float inverse_norms[STAGES][KEY_GROUPS][TILE];
  KeyWork key_work[STAGES];
  QueryWork query_work[SLOTS];
  uint64_t keys_there[STAGES], keys_used[STAGES];
  uint64_t queries_there[SLOTS], queries_used[SLOTS];
  uint64_t turns_come[SLOTS], sums_added[SLOTS];
  uint64_t d_scores_there[STAGES], d_scores_used[STAGES];
};

// What the kernel was asked for.
struct Gradients {
  const TensorMap& qkv;
  const TensorMap& d_out;
  const Unit* units;
  int unit_count;
  const KeyTile* key_tiles;
  const QueryTile* query_tiles;
  const int2* ranges;  // [tiles, QUERIES]: the keys that a query sees
  const float* rows;
  const float* factors;  // null where queries and keys are not divided by their norms
  bf16* d_qkv;
  float4* sums;  // [tiles, 8, 128]: a thread's numbers of a tile
  int* progress;  // units taken; then the steps that each sequence's tiles of keys have made
  float* factor_parts;
  int heads, tokens, tiles, key_tile_count;
  int own_sums;  // tiles of sums that each block has to itself

  __device__ __forceinline__ size_t stride() const { return (size_t)3 * heads * HEAD_WIDTH; }

  // Where the gradients of queries (0), keys (1) or values (2) of a token lie.
  __device__ __forceinline__ bf16* gradient(int which, int sequence, int token) const {
    int image = sequence / heads, head = sequence % heads;
    return d_qkv + ((size_t)image * tokens + token) * stride() + (which * heads + head) * HEAD_WIDTH;
  }
};

// A place in a ring, and the parity of its turn.
template <int COUNT>
struct Place {
  int index = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++index == COUNT) {
      index = 0;
      parity ^= 1;
    }
  }
};

__device__ __forceinline__ void meet(int barrier) {
  asm volatile("bar.sync %0, 128;" ::"r"(barrier) : "memory");
}

// One arrival for the warp, after all that its lanes did.
__device__ __forceinline__ void arrive_as_warp(uint64_t& barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(shared_address(&barrier));
}

__device__ __forceinline__ void wait_at(uint64_t& barrier, uint32_t parity) { wait_at(shared_address(&barrier), parity); }

__device__ __forceinline__ void copy_bytes(void* to, const void* from, int bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}

// ---- threads that bring, wait and tell

// Asks the copy engine for tiles as far ahead as there are slots, in the order in which all groups do them.
struct Bringer {
  const Gradients& all;
  Shared& shared;
  Place<STAGES> stage;
  Place<SLOTS> slot;
  int image, head;

  __device__ __forceinline__ void bring_keys(const KeyTile& tile, const Unit& unit, int finished) {
    wait_at(shared.keys_used[stage.index], stage.parity ^ 1);
    shared.key_work[stage.index] = {tile.first, tile.count, unit.sequence, tile.query_end - tile.query_begin, finished};
    uint32_t there = shared_address(&shared.keys_there[stage.index]);
    int groups = tile.count > TILE ? 2 : 1;
    arrive_expecting(there, 2 * groups * TILE_BYTES);
#pragma unroll 1
    for (int group = 0; group < groups; group++) {
      int first = tile.first + group * TILE;
      copy_box(shared_address(shared.keys[stage.index][group]), all.qkv, there, 0, all.heads + head, first, image);
      copy_box(shared_address(shared.values[stage.index][group]), all.qkv, there, 0, 2 * all.heads + head, first, image);
    }
    stage.advance();
  }

  // The work's order, steps and places are there already.
  __device__ __forceinline__ void bring_queries(const KeyTile& keys, int sequence, int index, QueryWork& work) {
    const QueryTile& tile = all.query_tiles[index];
    bool masked = false;
#pragma unroll
    for (int group = 0; group < KEY_GROUPS; group++) {
      int first = keys.first + group * TILE;
      work.masked[group] = first < tile.most_low || first + TILE > tile.least_high;
      masked |= work.masked[group];
    }
    work.first = tile.first;
    work.count = tile.count;
    uint32_t there = shared_address(&shared.queries_there[slot.index]);
    constexpr int ROW_BYTES = ROW_NUMBERS * QUERIES * sizeof(float), RANGE_BYTES = QUERIES * sizeof(int2);
    arrive_expecting(there, 2 * TILE_BYTES + ROW_BYTES + (masked ? RANGE_BYTES : 0));
    copy_box(shared_address(shared.queries[slot.index]), all.qkv, there, 0, head, tile.first, image);
    copy_box(shared_address(shared.d_outs[slot.index]), all.d_out, there, 0, head, tile.first, image);
    const float* rows = all.rows + ((size_t)sequence * all.tiles + index) * ROW_NUMBERS * QUERIES;
    copy_bytes(shared.rows[slot.index], rows, ROW_BYTES, there);
    if (masked) copy_bytes(shared.ranges[slot.index], all.ranges + (size_t)index * QUERIES, RANGE_BYTES, there);
    slot.advance();
  }

  // Tiles of queries for a tile of keys. Blocks that share sums begin two of them apart, and go round; others begin with
  // the last, which all keys of a chain see.
  __device__ __forceinline__ void bring_steps(const KeyTile& keys, const Unit& unit, int key_tile) {
    int steps = keys.query_end - keys.query_begin;
    int first_key = all.query_tiles[keys.query_begin].key_tile, rank = key_tile - first_key;
    int at = unit.rotated ? 2 * rank % steps : steps - 1, places = 1 + unit.sequence * all.key_tile_count + first_key;
    // Behind the blocks' own sums lie all sequences'.
    int sums = unit.shared ? gridDim.x * all.own_sums + unit.sequence * all.tiles
                           : blockIdx.x * all.own_sums - all.key_tiles[first_key].query_begin;
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
      wait_at(shared.queries_used[slot.index], slot.parity ^ 1);
      QueryWork& work = shared.query_work[slot.index];
      int index = keys.query_begin + at, orders = all.query_tiles[index].key_tiles;
      int order = rank, before = rank - 1, awaited = step + 1;
      if (unit.rotated) {
        order = (at / 2 + orders - rank) % orders;
        before = (rank + 1) % orders;
        awaited = (at - 2 * before + 2 * steps) % steps + 1;
      }
      work.order = order;
      work.orders = orders;
      work.awaited = unit.shared && order > 0 ? awaited : 0;
      work.before = places + before;
      work.step = step;
      work.own = unit.shared ? places + rank : -1;
      work.sums = sums + index;
      bring_queries(keys, unit.sequence, index, work);
      at = unit.rotated ? (at + 1 == steps ? 0 : at + 1) : at - 1;
    }
  }

  __device__ __forceinline__ void bring() {
#pragma unroll 1
    for (int index = blockIdx.x; index < all.unit_count; index = gridDim.x + atomicAdd(all.progress, 1)) {
      Unit unit = all.units[index];
      image = unit.sequence / all.heads;
      head = unit.sequence % all.heads;
#pragma unroll 1
      for (int key_tile = unit.key_begin; key_tile < unit.key_end; key_tile++) {
        KeyTile keys = all.key_tiles[key_tile];
        bring_keys(keys, unit, key_tile + 1 == unit.key_end ? index : -1);
        bring_steps(keys, unit, key_tile);
      }
    }
    wait_at(shared.keys_used[stage.index], stage.parity ^ 1);
    shared.key_work[stage.index].steps = 0;
    arrive(shared_address(&shared.keys_there[stage.index]));
    wait_at(shared.queries_used[slot.index], slot.parity ^ 1);
    shared.query_work[slot.index].count = 0;
    arrive(shared_address(&shared.queries_there[slot.index]));
  }
};

// Waits until it is this block's turn to add to a tile's sums: ahead of the additions, as far as there are slots. What was
// seen of the other's progress is remembered: while it is far ahead, nothing is asked.
__device__ __forceinline__ void wait_for_turns(const Gradients& all, Shared& shared) {
  int seen = 0, whose = 0;
  for (Place<SLOTS> slot;; slot.advance()) {
    wait_at(shared.queries_there[slot.index], slot.parity);
    const QueryWork& work = shared.query_work[slot.index];
    if (work.count == 0) return;
    if (work.before != whose) seen = 0;
    whose = work.before;
    int awaited = work.awaited;
    while (seen < awaited)
      asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(seen) : "l"(all.progress + whose) : "memory");
    arrive(shared_address(&shared.turns_come[slot.index]));
  }
}

// Tells of a step when all threads have added to its tile's sums.
__device__ __forceinline__ void tell_progress(const Gradients& all, Shared& shared) {
  for (Place<SLOTS> slot;; slot.advance()) {
    wait_at(shared.queries_there[slot.index], slot.parity);
    int own = shared.query_work[slot.index].own, step = shared.query_work[slot.index].step;
    if (shared.query_work[slot.index].count == 0) return;
    wait_at(shared.sums_added[slot.index], slot.parity);
    arrive(shared_address(&shared.queries_used[slot.index]));
    if (own < 0) continue;
    asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(all.progress + own), "r"(step + 1) : "memory");
  }
}

// ---- groups that own keys

// The inverse norms of a tile's rows, two threads a row.
__device__ __forceinline__ void measure(uint32_t tile, float* inverse_norms) {
  int row = threadIdx.x % 128 / 2;
  float2 sums[4] = {};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    uint32_t words[4];
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(place(tile, row, threadIdx.x % 2 * 4 + i)));
#pragma unroll
    for (uint32_t both : words) {
      float2 pair = unpack(both);
      sums[i].x += pair.x * pair.x;
      sums[i].y += pair.y * pair.y;
    }
  }
  float sum = (sums[0].x + sums[0].y + sums[1].x + sums[1].y) + (sums[2].x + sums[2].y + sums[3].x + sums[3].y);
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  if (threadIdx.x % 2 == 0) inverse_norms[row] = 1.0f / fmaxf(sqrtf(sum), 1e-12f);
}

// A number of the rows of the queries in this thread's columns.
struct Columns {
  float2 pairs[8];

  __device__ __forceinline__ void load(const float (&row)[QUERIES]) {
#pragma unroll
    for (int i = 0; i < 8; i++) pairs[i] = *reinterpret_cast<const float2*>(&row[i * 8 + threadIdx.x % 4 * 2]);
  }
};

// Turns products of keys with a tile of queries into weights. A thread's two keys have the inverse `norms`.
__device__ __forceinline__ void soften(TileSums& scores, const float (&norms)[2], const Columns& factors,
                                       const Columns& shifts) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 factor = factors.pairs[i], shift = shifts.pairs[i];
    scores[i][0] = power_of_two_of(scores[i][0] * norms[0] * factor.x - shift.x);
    scores[i][1] = power_of_two_of(scores[i][1] * norms[0] * factor.y - shift.y);
    scores[i][2] = power_of_two_of(scores[i][2] * norms[1] * factor.x - shift.x);
    scores[i][3] = power_of_two_of(scores[i][3] * norms[1] * factor.y - shift.y);
  }
}

// Leaves the weights of keys that the queries see; the tile's keys begin with `key`.
__device__ __forceinline__ void mask(TileSums& weights, const int2* ranges, int key) {
  int upper = key + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4, lower = upper + 8;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    int4 range = *reinterpret_cast<const int4*>(&ranges[i * 8 + threadIdx.x % 4 * 2]);
    if (upper < range.x || upper >= range.y) weights[i][0] = 0;
    if (upper < range.z || upper >= range.w) weights[i][1] = 0;
    if (lower < range.x || lower >= range.y) weights[i][2] = 0;
    if (lower < range.z || lower >= range.w) weights[i][3] = 0;
  }
}

// Turns products of values with the output's gradients into gradients of scores, given these' weights.
__device__ __forceinline__ void differentiate(TileSums& products, const TileSums& weights, const Columns& factors,
                                              const Columns& means) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 factor = factors.pairs[i], mean = means.pairs[i];
    products[i][0] = weights[i][0] * (products[i][0] * factor.x - mean.x);
    products[i][1] = weights[i][1] * (products[i][1] * factor.y - mean.y);
    products[i][2] = weights[i][2] * (products[i][2] * factor.x - mean.x);
    products[i][3] = weights[i][3] * (products[i][3] * factor.y - mean.y);
  }
}

// The gradients of rows before these were divided by their norms, given those that are divided by the norms already:
// what of them is along the row is gone.
__device__ __forceinline__ float remove_along(TileSums& sums, uint32_t tile, int half, float inverse_norm) {
  float along = 0;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 row = beside(tile, i, half);
    along += sums[i][half * 2] * row.x + sums[i][half * 2 + 1] * row.y;
  }
  along = row_sum(along);
  float share = along * inverse_norm * inverse_norm;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 row = beside(tile, i, half);
    sums[i][half * 2] -= row.x * share;
    sums[i][half * 2 + 1] -= row.y * share;
  }
  return along;
}

__device__ __forceinline__ void scale(TileSums& sums, float factor) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) sums[i][j] *= factor;
  }
}

struct KeyOwner {
  const Gradients& all;
  Shared& shared;
  int group;
  Place<STAGES> stage, d_scores;
  Place<SLOTS> slot;

  // The inverse norms of this thread's two keys.
  __device__ __forceinline__ void find_norms(float (&norms)[2]) {
    norms[0] = norms[1] = 1;
    if (all.factors == nullptr) return;
    float* inverse_norms = shared.inverse_norms[stage.index][group];
    measure(shared_address(shared.keys[stage.index][group]), inverse_norms);
    meet(KEY_MEETING + group);
    int row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    norms[0] = inverse_norms[row];
    norms[1] = inverse_norms[row + 8];
  }

  // The steps of a tile of keys.
  __device__ __forceinline__ void add_up(TileSums& d_keys, TileSums& d_values, float (&norms)[2], const KeyWork& work) {
    uint64_t keys = operand(shared_address(shared.keys[stage.index][group]));
    uint64_t values = operand(shared_address(shared.values[stage.index][group]));
    int last = 0;
    for (int step = 0; step < work.steps; step++) {
      wait_at(shared.queries_there[slot.index], slot.parity);
      uint64_t queries = operand(shared_address(shared.queries[slot.index]));
      uint64_t d_outs = operand(shared_address(shared.d_outs[slot.index]));
      TileSums weights, gradients;
      begin_products();
#pragma unroll
      for (int k = 0; k < 4; k++)
        multiply_tiles<false, false>(weights, keys + k * NEXT_COLUMNS, queries + k * NEXT_COLUMNS, k);
      commit_products();
#pragma unroll
      for (int k = 0; k < 4; k++)
        multiply_tiles<false, false>(gradients, values + k * NEXT_COLUMNS, d_outs + k * NEXT_COLUMNS, k);
      commit_products();
      // What the rows bring is loaded while the products are made.
      const auto& rows = shared.rows[slot.index];
      Columns factors, shifts, means;
      factors.load(rows[FACTOR]);
      bool masked = shared.query_work[slot.index].masked[group];
      if (step == 0) find_norms(norms);
      wait_for_products<1>();
      settle(weights);
      shifts.load(rows[SHIFT]);
      if (step > 0) arrive_as_warp(shared.queries_used[last]);

      soften(weights, norms, factors, shifts);
      if (masked) mask(weights, shared.ranges[slot.index], work.first + group * TILE);
      uint32_t operands[4][4];
      to_operands(operands, weights);
      begin_products();
#pragma unroll
      for (int k = 0; k < 4; k++) multiply_tiles<true>(d_values, operands[k], d_outs + k * NEXT_ROWS, step | k);
      commit_products();
      factors.load(rows[FACTOR]);
      means.load(rows[MEAN]);
#pragma unroll
      for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) weights[i][j] *= norms[j / 2];
      }
      wait_for_products<1>();
      settle(gradients);

      differentiate(gradients, weights, factors, means);
      uint32_t gradient_operands[4][4];
      to_operands(gradient_operands, gradients);
      wait_at(shared.d_scores_used[d_scores.index], d_scores.parity ^ 1);
      store_operands(shared_address(shared.d_scores[d_scores.index][group]), gradient_operands);
      begin_products();
#pragma unroll
      for (int k = 0; k < 4; k++) multiply_tiles<true>(d_keys, gradient_operands[k], queries + k * NEXT_ROWS, step | k);
      commit_products();
      show_to_engines();
      arrive_as_warp(shared.d_scores_there[d_scores.index]);

      last = slot.index;
      slot.advance();
      d_scores.advance();
    }
    wait_for_products<0>();
    settle(d_keys);
    settle(d_values);
    arrive_as_warp(shared.queries_used[last]);
  }

  // Takes part where the tile's keys are all the other group's.
  __device__ __forceinline__ void let_pass(int steps) {
    for (int step = 0; step < steps; step++) {
      wait_at(shared.queries_there[slot.index], slot.parity);
      arrive_as_warp(shared.queries_used[slot.index]);
      wait_at(shared.d_scores_used[d_scores.index], d_scores.parity ^ 1);
      arrive_as_warp(shared.d_scores_there[d_scores.index]);
      slot.advance();
      d_scores.advance();
    }
  }

  __device__ __forceinline__ void own_tile(const KeyWork& work) {
    int rows = work.count - group * TILE, token = work.first + group * TILE;
    if (rows <= 0) {
      let_pass(work.steps);
      return;
    }
    TileSums d_keys, d_values;
    float norms[2];
    add_up(d_keys, d_values, norms, work);
    // The values are not needed any more, by any warp of the group: gradients are stored by way of their place.
    meet(KEY_MEETING + group);
    uint32_t values = shared_address(shared.values[stage.index][group]);
    store_rows(d_values, values, all.gradient(2, work.sequence, token), all.stride(), rows);
    scale(d_keys, LN_2);
    if (all.factors != nullptr) {
      uint32_t keys = shared_address(shared.keys[stage.index][group]);
      remove_along(d_keys, keys, 0, norms[0]);
      remove_along(d_keys, keys, 1, norms[1]);
    }
    store_rows(d_keys, values, all.gradient(1, work.sequence, token), all.stride(), rows);
  }

  // What this thread wrote to shared memory is seen by the tensor cores after the next barrier.
  static __device__ __forceinline__ void show_to_engines() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

  __device__ __forceinline__ void own() {
    while (true) {
      wait_at(shared.keys_there[stage.index], stage.parity);
      KeyWork work = shared.key_work[stage.index];
      if (work.steps == 0) return;
      own_tile(work);
      show_to_engines();
      arrive_as_warp(shared.keys_used[stage.index]);
      stage.advance();
    }
  }
};

// ---- the group that adds up queries' gradients

struct QueryOwner {
  const Gradients& all;
  Shared& shared;
  Place<STAGES> stage, d_scores;
  Place<SLOTS> slot;
  float along_queries = 0;

  __device__ __forceinline__ static void add(float4* to, const float (&sums)[4]) {
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(to), "f"(sums[0]), "f"(sums[1]),
                 "f"(sums[2]), "f"(sums[3])
                 : "memory");
  }

  // Stores the gradients of a tile whose sums are complete.
  __device__ __forceinline__ void finish(TileSums& sums, const QueryWork& work, int sequence) {
    scale(sums, LN_2);
    if (all.factors != nullptr) {
      float factor = LN_2 / all.factors[sequence % all.heads];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + half * 8;
        float inverse_norm = shared.rows[slot.index][FACTOR][row] * factor;
        float along = remove_along(sums, shared_address(shared.queries[slot.index]), half, inverse_norm);
        if (threadIdx.x % 4 == 0) along_queries += along;
      }
    }
    uint32_t finished = shared_address(shared.finished);
    store_rows(sums, finished, all.gradient(0, sequence, work.first), all.stride(), work.count);
  }

  __device__ __forceinline__ void add_up_tile(const KeyWork& keys, int groups) {
    wait_at(shared.queries_there[slot.index], slot.parity);
    const QueryWork& work = shared.query_work[slot.index];
    bool first = work.order == 0, last = work.order + 1 == work.orders;
    float4* kept = all.sums + (size_t)work.sums * 8 * 128 + threadIdx.x % 128;
    wait_at(shared.turns_come[slot.index], slot.parity);
    TileSums sums;
    // The last addition goes on with all the others.
    int go_on = last && !first;
    if (go_on) {
#pragma unroll
      for (int i = 0; i < 8; i++) {
        float4 sum = __ldcg(kept + i * 128);
        sums[i][0] = sum.x, sums[i][1] = sum.y, sums[i][2] = sum.z, sums[i][3] = sum.w;
      }
    }
    wait_at(shared.d_scores_there[d_scores.index], d_scores.parity);
    uint64_t gradients = operand(shared_address(shared.d_scores[d_scores.index][0]));
    uint64_t columns = operand(shared_address(shared.keys[stage.index][0]));
    begin_products();
#pragma unroll
    for (int k = 0; k < 8; k++) {
      // Tiles of two groups lie one after the other.
      if (k < groups * 4) multiply_tiles<true, true>(sums, gradients + k * NEXT_ROWS, columns + k * NEXT_ROWS, k | go_on);
    }
    commit_products();
    wait_for_products<0>();
    settle(sums);
    arrive_as_warp(shared.d_scores_used[d_scores.index]);
    d_scores.advance();

    if (last) {
      finish(sums, work, keys.sequence);
    } else {
#pragma unroll
      for (int i = 0; i < 8; i++) {
        if (first) {
          __stcg(kept + i * 128, float4{sums[i][0], sums[i][1], sums[i][2], sums[i][3]});
        } else {
          add(kept + i * 128, sums[i]);
        }
      }
    }
    arrive_as_warp(shared.sums_added[slot.index]);
    slot.advance();
  }

  __device__ __forceinline__ void own() {
    while (true) {
      wait_at(shared.keys_there[stage.index], stage.parity);
      KeyWork work = shared.key_work[stage.index];
      if (work.steps == 0) return;
      int groups = work.count > TILE ? 2 : 1;
      for (int step = 0; step < work.steps; step++) add_up_tile(work, groups);
      arrive_as_warp(shared.keys_used[stage.index]);
      stage.advance();
      if (work.finished >= 0) {
        float along = warp_sum(along_queries);
        if (threadIdx.x % 32 == 0) all.factor_parts[work.finished * 4 + threadIdx.x / 32 % 4] = along;
        along_queries = 0;
      }
    }
  }
};

__device__ __forceinline__ void start_barriers(Shared& shared) {
  auto start = [](uint64_t& barrier, int arrivals) { start_barrier(shared_address(&barrier), arrivals); };
  constexpr int KEY_WARPS = KEY_GROUPS * 4, QUERY_WARPS = 4;
  for (int i = 0; i < STAGES; i++) {
    start(shared.keys_there[i], 1);
    start(shared.keys_used[i], KEY_WARPS + QUERY_WARPS);
    start(shared.d_scores_there[i], KEY_WARPS);
    start(shared.d_scores_used[i], QUERY_WARPS);
  }
  for (int i = 0; i < SLOTS; i++) {
    start(shared.queries_there[i], 1);
    // The last of the query group's news comes from the thread that gives turns.
    start(shared.queries_used[i], KEY_WARPS + 1);
    start(shared.turns_come[i], 1);
    start(shared.sums_added[i], QUERY_WARPS);
  }
  show_barriers();
}

__device__ __forceinline__ void differentiate(const Gradients& all) {
  extern __shared__ unsigned char memory[];
  // The copy engine mixes parts by their addresses, from multiples of 1,024 on.
  Shared& shared = *reinterpret_cast<Shared*>(memory + (-shared_address(memory) & 1023));
  if (threadIdx.x == 0) start_barriers(shared);
  __syncthreads();
  let_next_start();
  wait_for_earlier();
  // The same for a whole group, which the compiler cannot know. Registers of the four groups: 512 for a thread of each.
  int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group < KEY_GROUPS) {
    take_registers<192>();
    KeyOwner{all, shared, group}.own();
  } else if (group == KEY_GROUPS) {
    leave_registers<72>();
    QueryOwner{all, shared}.own();
  } else {
    leave_registers<56>();
    switch (threadIdx.x % 128) {
      case 0: Bringer{all, shared}.bring(); break;
      case 32: wait_for_turns(all, shared); break;
      case 64: tell_progress(all, shared); break;
    }
  }
}

#endif

// Grid: as many blocks as run at once. Other GPUs never launch it.
extern "C" __global__ void __launch_bounds__(512, 1) attention_backward(
    const __grid_constant__ TensorMap qkv, const __grid_constant__ TensorMap d_out, const Unit* units, int unit_count,
    const KeyTile* key_tiles, const QueryTile* query_tiles, const int2* ranges, const float* rows, const float* factors,
    bf16* d_qkv, float4* sums, int* progress, float* factor_parts, int heads, int tokens, int tiles, int key_tile_count,
    int own_sums) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  differentiate({qkv, d_out, units, unit_count, key_tiles, query_tiles, ranges, rows, factors, d_qkv, sums, progress,
                 factor_parts, heads, tokens, tiles, key_tile_count, own_sums});
#endif
}
