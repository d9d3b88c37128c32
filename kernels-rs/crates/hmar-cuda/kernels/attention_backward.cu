// Gradients of block-sparse attention on Hopper. Key groups, of four warps each, own 64 keys and add up the gradients of
// these and of their values over all queries that see them; a query group adds up the queries' gradients; one thread asks
// the copy engine for what they read.
//
// Scores are made transposed, keys by queries: their weights and gradients then are operands in registers for the keys'
// sums, and only the gradients pass through shared memory, for the queries'. Queries stay as they are, their norms being
// part of the scores' factors; keys are divided by theirs once.
#include "attention_backward.cuh"
#include "tile_products.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int KEY_GROUPS = 2;
constexpr int SLOTS = 6;   // of query tiles
constexpr int STAGES = 2;  // of key tiles; of scores' gradients

// Barriers among threads of a group. The first is the block's.
constexpr int KEY_MEETING = 1;
constexpr int QUERY_MEETING = KEY_MEETING + KEY_GROUPS;

// A tile of keys on its way, or the end.
struct KeyWork {
  KeyTile tile;
  int sequence;
  int steps;   // 0: the end
  int finished;  // the unit whose last it is, or negative
};

// A tile of queries on its way for a tile of keys.
struct QueryWork {
  int first, count;
  bool masked[KEY_GROUPS];
  int sums, turn;      // places; the turn's is negative where nobody waits
  int order, orders;  // which addition to the sums it is, of how many
};

struct Shared {
  bf16 keys[STAGES][KEY_GROUPS][TILE * TILE];
  bf16 values[STAGES][KEY_GROUPS][TILE * TILE];
  bf16 queries[SLOTS][TILE * TILE];
  bf16 d_outs[SLOTS][TILE * TILE];
  bf16 d_scores[STAGES][KEY_GROUPS][TILE * TILE];
  float rows[SLOTS][ROW_NUMBERS][QUERIES];
  int2 ranges[SLOTS][QUERIES];
  float inverse_norms[KEY_GROUPS][TILE];
  KeyWork key_work[STAGES];
  QueryWork query_work[SLOTS];
  uint64_t keys_there[STAGES], keys_ready[STAGES], keys_used[STAGES];
  uint64_t queries_there[SLOTS], queries_used[SLOTS];
  uint64_t d_scores_there[STAGES], d_scores_used[STAGES];
};

// What the kernel was asked for.
struct Gradients {
  const TensorMap& qkv;
  const TensorMap& d_out;
  const Unit* units;
  const int* unit_ends;
  const KeyTile* key_tiles;
  const QueryTile* query_tiles;
  const int2* ranges;  // [tiles, QUERIES]: the keys that a query sees
  const float* rows;
  const float* factors;  // null where queries and keys are not divided by their norms
  bf16* d_qkv;
  float4* sums;  // [tiles, 8, 128]: a thread's numbers of a tile
  int* turns;
  float* factor_parts;
  int heads, tokens, tiles;

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

// ---- the thread that brings

struct Bringer {
  const Gradients& all;
  Shared& shared;
  Place<STAGES> stage;
  Place<SLOTS> slot;

  __device__ __forceinline__ void bring_keys(const KeyWork& work) {
    wait_at(shared.keys_used[stage.index], stage.parity ^ 1);
    shared.key_work[stage.index] = work;
    uint32_t there = shared_address(&shared.keys_there[stage.index]);
    int groups = work.tile.count > TILE ? 2 : 1, image = work.sequence / all.heads, head = work.sequence % all.heads;
    if (work.steps == 0) {
      arrive(there);
      return;
    }
    arrive_expecting(there, 2 * groups * TILE_BYTES);
    for (int group = 0; group < groups; group++) {
      int first = work.tile.first + group * TILE;
      copy_box(shared_address(shared.keys[stage.index][group]), all.qkv, there, 0, all.heads + head, first, image);
      copy_box(shared_address(shared.values[stage.index][group]), all.qkv, there, 0, 2 * all.heads + head, first, image);
    }
    stage.advance();
  }

  __device__ __forceinline__ void bring_queries(const KeyWork& keys, const Unit& unit, int index, int key_tile) {
    QueryTile tile = all.query_tiles[index];
    QueryWork work = {tile.first, tile.count};
    bool any_masked = false;
    for (int group = 0; group < KEY_GROUPS; group++) {
      int first = keys.tile.first + group * TILE;
      work.masked[group] = first < tile.most_low || first + TILE > tile.least_high;
      any_masked |= work.masked[group];
    }
    work.sums = unit.sums + index;
    work.turn = unit.turns < 0 ? -1 : unit.turns + index;
    work.orders = tile.key_tiles;
    work.order = key_tile - tile.key_tile;
    if (unit.rotated) work.order = ((index - keys.tile.query_begin) / 2 + work.orders - work.order) % work.orders;

    wait_at(shared.queries_used[slot.index], slot.parity ^ 1);
    shared.query_work[slot.index] = work;
    uint32_t there = shared_address(&shared.queries_there[slot.index]);
    constexpr int ROW_BYTES = ROW_NUMBERS * QUERIES * sizeof(float), RANGE_BYTES = QUERIES * sizeof(int2);
    arrive_expecting(there, 2 * TILE_BYTES + ROW_BYTES + (any_masked ? RANGE_BYTES : 0));
    int image = keys.sequence / all.heads, head = keys.sequence % all.heads;
    copy_box(shared_address(shared.queries[slot.index]), all.qkv, there, 0, head, tile.first, image);
    copy_box(shared_address(shared.d_outs[slot.index]), all.d_out, there, 0, head, tile.first, image);
    const float* rows = all.rows + ((size_t)keys.sequence * all.tiles + index) * ROW_NUMBERS * QUERIES;
    copy_bytes(shared.rows[slot.index], rows, ROW_BYTES, there);
    if (any_masked) copy_bytes(shared.ranges[slot.index], all.ranges + (size_t)index * QUERIES, RANGE_BYTES, there);
    slot.advance();
  }

  __device__ __forceinline__ void bring() {
    int begin = all.unit_ends[blockIdx.x], end = all.unit_ends[blockIdx.x + 1];
    for (int index = begin; index < end; index++) {
      Unit unit = all.units[index];
      for (int key_tile = unit.key_begin; key_tile < unit.key_end; key_tile++) {
        KeyWork work = {all.key_tiles[key_tile], unit.sequence};
        int query_begin = work.tile.query_begin;
        work.steps = work.tile.query_end - query_begin;
        work.finished = key_tile + 1 == unit.key_end ? index : -1;
        bring_keys(work);
        // Blocks that share sums begin two tiles of queries apart, else with the last tile, which all keys of it see.
        int at = 0;
        if (unit.rotated) at = 2 * (key_tile - all.query_tiles[query_begin].key_tile) % work.steps;
        for (int step = 0; step < work.steps; step++) {
          bring_queries(work, unit, query_begin + (unit.rotated ? at : work.steps - 1 - step), key_tile);
          if (++at == work.steps) at = 0;
        }
      }
    }
    bring_keys({});
  }
};

// ---- groups that own keys

// Divides the rows of a group's tile by their norms.
__device__ __forceinline__ void normalize(bf16* keys, float* inverse_norms) {
  int row = threadIdx.x % 128 / 2;
  uint32_t tile = shared_address(keys);
  uint4 pieces[4];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    uint32_t at = place(tile, row, threadIdx.x % 2 * 4 + i);
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(pieces[i].x), "=r"(pieces[i].y), "=r"(pieces[i].z), "=r"(pieces[i].w)
                 : "r"(at));
    for (uint32_t both : {pieces[i].x, pieces[i].y, pieces[i].z, pieces[i].w}) {
      float2 pair = unpack(both);
      sum += pair.x * pair.x + pair.y * pair.y;
    }
  }
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  float inverse = 1.0f / fmaxf(sqrtf(sum), 1e-12f);
  auto scaled = [&](uint32_t both) {
    float2 pair = unpack(both);
    return pack(pair.x * inverse, pair.y * inverse);
  };
#pragma unroll
  for (int i = 0; i < 4; i++) {
    uint32_t at = place(tile, row, threadIdx.x % 2 * 4 + i);
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(scaled(pieces[i].x)), "r"(scaled(pieces[i].y)),
                 "r"(scaled(pieces[i].z)), "r"(scaled(pieces[i].w))
                 : "memory");
  }
  if (threadIdx.x % 2 == 0) inverse_norms[row] = inverse;
}

// Turns products of 64 keys from `key` on with a tile of queries into weights.
template <bool MASKED>
__device__ __forceinline__ void soften(TileSums& scores, const float (&rows)[ROW_NUMBERS][QUERIES], const int2* ranges,
                                       int key) {
  int column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 factor = *reinterpret_cast<const float2*>(&rows[FACTOR][i * 8 + column]);
    float2 shift = *reinterpret_cast<const float2*>(&rows[SHIFT][i * 8 + column]);
    scores[i][0] = power_of_two_of(scores[i][0] * factor.x - shift.x);
    scores[i][1] = power_of_two_of(scores[i][1] * factor.y - shift.y);
    scores[i][2] = power_of_two_of(scores[i][2] * factor.x - shift.x);
    scores[i][3] = power_of_two_of(scores[i][3] * factor.y - shift.y);
    if (MASKED) {
      int4 range = *reinterpret_cast<const int4*>(&ranges[i * 8 + column]);
      int upper = key + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4, lower = upper + 8;
      if (upper < range.x || upper >= range.y) scores[i][0] = 0;
      if (upper < range.z || upper >= range.w) scores[i][1] = 0;
      if (lower < range.x || lower >= range.y) scores[i][2] = 0;
      if (lower < range.z || lower >= range.w) scores[i][3] = 0;
    }
  }
}

// Turns products of values with the output's gradients into gradients of scores, given these' weights.
__device__ __forceinline__ void differentiate(TileSums& products, const TileSums& weights,
                                              const float (&rows)[ROW_NUMBERS][QUERIES]) {
  int column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 factor = *reinterpret_cast<const float2*>(&rows[FACTOR][i * 8 + column]);
    float2 mean = *reinterpret_cast<const float2*>(&rows[MEAN][i * 8 + column]);
    products[i][0] = weights[i][0] * (products[i][0] * factor.x - mean.x);
    products[i][1] = weights[i][1] * (products[i][1] * factor.y - mean.y);
    products[i][2] = weights[i][2] * (products[i][2] * factor.x - mean.x);
    products[i][3] = weights[i][3] * (products[i][3] * factor.y - mean.y);
  }
}

// The gradient of rows before they were divided by their norms: what of it is along the row is gone.
__device__ __forceinline__ void differentiate_norms(TileSums& sums, uint32_t normalized, const float* inverse_norms) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float along = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      float2 unit = beside(normalized, i, half);
      along += sums[i][half * 2] * unit.x + sums[i][half * 2 + 1] * unit.y;
    }
    along = row_sum(along);
    float inverse = inverse_norms[threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + half * 8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      float2 unit = beside(normalized, i, half);
      sums[i][half * 2] = (sums[i][half * 2] - unit.x * along) * inverse;
      sums[i][half * 2 + 1] = (sums[i][half * 2 + 1] - unit.y * along) * inverse;
    }
  }
}

struct KeyOwner {
  const Gradients& all;
  Shared& shared;
  int group;
  Place<STAGES> stage, d_scores;
  Place<SLOTS> slot;

  // The steps of a tile of keys.
  __device__ __forceinline__ void add_up(TileSums& d_keys, TileSums& d_values, const KeyWork& work) {
    uint64_t keys = operand(shared_address(shared.keys[stage.index][group]));
    uint64_t values = operand(shared_address(shared.values[stage.index][group]));
    int last = 0;
    for (int step = 0; step < work.steps; step++) {
      wait_at(shared.queries_there[slot.index], slot.parity);
      const auto& rows = shared.rows[slot.index];
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
      wait_for_products<1>();
      settle(weights);
      if (step > 0) arrive_as_warp(shared.queries_used[last]);

      if (shared.query_work[slot.index].masked[group]) {
        soften<true>(weights, rows, shared.ranges[slot.index], work.tile.first + group * TILE);
      } else {
        soften<false>(weights, rows, nullptr, 0);
      }
      uint32_t operands[4][4];
      to_operands(operands, weights);
      begin_products();
#pragma unroll
      for (int k = 0; k < 4; k++) multiply_tiles<true>(d_values, operands[k], d_outs + k * NEXT_ROWS, step | k);
      commit_products();
      wait_for_products<1>();
      settle(gradients);

      differentiate(gradients, weights, rows);
      uint32_t gradient_operands[4][4];
      to_operands(gradient_operands, gradients);
      wait_at(shared.d_scores_used[d_scores.index], d_scores.parity ^ 1);
      store_operands(shared_address(shared.d_scores[d_scores.index][group]), gradient_operands);
      show_to_engines();
      arrive_as_warp(shared.d_scores_there[d_scores.index]);
      begin_products();
#pragma unroll
      for (int k = 0; k < 4; k++) multiply_tiles<true>(d_keys, gradient_operands[k], queries + k * NEXT_ROWS, step | k);
      commit_products();

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
    bf16* keys = shared.keys[stage.index][group];
    int rows = work.tile.count - group * TILE, token = work.tile.first + group * TILE;
    if (rows > 0 && all.factors != nullptr) normalize(keys, shared.inverse_norms[group]);
    show_to_engines();
    meet(KEY_MEETING + group);
    arrive_as_warp(shared.keys_ready[stage.index]);
    if (rows <= 0) {
      let_pass(work.steps);
      return;
    }
    TileSums d_keys, d_values;
    add_up(d_keys, d_values, work);
    store_rows(d_values, all.gradient(2, work.sequence, token), all.stride(), rows);
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) d_keys[i][j] *= LN_2;
    }
    if (all.factors != nullptr) differentiate_norms(d_keys, shared_address(keys), shared.inverse_norms[group]);
    store_rows(d_keys, all.gradient(1, work.sequence, token), all.stride(), rows);
  }

  // What this thread wrote to shared memory is seen by the tensor cores after the next barrier.
  static __device__ __forceinline__ void show_to_engines() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

  __device__ __forceinline__ void own() {
    while (true) {
      wait_at(shared.keys_there[stage.index], stage.parity);
      KeyWork work = shared.key_work[stage.index];
      if (work.steps == 0) return;
      own_tile(work);
      // The norms are written anew only when all have read them.
      meet(KEY_MEETING + group);
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

  __device__ __forceinline__ static void wait_for_turn(const int* turn, int order) {
    if (threadIdx.x % 32 == 0) {
      int now;
      do {
        asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(turn) : "memory");
      } while (now != order);
    }
    __syncwarp();
  }

  __device__ __forceinline__ static void give_turn(int* turn, int order) {
    meet(QUERY_MEETING);
    if (threadIdx.x % 128 == 0) {
      __threadfence();
      asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(turn), "r"(order) : "memory");
    }
  }

  __device__ __forceinline__ static void add(float4* to, const float (&sums)[4]) {
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(to), "f"(sums[0]), "f"(sums[1]),
                 "f"(sums[2]), "f"(sums[3])
                 : "memory");
  }

  // Stores the gradients of a tile whose sums are complete.
  __device__ __forceinline__ void finish(TileSums& sums, const QueryWork& work, int sequence) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) sums[i][j] *= LN_2;
    }
    if (all.factors != nullptr) {
      uint32_t queries = shared_address(shared.queries[slot.index]);
      float factor = LN_2 / all.factors[sequence % all.heads];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + half * 8;
        float along = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
          float2 query = beside(queries, i, half);
          along += sums[i][half * 2] * query.x + sums[i][half * 2 + 1] * query.y;
        }
        along = row_sum(along);
        if (threadIdx.x % 4 == 0) along_queries += along;
        float inverse_norm = shared.rows[slot.index][FACTOR][row] * factor;
        along *= inverse_norm * inverse_norm;
#pragma unroll
        for (int i = 0; i < 8; i++) {
          float2 query = beside(queries, i, half);
          sums[i][half * 2] -= query.x * along;
          sums[i][half * 2 + 1] -= query.y * along;
        }
      }
    }
    store_rows(sums, all.gradient(0, sequence, work.first), all.stride(), work.count);
  }

  __device__ __forceinline__ void add_up_tile(const KeyWork& keys, int groups) {
    wait_at(shared.queries_there[slot.index], slot.parity);
    QueryWork work = shared.query_work[slot.index];
    wait_at(shared.d_scores_there[d_scores.index], d_scores.parity);
    TileSums sums;
    begin_products();
    for (int group = 0; group < groups; group++) {
      uint64_t gradients = operand(shared_address(shared.d_scores[d_scores.index][group]));
      uint64_t columns = operand(shared_address(shared.keys[stage.index][group]));
#pragma unroll
      for (int k = 0; k < 4; k++)
        multiply_tiles<true, true>(sums, gradients + k * NEXT_ROWS, columns + k * NEXT_ROWS, group | k);
    }
    commit_products();
    if (work.turn >= 0 && work.order > 0) wait_for_turn(all.turns + work.turn, work.order);
    wait_for_products<0>();
    settle(sums);
    arrive_as_warp(shared.d_scores_used[d_scores.index]);
    d_scores.advance();

    float4* kept = all.sums + (size_t)work.sums * 8 * 128 + threadIdx.x % 128;
    if (work.order + 1 < work.orders) {
#pragma unroll
      for (int i = 0; i < 8; i++) {
        if (work.order == 0) {
          __stcg(kept + i * 128, float4{sums[i][0], sums[i][1], sums[i][2], sums[i][3]});
        } else {
          add(kept + i * 128, sums[i]);
        }
      }
      if (work.turn >= 0) give_turn(all.turns + work.turn, work.order + 1);
    } else {
      if (work.order > 0) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
          float4 before = __ldcg(kept + i * 128);
          sums[i][0] += before.x;
          sums[i][1] += before.y;
          sums[i][2] += before.z;
          sums[i][3] += before.w;
        }
      }
      finish(sums, work, keys.sequence);
    }
    arrive_as_warp(shared.queries_used[slot.index]);
    slot.advance();
  }

  __device__ __forceinline__ void own() {
    while (true) {
      wait_at(shared.keys_there[stage.index], stage.parity);
      KeyWork work = shared.key_work[stage.index];
      if (work.steps == 0) return;
      wait_at(shared.keys_ready[stage.index], stage.parity);
      int groups = work.tile.count > TILE ? 2 : 1;
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
    start(shared.keys_ready[i], KEY_WARPS);
    start(shared.keys_used[i], KEY_WARPS + QUERY_WARPS);
    start(shared.d_scores_there[i], KEY_WARPS);
    start(shared.d_scores_used[i], QUERY_WARPS);
  }
  for (int i = 0; i < SLOTS; i++) {
    start(shared.queries_there[i], 1);
    start(shared.queries_used[i], KEY_WARPS + QUERY_WARPS);
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
    take_registers<200>();
    KeyOwner{all, shared, group}.own();
  } else if (group == KEY_GROUPS) {
    leave_registers<80>();
    QueryOwner{all, shared}.own();
  } else {
    leave_registers<32>();
    if (threadIdx.x % 128 == 0) Bringer{all, shared}.bring();
  }
}

#endif

// Grid: as many blocks as have units. Other GPUs never launch it.
extern "C" __global__ void __launch_bounds__(512, 1) attention_backward(
    const __grid_constant__ TensorMap qkv, const __grid_constant__ TensorMap d_out, const Unit* units,
    const int* unit_ends, const KeyTile* key_tiles, const QueryTile* query_tiles, const int2* ranges, const float* rows,
    const float* factors, bf16* d_qkv, float4* sums, int* turns, float* factor_parts, int heads, int tokens, int tiles) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  differentiate({qkv, d_out, units, unit_ends, key_tiles, query_tiles, ranges, rows, factors, d_qkv, sums, turns,
                 factor_parts, heads, tokens, tiles});
#endif
}
