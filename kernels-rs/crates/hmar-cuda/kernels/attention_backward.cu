// Gradients of block-sparse attention on Hopper. Key groups, of four warps each, own 64 keys and add up the gradients of
// these and of their values over all queries that see them; a query group adds up the queries' gradients; one thread asks
// the copy engine for what they read, one warp finds norms and what else belongs to rows.
//
// Scores are made transposed, keys by queries: their weights and gradients then are operands in registers for the keys'
// sums, and only the gradients pass through shared memory, for the queries'. Queries and keys are multiplied as they are;
// their norms are factors of scores and of these' gradients.
#include "attention_backward.cuh"
#include "tile_products.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int KEY_GROUPS = 2;
constexpr int SLOTS = 5;   // of query tiles
constexpr int STAGES = 2;  // of key tiles; of scores' gradients; of outputs

// Tiles of queries of a chain that one block does alone, at most; and tiles of rows' numbers: those of a chain and of the
// steps on their way.
constexpr int OWNED_TILES = 12;
constexpr int ROW_TILES = OWNED_TILES + SLOTS;

// The first of the key groups' barriers; 0 is the block's.
constexpr int KEY_MEETING = 1;

// A tile of keys on its way, or the end.
struct KeyWork {
  int first, count;
  int image, head;
  int steps;     // 0: the end
  int finished;  // the unit whose last it is, or negative
};

// A step on its way; the end has a count of 0.
struct QueryWork : Step {
  int image, head;
  int sums_place, rows_place;
  int before_place, own_place;  // of the others' and this one's progress; negative where nobody waits for it
};

struct Shared {
  bf16 keys[STAGES][KEY_GROUPS][TILE * TILE];
  bf16 values[STAGES][KEY_GROUPS][TILE * TILE];
  bf16 queries[SLOTS][TILE * TILE];
  bf16 d_outs[SLOTS][TILE * TILE];
  bf16 d_scores[STAGES][KEY_GROUPS][TILE * TILE];
  bf16 finished[TILE * TILE];
  bf16 outs[STAGES][TILE * TILE];
  float rows[ROW_TILES][ROW_NUMBERS][QUERIES];
  int2 ranges[SLOTS][QUERIES];
  float inverse_norms[STAGES][KEY_GROUPS][TILE];
  float along_queries[4];  // each warp's sum of its queries' products with their gradients
  KeyWork key_work[STAGES];
  QueryWork query_work[SLOTS];
  uint64_t keys_there[STAGES], keys_used[STAGES];
  uint64_t queries_there[SLOTS], queries_used[SLOTS], rows_there[SLOTS];
  uint64_t outs_there[STAGES], outs_used[STAGES], norms_there[STAGES];
  uint64_t turns_come[SLOTS], sums_added[SLOTS];
  uint64_t d_scores_there[STAGES], d_scores_used[STAGES];
};

// As many as the launch asks for, wherever the first multiple of 1,024 lies.
static_assert(sizeof(Shared) + 1023 <= 224512);

// What the kernel was asked for.
struct Gradients {
  const TensorMap& qkv;
  const TensorMap& out;
  const TensorMap& d_out;
  const Unit* units;
  int unit_count;
  const KeyTile* key_tiles;
  const Step* steps;
  const int2* ranges;  // [tiles, QUERIES]: the keys that a query sees
  const float* rows;   // of queries whose sums are shared
  const float* lse;
  const float* factors;  // null where queries and keys are not divided by their norms
  bf16* d_qkv;
  float4* sums;   // [tiles, 8, 128]: a thread's numbers of a tile
  int* progress;  // units taken; then the steps that each sequence's tiles of keys have made
  float* factor_parts;
  int heads, tokens, tiles, key_tile_count;
  int own_sums, all_own_sums;  // tiles of sums that each block has to itself, and all of these
  float scale;                 // of scores without factors

  __device__ __forceinline__ size_t stride() const { return (size_t)3 * heads * HEAD_WIDTH; }

  // Where the gradients of queries (0), keys (1) or values (2) of a token lie.
  __device__ __forceinline__ bf16* gradient(int which, int image, int head, int token) const {
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
  Place<STAGES> stage, out;
  Place<SLOTS> slot;
  int rows = 0, unit_rows = 0;  // the place of the unit's first, and how many there are

  __device__ __forceinline__ void bring_keys(const KeyTile& tile, const Unit& unit, int finished) {
    wait_at(shared.keys_used[stage.index], stage.parity ^ 1);
    int steps = tile.query_end - tile.query_begin;
    shared.key_work[stage.index] = {tile.first, tile.count, unit.image, unit.head, steps, finished};
    uint32_t there = shared_address(&shared.keys_there[stage.index]);
    int groups = tile.count > TILE ? 2 : 1;
    arrive_expecting(there, 2 * groups * TILE_BYTES);
#pragma unroll 1
    for (int group = 0; group < groups; group++) {
      int first = tile.first + group * TILE, key = all.heads + unit.head, value = all.heads + key;
      copy_box(shared_address(shared.keys[stage.index][group]), all.qkv, there, 0, key, first, unit.image);
      copy_box(shared_address(shared.values[stage.index][group]), all.qkv, there, 0, value, first, unit.image);
    }
    stage.advance();
  }

  __device__ __forceinline__ void bring_queries(const Step& step, const Unit& unit, int rows_place) {
    constexpr int ROW_BYTES = ROW_NUMBERS * QUERIES * sizeof(float), RANGE_BYTES = QUERIES * sizeof(int2);
    bool masked = step.masked(0) || step.masked(1);
    uint32_t there = shared_address(&shared.queries_there[slot.index]);
    arrive_expecting(there, 2 * TILE_BYTES + (unit.shared ? ROW_BYTES : 0) + (masked ? RANGE_BYTES : 0));
    copy_box(shared_address(shared.queries[slot.index]), all.qkv, there, 0, unit.head, step.first, unit.image);
    copy_box(shared_address(shared.d_outs[slot.index]), all.d_out, there, 0, unit.head, step.first, unit.image);
    if (unit.shared) {
      const float* rows = all.rows + ((size_t)sequence_of(unit) * all.tiles + step.tile) * ROW_NUMBERS * QUERIES;
      copy_bytes(shared.rows[rows_place], rows, ROW_BYTES, there);
    }
    if (masked) copy_bytes(shared.ranges[slot.index], all.ranges + (size_t)step.tile * QUERIES, RANGE_BYTES, there);
    if (step.measured()) {
      wait_at(shared.outs_used[out.index], out.parity ^ 1);
      uint32_t out_there = shared_address(&shared.outs_there[out.index]);
      arrive_expecting(out_there, TILE_BYTES);
      copy_box(shared_address(shared.outs[out.index]), all.out, out_there, 0, unit.head, step.first, unit.image);
      out.advance();
    }
    slot.advance();
  }

  __device__ __forceinline__ void bring_steps(const KeyTile& keys, const Unit& unit, int key_tile) {
    int steps = keys.query_end - keys.query_begin, places = sequence_of(unit) * all.key_tile_count + 1;
    // Behind the blocks' own sums lie all sequences'.
    int sums = unit.shared ? all.all_own_sums + sequence_of(unit) * all.tiles : block_sums() - keys.first_query;
    const Step* next = all.steps + keys.first_step;
    Step step = *next;
#pragma unroll 1
    for (int left = steps; left > 0; left--) {
      // The next one is loaded long before it is needed.
      Step now = step;
      if (left > 1) step = *++next;
      int rows_place = (rows + now.rows) % ROW_TILES;
      wait_at(shared.queries_used[slot.index], slot.parity ^ 1);
      QueryWork& work = shared.query_work[slot.index];
      static_cast<Step&>(work) = now;
      work.image = unit.image;
      work.head = unit.head;
      work.sums_place = sums + now.tile;
      work.rows_place = rows_place;
      work.before_place = places + now.before;
      work.own_place = unit.shared ? places + key_tile : -1;
      bring_queries(now, unit, rows_place);
    }
    // The unit's first tile of keys meets all of its queries.
    if (key_tile == unit.key_begin) unit_rows = steps;
    if (key_tile + 1 == unit.key_end) rows = (rows + unit_rows) % ROW_TILES;
  }

  __device__ __forceinline__ int sequence_of(const Unit& unit) const { return unit.image * all.heads + unit.head; }

  // The first of the block's own sums. As below, numbers of the grid are asked for where they are used: kept, they would
  // take registers that there are not.
  __device__ __forceinline__ int block_sums() const {
    int block;
    asm volatile("mov.u32 %0, %ctaid.x;" : "=r"(block));
    return block * all.own_sums;
  }

  // The next unit. All are asked for, so that those before it are done or in the hands of blocks that run. When the last
  // block hears that there are no more, the number of those taken is 0 again.
  __device__ __forceinline__ int take_unit() {
    int blocks;
    asm volatile("mov.u32 %0, %nctaid.x;" : "=r"(blocks));
    return atomicInc(reinterpret_cast<unsigned*>(all.progress), all.unit_count + blocks - 1);
  }

  __device__ __forceinline__ void bring() {
#pragma unroll 1
    for (int index = take_unit(); index < all.unit_count; index = take_unit()) {
      Unit unit = all.units[index];
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
    if (work.before_place != whose) seen = 0;
    whose = work.before_place;
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
    int own = shared.query_work[slot.index].own_place, made = shared.query_work[slot.index].number;
    if (shared.query_work[slot.index].count == 0) return;
    wait_at(shared.sums_added[slot.index], slot.parity);
    arrive(shared_address(&shared.queries_used[slot.index]));
    if (own < 0) continue;
    asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(all.progress + own), "r"(made) : "memory");
  }
}

// ---- the warp that finds norms and what rows bring

// Multiplies every row of a tile by the same row of another: the tensor cores multiply 16 rows by 16, of which the diagonal
// is kept. That takes a quarter of the instructions that 64 products a row would.
__device__ __forceinline__ void multiply_rows(const bf16* left, const bf16* right, float* products) {
  int lane = threadIdx.x % 32, row = lane / 4;
  uint32_t first = place(0, lane % 16, lane / 16);
#pragma unroll 1
  for (int i = 0; i < TILE / 16; i++) {
    float upper[4] = {}, lower[4] = {};
#pragma unroll
    for (int k = 0; k < 4; k++) {
      uint32_t a[4], b[4], at = i * 16 * TILE + (first ^ k << 5) / 2;
      load_tiles(a, left + at);
      load_tiles(b, right + at);
      multiply_tile(upper, a, b[0], b[2]);
      multiply_tile(lower, a, b[1], b[3]);
    }
    // A lane has rows lane / 4 and lane / 4 + 8 of columns 2 · (lane % 4) and the next.
    if (lane % 4 != row / 2) continue;
    products[i * 16 + row] = row % 2 ? upper[1] : upper[0];
    products[i * 16 + row + 8] = row % 2 ? lower[3] : lower[2];
  }
}

__device__ __forceinline__ float inverse_norm(float square) { return rsqrtf(fmaxf(square, 1e-24f)); }

// Finds the norms of keys and, where a chain is all this block's, what its queries bring. One warp's work.
__device__ __forceinline__ void measure(const Gradients& all, Shared& shared) {
  Place<STAGES> out, stage;
  bool normalized = all.factors != nullptr;
  for (Place<SLOTS> slot;; slot.advance()) {
    wait_at(shared.queries_there[slot.index], slot.parity);
    const QueryWork& work = shared.query_work[slot.index];
    int count = work.count;
    if (count == 0) return;
    if (work.number == 1) {
      wait_at(shared.keys_there[stage.index], stage.parity);
      int groups = normalized ? (shared.key_work[stage.index].count > TILE ? 2 : 1) : 0;
#pragma unroll 1
      for (int group = 0; group < groups; group++) {
        const bf16* keys = shared.keys[stage.index][group];
        float* norms = shared.inverse_norms[stage.index][group];
        multiply_rows(keys, keys, norms);
        __syncwarp();
#pragma unroll
        for (int row = threadIdx.x % 32; row < TILE; row += 32) norms[row] = inverse_norm(norms[row]);
      }
      arrive_as_warp(shared.norms_there[stage.index]);
      stage.advance();
    }
    if (work.measured()) {
      auto& rows = shared.rows[work.rows_place];
      const float* lse = all.lse + (size_t)(work.image * all.heads + work.head) * all.tokens + work.first;
      float logarithms[2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        int row = threadIdx.x % 32 + i * 32;
        logarithms[i] = row < count ? lse[row] : INFINITY;
      }
      float head_factor = LOG2_E * (normalized ? all.factors[work.head] : all.scale);
      if (normalized) multiply_rows(shared.queries[slot.index], shared.queries[slot.index], rows[FACTOR]);
      wait_at(shared.outs_there[out.index], out.parity);
      multiply_rows(shared.outs[out.index], shared.d_outs[slot.index], rows[MEAN]);
      arrive_as_warp(shared.outs_used[out.index]);
      out.advance();
#pragma unroll
      for (int i = 0; i < 2; i++) {
        int row = threadIdx.x % 32 + i * 32;
        float factor = head_factor;
        if (normalized) factor *= inverse_norm(rows[FACTOR][row]);
        bool there = row < count;
        rows[FACTOR][row] = there ? factor : 0;
        rows[SHIFT][row] = LOG2_E * logarithms[i];
        rows[MEAN][row] = there ? factor * rows[MEAN][row] : 0;
      }
    }
    arrive_as_warp(shared.rows_there[slot.index]);
  }
}

// ---- groups that own keys

// A number of the rows of the queries in this thread's columns `i`.
__device__ __forceinline__ float2 columns(const float (&row)[QUERIES], int i) {
  return *reinterpret_cast<const float2*>(&row[i * 8 + threadIdx.x % 4 * 2]);
}

// Turns products of keys with a tile of queries into weights. A thread's two keys have the inverse `norms`.
__device__ __forceinline__ void soften(TileSums& scores, const float (&norms)[2],
                                       const float (&rows)[ROW_NUMBERS][QUERIES]) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 factor = columns(rows[FACTOR], i), shift = columns(rows[SHIFT], i);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float &left = scores[i][half * 2], &right = scores[i][half * 2 + 1];
      left = power_of_two_of(left * norms[half] * factor.x - shift.x);
      right = power_of_two_of(right * norms[half] * factor.y - shift.y);
    }
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

// Turns products of values with the output's gradients into gradients of scores, given these' weights, times the inverse
// `norms` of a thread's two keys.
__device__ __forceinline__ void differentiate(uint32_t (&operands)[4][4], const TileSums& products,
                                              const uint32_t (&weights)[4][4], const float (&norms)[2],
                                              const float (&rows)[ROW_NUMBERS][QUERIES]) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 factor = columns(rows[FACTOR], i), mean = columns(rows[MEAN], i);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float2 weight = unpack(weights[i / 2][i % 2 * 2 + half]);
      float left = products[i][half * 2] * factor.x - mean.x, right = products[i][half * 2 + 1] * factor.y - mean.y;
      operands[i / 2][i % 2 * 2 + half] = pack(weight.x * norms[half] * left, weight.y * norms[half] * right);
    }
  }
}

// The gradients of rows before these were divided by their norms, given `sums` that are divided by the norms already: what
// of them is along the row is gone. Returns that.
__device__ __forceinline__ float remove_along(TileSums& sums, uint32_t tile, int half, float inverse_norm) {
  uint32_t words[8];
  load_beside(words, tile, half);
  float along[2] = {};
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 row = unpack(words[i]);
    along[0] += sums[i][half * 2] * row.x;
    along[1] += sums[i][half * 2 + 1] * row.y;
  }
  float sum = row_sum(along[0] + along[1]), share = sum * inverse_norm * inverse_norm;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float2 row = unpack(words[i]);
    sums[i][half * 2] -= row.x * share;
    sums[i][half * 2 + 1] -= row.y * share;
  }
  return sum;
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
  Place<SLOTS> slot, next;  // of this step's queries and of the next one's
  int last = 0;             // that of the step before
  uint64_t keys = 0, values = 0;

  // The inverse norms of this thread's two keys.
  __device__ __forceinline__ void find_norms(float (&norms)[2]) {
    norms[0] = norms[1] = 1;
    if (all.factors == nullptr) return;
    wait_at(shared.norms_there[stage.index], stage.parity);
    const float* inverse_norms = shared.inverse_norms[stage.index][group];
    int row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    norms[0] = inverse_norms[row];
    norms[1] = inverse_norms[row + 8];
  }

  // Starts the products of the next tile of queries with the keys, when it is there.
  __device__ __forceinline__ void begin_scores(TileSums& scores) {
    wait_at(shared.queries_there[next.index], next.parity);
    multiply_queries(scores);
    next.advance();
  }

  __device__ __forceinline__ void multiply_queries(TileSums& scores) {
    uint64_t queries = operand(shared_address(shared.queries[next.index]));
    begin_products();
#pragma unroll
    for (int k = 0; k < 4; k++)
      multiply_tiles<false, false>(scores, keys + k * NEXT_COLUMNS, queries + k * NEXT_COLUMNS, k);
    commit_products();
  }

  // A step, whose products of queries and keys are made. Weights are made while the tensor cores multiply values by the
  // output's gradients, and their gradients while they multiply the next queries by the keys.
  template <bool LAST>
  __device__ __forceinline__ void make_step(TileSums& d_keys, TileSums& d_values, TileSums& scores,
                                            const float (&norms)[2], int step, int first_key) {
    const auto& rows = shared.rows[shared.query_work[slot.index].rows_place];
    uint64_t queries = operand(shared_address(shared.queries[slot.index]));
    uint64_t d_outs = operand(shared_address(shared.d_outs[slot.index]));
    bool masked = shared.query_work[slot.index].masked(group);
    TileSums gradients;
    begin_products();
#pragma unroll
    for (int k = 0; k < 4; k++)
      multiply_tiles<false, false>(gradients, values + k * NEXT_COLUMNS, d_outs + k * NEXT_COLUMNS, k);
    commit_products();
    if (step > 0) show_gradients();
    wait_at(shared.rows_there[slot.index], slot.parity);
    soften(scores, norms, rows);
    if (masked) mask(scores, shared.ranges[slot.index], first_key);
    uint32_t weights[4][4];
    to_operands(weights, scores);
    begin_products();
#pragma unroll
    for (int k = 0; k < 4; k++) multiply_tiles<true>(d_values, weights[k], d_outs + k * NEXT_ROWS, step | k);
    commit_products();
    if (!LAST) begin_scores(scores);
    // Left are the values' gradients and the next scores: the keys' gradients of the step before are complete as well.
    wait_for_products<LAST ? 1 : 2>();
    settle(gradients);
    if (step > 0) arrive_as_warp(shared.queries_used[last]);

    uint32_t operands[4][4];
    differentiate(operands, gradients, weights, norms, rows);
    wait_at(shared.d_scores_used[d_scores.index], d_scores.parity ^ 1);
    store_operands(shared_address(shared.d_scores[d_scores.index][group]), operands);
    begin_products();
#pragma unroll
    for (int k = 0; k < 4; k++) multiply_tiles<true>(d_keys, operands[k], queries + k * NEXT_ROWS, step | k);
    commit_products();
    last = slot.index;
    slot.advance();
    if (LAST) {
      show_gradients();
    } else {
      wait_for_products<1>();
      settle(scores);
    }
  }

  // Gives the scores' gradients to the query group: not at once, since they take a while to be seen.
  __device__ __forceinline__ void show_gradients() {
    show_to_engines();
    arrive_as_warp(shared.d_scores_there[d_scores.index]);
    d_scores.advance();
  }

  // The steps of a tile of keys.
  __device__ __forceinline__ void add_up(TileSums& d_keys, TileSums& d_values, TileSums& scores, float (&norms)[2],
                                         const KeyWork& work) {
    values = operand(shared_address(shared.values[stage.index][group]));
    int first_key = work.first + group * TILE, step = 0;
    find_norms(norms);
#pragma unroll 1
    for (; step + 1 < work.steps; step++) make_step<false>(d_keys, d_values, scores, norms, step, first_key);
    make_step<true>(d_keys, d_values, scores, norms, step, first_key);
    wait_for_products<0>();
    settle(d_keys);
    settle(d_values);
    arrive_as_warp(shared.queries_used[last]);
  }

  // Takes part where the tile's keys are all the other group's.
  __device__ __forceinline__ void let_pass(int steps) {
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
      wait_at(shared.queries_there[slot.index], slot.parity);
      arrive_as_warp(shared.queries_used[slot.index]);
      wait_at(shared.d_scores_used[d_scores.index], d_scores.parity ^ 1);
      arrive_as_warp(shared.d_scores_there[d_scores.index]);
      slot.advance();
      d_scores.advance();
    }
    next = slot;
  }

  // Stores the gradients of a tile. The values are not needed any more, by any warp of the group: gradients are stored by
  // way of their place.
  __device__ __forceinline__ void store(TileSums& d_keys, TileSums& d_values, const float (&norms)[2], const KeyWork& work) {
    int rows = work.count - group * TILE, token = work.first + group * TILE;
    meet(KEY_MEETING + group);
    uint32_t values = shared_address(shared.values[stage.index][group]);
    store_rows(d_values, values, all.gradient(2, work.image, work.head, token), all.stride(), rows);
    TileSums gradients;
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) gradients[i][j] = d_keys[i][j] * LN_2;
    }
    if (all.factors != nullptr) {
      uint32_t keys = shared_address(shared.keys[stage.index][group]);
      remove_along(gradients, keys, 0, norms[0]);
      remove_along(gradients, keys, 1, norms[1]);
    }
    store_rows(gradients, values, all.gradient(1, work.image, work.head, token), all.stride(), rows);
  }

  // What this thread wrote to shared memory is seen by the tensor cores after the next barrier.
  static __device__ __forceinline__ void show_to_engines() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

  __device__ __forceinline__ bool has_keys(const KeyWork& work) const { return work.steps > 0 && work.count > group * TILE; }

  // Starts a tile's first products. Where it has no keys of this group nobody reads them.
  __device__ __forceinline__ void begin_tile(const Place<STAGES>& at, TileSums& scores) {
    wait_at(shared.keys_there[at.index], at.parity);
    bool needed = has_keys(shared.key_work[at.index]);
    keys = operand(shared_address(shared.keys[at.index][group]));
    if (needed) wait_at(shared.queries_there[next.index], next.parity);
    multiply_queries(scores);
    if (needed) next.advance();
  }

  __device__ __forceinline__ void own() {
    TileSums scores;
    begin_tile(stage, scores);
    wait_for_products<0>();
    settle(scores);
    while (true) {
      KeyWork work = shared.key_work[stage.index];
      if (work.steps == 0) return;
      Place<STAGES> following = stage;
      following.advance();
      if (has_keys(work)) {
        TileSums d_keys, d_values;
        float norms[2];
        add_up(d_keys, d_values, scores, norms, work);
        // While this tile's gradients are stored, the next one's first products are made.
        begin_tile(following, scores);
        store(d_keys, d_values, norms, work);
        wait_for_products<0>();
        settle(scores);
      } else {
        let_pass(work.steps);
        begin_tile(following, scores);
        wait_for_products<0>();
        settle(scores);
      }
      show_to_engines();
      arrive_as_warp(shared.keys_used[stage.index]);
      stage = following;
    }
  }
};

// ---- the group that adds up queries' gradients

struct QueryOwner {
  const Gradients& all;
  Shared& shared;
  Place<STAGES> stage, d_scores;
  Place<SLOTS> slot;

  __device__ __forceinline__ static void add(float4* to, const float (&sums)[4]) {
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(to), "f"(sums[0]), "f"(sums[1]),
                 "f"(sums[2]), "f"(sums[3])
                 : "memory");
  }

  // Stores the gradients of a tile whose sums are complete.
  __device__ __forceinline__ void finish(TileSums& sums, const QueryWork& work) {
    scale(sums, LN_2);
    if (all.factors != nullptr) {
      float factor = LN_2 / all.factors[work.head], along_queries = 0;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int row = thread_now() / 32 % 4 * 16 + thread_now() % 32 / 4 + half * 8;
        float inverse_norm = shared.rows[work.rows_place][FACTOR][row] * factor;
        float along = remove_along(sums, shared_address(shared.queries[slot.index]), half, inverse_norm);
        if (threadIdx.x % 4 == 0) along_queries += along;
      }
      along_queries = warp_sum(along_queries);
      if (threadIdx.x % 32 == 0) shared.along_queries[threadIdx.x / 32 % 4] += along_queries;
    }
    uint32_t finished = shared_address(shared.finished);
    store_rows(sums, finished, all.gradient(0, work.image, work.head, work.first), all.stride(), work.count);
  }

  __device__ __forceinline__ void add_up_tile(int groups) {
    wait_at(shared.queries_there[slot.index], slot.parity);
    const QueryWork& work = shared.query_work[slot.index];
    bool first = work.begins(), last = work.ends();
    float4* kept = all.sums + (size_t)work.sums_place * 8 * 128 + threadIdx.x % 128;
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
    for (int k = 0; k < 4; k++)
      multiply_tiles<true, true>(sums, gradients + k * NEXT_ROWS, columns + k * NEXT_ROWS, k | go_on);
    if (groups == KEY_GROUPS) {
      // Its tiles lie after those of the first group.
      begin_products();
#pragma unroll
      for (int k = 4; k < 8; k++)
        multiply_tiles<true, true>(sums, gradients + k * NEXT_ROWS, columns + k * NEXT_ROWS, 1);
    }
    commit_products();
    wait_for_products<0>();
    settle(sums);
    arrive_as_warp(shared.d_scores_used[d_scores.index]);
    d_scores.advance();

    if (last) {
      finish(sums, work);
    } else if (first) {
#pragma unroll
      for (int i = 0; i < 8; i++) __stcg(kept + i * 128, float4{sums[i][0], sums[i][1], sums[i][2], sums[i][3]});
    } else {
#pragma unroll
      for (int i = 0; i < 8; i++) add(kept + i * 128, sums[i]);
    }
    arrive_as_warp(shared.sums_added[slot.index]);
    slot.advance();
  }

  __device__ __forceinline__ void own() {
    while (true) {
      wait_at(shared.keys_there[stage.index], stage.parity);
      const KeyWork& work = shared.key_work[stage.index];
      int steps = work.steps, groups = work.count > TILE ? 2 : 1;
      if (steps == 0) return;
#pragma unroll 1
      for (int step = 0; step < steps; step++) add_up_tile(groups);
      int finished = work.finished;
      arrive_as_warp(shared.keys_used[stage.index]);
      stage.advance();
      if (finished >= 0 && threadIdx.x % 32 == 0) {
        int warp = threadIdx.x / 32 % 4;
        all.factor_parts[finished * 4 + warp] = shared.along_queries[warp];
        shared.along_queries[warp] = 0;
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
    start(shared.outs_there[i], 1);
    start(shared.outs_used[i], 1);
    start(shared.norms_there[i], 1);
  }
  for (int i = 0; i < SLOTS; i++) {
    start(shared.queries_there[i], 1);
    start(shared.rows_there[i], 1);
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
  if (threadIdx.x < 4) shared.along_queries[threadIdx.x] = 0;
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
    if (threadIdx.x % 128 >= 96) {
      measure(all, shared);
      return;
    }
    switch (threadIdx.x % 128) {
      case 0: Bringer{all, shared}.bring(); break;
      case 32: wait_for_turns(all, shared); break;
      case 64: tell_progress(all, shared); break;
    }
  }
}

#endif

// Grid: as many blocks as have sums of their own. Other GPUs never launch it.
extern "C" __global__ void __launch_bounds__(512, 1) attention_backward(
    const __grid_constant__ TensorMap qkv, const __grid_constant__ TensorMap out, const __grid_constant__ TensorMap d_out,
    const Unit* units, int unit_count, const KeyTile* key_tiles, const Step* steps, const int2* ranges,
    const float* rows, const float* lse, const float* factors, bf16* d_qkv, float4* sums, int* progress,
    float* factor_parts, int heads, int tokens, int tiles, int key_tile_count, int own_sums, int all_own_sums, float scale) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  differentiate({qkv, out, d_out, units, unit_count, key_tiles, steps, ranges, rows, lse, factors, d_qkv, sums,
                 progress, factor_parts, heads, tokens, tiles, key_tile_count, own_sums, all_own_sums, scale});
#endif
}
