// All blocks of a path and its head (3) for few rows, in one kernel. The time is that of streaming the weights, so they
// stream without a break, while what the layers hand to one another goes from block to block without barriers.
//
// A cluster makes tiles of 64 outputs for all rows. Each of its eight blocks sums an eighth of the depth, so that it needs
// an eighth of the rows' numbers, and ends an eighth of the rows: it gets all eight parts of their sums from shared memory to
// shared memory, adds them in order, and hands the results over (`awaited.cuh`) to whoever needs them.
#include "gelu.cuh"
#include "path_attention.cuh"
#include "warpgroup.cuh"
#include "weight_stream.cuh"

constexpr int ALL_THREADS = 320;
constexpr int MOST_BLOCKS = 36;
constexpr int MOST_CLUSTERS = 32;

// Layers of a transformer block. A path's head counts as the first layer of a block after the last.
enum Kind { QKV, PROJ, FC1, FC2, KINDS };

struct Block {
  TensorMap weights[KINDS];
  const float* biases[KINDS];
  const float* modulations;  // [slots, 6, C], of the head [slots, 2, C]
  const float* factors;      // of heads, or null
};

// Where each cluster's tiles of a layer begin.
using Shares = uint16_t[MOST_CLUSTERS + 1];

struct Path {
  Block blocks[MOST_BLOCKS + 1];
  const uint32_t* slots;
  const float* residual;
  float* logits;
  unsigned char* exchange;  // twice what `Exchange` divides, unwritten
  float scale;
  int count, rows, per_sequence, width, vocabulary;
  int ring, receivers;  // slots of weights, tiles whose sums are received at the same time
  int queries;          // rows that a warp attends to at the same time: of whole sequences, if there is room for one
  Shares shares[KINDS + 1];    // by kind, then of the head
};

static_assert(sizeof(Path) == (MOST_BLOCKS + 1) * 576 + 448, "it is what the host makes of it");

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int CLUSTER = 8;
constexpr int WARPS = 8;
constexpr int THREADS = WARPS * 32;
// Two more warps bring what the others need: one weights, the other what normalises rows.
static_assert(ALL_THREADS == THREADS + 64);
constexpr int MOST_SLOTS = 24;
constexpr int MOST_RECEIVERS = 8;
// Groups of four warps, each of which multiplies a tile's weights.
constexpr int GROUPS = 2;
constexpr int MOST_ROWS = 32;

// Barriers of the block's threads. The eight warps that multiply meet at the first.
__device__ __forceinline__ void meet() { asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory"); }
// The warp that helps them waits at the second and arrives at the third.
constexpr int WITH_HELPER = THREADS + 32;
__device__ __forceinline__ void let_help() { asm volatile("bar.arrive 2, %0;" ::"n"(WITH_HELPER) : "memory"); }
__device__ __forceinline__ void wait_to_help() { asm volatile("bar.sync 2, %0;" ::"n"(WITH_HELPER) : "memory"); }
__device__ __forceinline__ void let_meet() { asm volatile("bar.arrive 3, %0;" ::"n"(WITH_HELPER) : "memory"); }
__device__ __forceinline__ void meet_helped() { asm volatile("bar.sync 3, %0;" ::"n"(WITH_HELPER) : "memory"); }

// The residual stream between two layers, and mean and sum of squared differences from it of every 64 numbers of a row.
struct Stream {
  float* values;    // [rows, C]
  float2* moments;  // [rows, C / 64]
};

// What the layers of a transformer block hand over. Blocks take turns with two.
struct Exchange {
  unsigned char* start;
  uint32_t length;  // of the residual stream

  static __device__ __forceinline__ uint32_t bytes(const Path& path) {
    return path.rows * (path.width * 22 + path.width / TILE_OUTPUTS * 16);
  }

  __device__ __forceinline__ Exchange(const Path& path, uint32_t turn) : length(path.rows * path.width) {
    // Made anew wherever it is needed: registers hold something better from layer to layer.
    asm volatile("" : "+r"(turn), "+r"(length));
    start = path.exchange + turn * bytes(path);
  }

  // The residual stream after attention or, at the end, after the feed-forward.
  __device__ __forceinline__ Stream stream(bool end) const {
    uint32_t first = end ? length : 0;
    return {reinterpret_cast<float*>(start) + first,
            reinterpret_cast<float2*>(start + length * 22) + first / TILE_OUTPUTS};
  }

  // [rows, 3C], [rows, 4C]
  __device__ __forceinline__ bf16* qkv() const { return reinterpret_cast<bf16*>(start + length * 8); }
  __device__ __forceinline__ bf16* hidden() const { return reinterpret_cast<bf16*>(start + length * 14); }
};

// An address that stays in a register: to make it anew takes longer.
__device__ __forceinline__ uint32_t kept(uint32_t address) {
  asm volatile("" : "+r"(address));
  return address;
}

// Shared memory by its address.
__device__ __forceinline__ void load_shared(float (&x)[4], uint32_t from) {
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
               : "r"(from)
               : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, const float (&x)[4]) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, uint4 x) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, uint2 x) {
  asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(to), "r"(x.x), "r"(x.y) : "memory");
}

__device__ __forceinline__ void load_shared(uint32_t& x, uint32_t from) {
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(from) : "memory");
}

// Shows what this thread has written to shared memory to the tensor cores, after the next barrier.
__device__ __forceinline__ void show_rows() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ int warp() { return thread_anew() / 32; }
// The group of four warps, which all threads of a warp know to be the same.
__device__ __forceinline__ int group() { return __shfl_sync(0xffffffffu, warp() / 4, 0); }
__device__ __forceinline__ int lane() { return thread_anew() % 32; }

// What a block knows of its rows, in shared memory.
struct RowTable {
  uint32_t sequences[MOST_ROWS], slots[MOST_ROWS];
};

// Sums that a block ends at the same time: of a tile, in two neighbouring rows of sixteen. A lane has four of them.
constexpr int PAIR_BYTES = 32 * 4 * sizeof(float);

// Rows of a slice that are in shared memory. What is beyond the slice is zero.
enum Rows { NORMALIZED, ATTENDED, HIDDEN };

// A block's place, and where what lies in shared memory.
struct Place {
  int rank, cluster;
  int padded;  // rows in shared memory
  int pairs;   // of 16 rows: each block of the cluster ends two of them
  int ended;   // of those in which there are rows for this block
  uint32_t rows;  // of a slice, as one of the `Rows`
  uint32_t received, complete;  // sums, and barriers that wait for them
  uint32_t parts;        // the second group's sums of a tile that both multiply
  uint32_t modulations;  // [sequences, 2, C / 8]
  uint32_t table;        // a `RowTable`

  __device__ __forceinline__ uint32_t sequence(int row) const {
    uint32_t x;
    load_shared(x, table + row * sizeof(uint32_t));
    return x;
  }

  __device__ __forceinline__ uint32_t slot(int row) const { return sequence(MOST_ROWS + row); }

  __device__ __forceinline__ uint32_t rows_at(const Path& path, int which) const {
    return rows + (path.width / CLUSTER + CHUNK - 1) / CHUNK * padded * 128 * which;
  }

  // Barriers that wait for room for sums.
  __device__ __forceinline__ uint32_t free() const { return complete + MOST_RECEIVERS * 8; }

  // The residual stream where this block ends it.
  __device__ __forceinline__ uint32_t own(const Path& path) const {
    return received + path.receivers * CLUSTER * pairs * PAIR_BYTES;
  }

  // Where `column` of a slice's row lies: chunks of 64 columns, mixed like the weights.
  __device__ __forceinline__ uint32_t place(int row, int column) const {
    int chunk = column / CHUNK, part = column % CHUNK / 8;
    return (chunk * padded + row) * 128 + ((part ^ (row & 7)) << 4) + column % 8 * 2;
  }

  // The first of the two rows of a pair that this block ends.
  __device__ __forceinline__ int row(int pair) const { return 8 * (2 * pair + rank / 4) + rank % 4 * 2; }
};

// This block's columns of rows of the residual stream, normalised, scaled and shifted: a warp a row.
template <int AT_ONCE>
__device__ __forceinline__ void normalize(const Path& path, const Place& place, const Stream& from) {
  int slice = path.width / CLUSTER, units = slice / 4, tiles = path.width / TILE_OUTPUTS, lane = ::lane();
  const float* values_at = from.values + place.rank * slice;
  float per_tile = __fdividef(1.0f, tiles), per_number = per_tile / TILE_OUTPUTS;
#pragma unroll 1
  for (int first = warp(); first < path.rows; first += WARPS * AT_ONCE) {
    // Where there are no more rows, the last stands in.
    auto row_of = [&](int i) { return min(first + i * WARPS, path.rows - 1); };
    uint4 values[AT_ONCE][2];
    uint2 moments[AT_ONCE];
    // All lanes look until none misses anything: a warp that is not together takes a detour at each shuffle.
    uint32_t largest;
    do {
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        int row = row_of(i);
        const float* own = values_at + row * path.width;
        moments[i] = look_at_two(from.moments + row * tiles + min(lane, tiles - 1));
        values[i][0] = look_at_four(own + min(lane, units - 1) * 4);
        values[i][1] = lane + 32 < units ? look_at_four(own + (lane + 32) * 4) : uint4{};
      }
      largest = 0;
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++)
        largest = max(largest, max(largest_of(moments[i]), max(largest_of(values[i][0]), largest_of(values[i][1]))));
    } while (__any_sync(0xffffffffu, largest == UNWRITTEN));
    // First the sums of all rows, which do not wait for one another.
    float means[AT_ONCE], factors[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      float mean = __uint_as_float(moments[i].x), squares = __uint_as_float(moments[i].y);
      // Sums of differences from one tile's mean, which is about that of all.
      float about = __shfl_sync(0xffffffffu, mean, 0), difference = lane < tiles ? mean - about : 0;
      squares = lane < tiles ? squares + TILE_OUTPUTS * difference * difference : 0;
      difference = warp_sum(difference) * per_tile;
      squares = warp_sum(squares) * per_number - difference * difference;
      means[i] = about + difference;
      factors[i] = rsqrtf(fmaxf(squares, 0) + 1e-6f);
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      int row = row_of(i);
      uint32_t scales = place.modulations + place.sequence(row) * 2 * slice * sizeof(float);
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int unit = lane + half * 32;
        if (unit >= units) break;
        float s[4], b[4];
        load_shared(s, scales + unit * 16);
        load_shared(b, scales + slice * 4 + unit * 16);
        uint4 x = values[i][half];
        auto normalized = [&](uint32_t x, float s, float b) {
          return (__uint_as_float(x) - means[i]) * factors[i] * (1 + s) + b;
        };
        uint2 four = {pack(normalized(x.x, s[0], b[0]), normalized(x.y, s[1], b[1])),
                      pack(normalized(x.z, s[2], b[2]), normalized(x.w, s[3], b[3]))};
        store_shared(place.rows_at(path, NORMALIZED) + place.place(row, unit * 4), four);
      }
    }
  }
}

// `columns` of rows that others hand over: a warp a row.
template <int AT_ONCE, int PARTS>
__device__ __forceinline__ void copy_rows(const Path& path, const Place& place, const bf16* from, int stride, int columns) {
  int units = columns / 8, lane = ::lane();
#pragma unroll 1
  for (int first = warp(); first < path.rows; first += WARPS * AT_ONCE) {
    auto row_of = [&](int i) { return min(first + i * WARPS, path.rows - 1); };
#pragma unroll 1
    for (int begin = 0; begin < units; begin += 32 * PARTS) {
      uint4 values[AT_ONCE][PARTS];
      uint32_t largest;
      do {
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
          const bf16* row = from + row_of(i) * stride;
#pragma unroll
          for (int j = 0; j < PARTS; j++) {
            int unit = begin + lane + j * 32;
            values[i][j] = unit < units ? look_at_four(row + unit * 8) : uint4{};
          }
        }
        largest = 0;
#pragma unroll
        for (int i = 0; i < AT_ONCE * PARTS; i++) largest = max(largest, largest_of(values[i / PARTS][i % PARTS]));
      } while (__any_sync(0xffffffffu, largest == UNWRITTEN));
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
#pragma unroll
        for (int j = 0; j < PARTS; j++) {
          int unit = begin + lane + j * 32;
          if (unit < units) store_shared(place.rows_at(path, HIDDEN) + place.place(row_of(i), unit * 8), values[i][j]);
        }
      }
    }
  }
}

__device__ __forceinline__ void copy_to_address(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

// Multiplies a tile's weights, those of every other slot of the ring from the next one on, by all rows: `chunks` of them
// from `rows` on, each `stride` after the last. Lanes hold sums as those of `multiply_tile`: outputs by rows.
template <int TILES>
__device__ __forceinline__ void multiply(float (&sums)[TILES][4], WeightStream weights, uint32_t rows, int chunks, int stride) {
  uint32_t before = 0;
  // Of the operands' descriptions, the halves that change.
  uint32_t b = operand(rows);
  auto whole = [](uint32_t half) { return operand(0) >> 32 << 32 | half; };
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; chunk++) {
    uint32_t a = operand(weights.wait());
    begin_products();
#pragma unroll
    for (int step = 0; step < CHUNK / 16; step++) multiply_group(sums, whole(a + step * 2), whole(b + step * 2), chunk | step);
    commit_products();
    // All but these are done: what they read may be overwritten.
    wait_for_products<1>();
    if (chunk > 0 && lane() == 0) arrive(before);
    before = weights.release_barrier();
    weights.advance(GROUPS);
    b += stride / 16;
  }
  wait_for_products<0>();
  if (chunks > 0 && lane() == 0) arrive(before);
}

// Adds the second group's sums to the first's: both have multiplied parts of the same tile.
template <int TILES>
__device__ __forceinline__ void add_up(float (&sums)[TILES][4], uint32_t memory, int group) {
  memory += threadIdx.x % (THREADS / GROUPS) * 16;
  if (group > 0) {
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) store_shared(memory + tile * (THREADS / GROUPS * 16), sums[tile]);
    asm volatile("bar.arrive 4, %0;" ::"n"(THREADS) : "memory");
  } else {
    asm volatile("bar.sync 4, %0;" ::"n"(THREADS) : "memory");
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
      float others[4];
      load_shared(others, memory + tile * (THREADS / GROUPS * 16));
#pragma unroll
      for (int i = 0; i < 4; i++) sums[tile][i] += others[i];
    }
  }
}

// Which tiles' sums are received next.
struct Turn {
  int slot = 0;
  uint32_t parity = 0;
};

__device__ __forceinline__ Turn after(Turn turn, int number, int receivers) {
  turn.slot += number;
  if (turn.slot >= receivers) {
    turn.slot -= receivers;
    turn.parity ^= 1;
  }
  return turn;
}

// Hands a tile's partial sums to the blocks of the cluster that end their rows.
template <int TILES>
__device__ __forceinline__ void send(const Path& path, const Place& place, const float (&sums)[TILES][4], Turn turn) {
  int lane = ::lane();
  uint32_t to = place.received + (turn.slot * CLUSTER + place.rank) * place.pairs * PAIR_BYTES +
                (warp() % 4 * 8 + lane / 4) * 4 * sizeof(float);
#pragma unroll
  for (int tile = 0; tile < TILES; tile++) {
    if (tile * 8 + lane % 4 * 2 >= path.rows) break;
    int rank = tile % 2 * 4 + lane % 4;
    store_at_block(address_at_block(to + tile / 2 * PAIR_BYTES, rank),
                   make_float4(sums[tile][0], sums[tile][1], sums[tile][2], sums[tile][3]),
                   address_at_block(place.complete + turn.slot * 8, rank));
  }
}

// A layer: which of its tiles this cluster makes, and how deep this block's part of the sums is.
struct Layer {
  int kind;
  bool is_head;
  int slice, first, end;

  __device__ __forceinline__ Layer(const Path& path, const Place& place, int block, int kind)
      : kind(kind), is_head(block == path.count), slice(path.width / CLUSTER * (kind == FC2 ? 4 : 1)) {
    const Shares& shares = path.shares[is_head ? KINDS : kind];
    first = shares[place.cluster];
    end = shares[place.cluster + 1];
  }

  // Whether it adds to the residual stream.
  __device__ __forceinline__ bool adds() const { return kind % 2 == 1; }
};

// The first output of a tile that a lane ends; the others are the next, and those eight after both.
__device__ __forceinline__ int output_of_lane() { return lane() / 8 * 16 + lane() % 8 / 2 * 2; }

// Hands a lane's numbers of a row of the residual stream over, and with them the moments of a tile's: all even lanes of
// the warp hold one row of it, all odd lanes the next. `to` is where the first number goes.
__device__ __forceinline__ void hand_over_residual(float* to, float2* moments, bool there, const float (&x)[4]) {
  if (there) {
    hand_over(to, uint2{__float_as_uint(x[0]), __float_as_uint(x[1])});
    hand_over(to + 8, uint2{__float_as_uint(x[2]), __float_as_uint(x[3])});
  }
  // Sums of differences from one of the numbers.
  float about = __shfl_sync(0xffffffffu, x[0], lane() % 2), sum = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    float difference = x[i] - about;
    sum += difference;
    squares += difference * difference;
  }
#pragma unroll
  for (int distance = 16; distance > 1; distance /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    squares += __shfl_xor_sync(0xffffffffu, squares, distance);
  }
  sum /= TILE_OUTPUTS;
  if (there && lane() < 2)
    hand_over(moments, uint2{__float_as_uint(about + sum), __float_as_uint(fmaxf(squares - TILE_OUTPUTS * sum * sum, 0))});
}

// How a lane's sums end: what is added, what they are multiplied with after, and where they go.
struct Ending {
  bool there;
  float2 bias[2], gates[2];
  unsigned char* to;
  float2* moments;

  __device__ __forceinline__ void prepare(const Path& path, const Place& place, const Block& block, const Layer& layer,
                                          const Exchange& exchange, int pair, int tile) {
    int output = tile * TILE_OUTPUTS + output_of_lane(), row = place.row(pair) + lane() % 2;
    auto load = [](float2(&to)[2], const float* from) {
      to[0] = __ldg(reinterpret_cast<const float2*>(from));
      to[1] = __ldg(reinterpret_cast<const float2*>(from + 8));
    };
    there = row < path.rows;
    load(bias, block.biases[layer.kind] + output);
    if (layer.adds()) {
      Stream stream = exchange.stream(layer.kind == FC2);
      to = reinterpret_cast<unsigned char*>(stream.values + row * path.width + output);
      moments = stream.moments + row * (path.width / TILE_OUTPUTS) + tile;
      size_t slot = place.slot(min(row, path.rows - 1));
      load(gates, block.modulations + slot * 6 * path.width + (layer.kind == PROJ ? 0 : path.width) + output);
    } else if (layer.is_head) {
      to = reinterpret_cast<unsigned char*>(path.logits + row * path.vocabulary + output);
    } else {
      bf16* rows = layer.kind == QKV ? exchange.qkv() : exchange.hidden();
      to = reinterpret_cast<unsigned char*>(rows + row * (layer.kind == QKV ? 3 : 4) * path.width + output);
    }
  }

  // `sums` are of two outputs, eight apart, by two rows. `residual` is where this block has the lane's numbers of the
  // residual stream.
  __device__ __forceinline__ void finish(const Layer& layer, const float (&sums)[4], uint32_t residual) {
    // Neighbouring lanes have neighbouring outputs: they exchange rows.
    bool odd = lane() % 2;
    float low = __shfl_xor_sync(0xffffffffu, odd ? sums[0] : sums[1], 1);
    float high = __shfl_xor_sync(0xffffffffu, odd ? sums[2] : sums[3], 1);
    float x[4] = {odd ? low : sums[0], odd ? sums[1] : low, odd ? high : sums[2], odd ? sums[3] : high};
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] += i % 2 ? bias[i / 2].y : bias[i / 2].x;
    if (layer.adds()) {
      float y[4];
      load_shared(y, residual);
#pragma unroll
      for (int i = 0; i < 4; i++) y[i] += (i % 2 ? gates[i / 2].y : gates[i / 2].x) * x[i];
      store_shared(residual, y);
      hand_over_residual(reinterpret_cast<float*>(to), moments, there, y);
    } else if (layer.is_head) {
      if (!there) return;
      reinterpret_cast<float2*>(to)[0] = {x[0], x[1]};
      reinterpret_cast<float2*>(to)[4] = {x[2], x[3]};
    } else {
      if (layer.kind == FC1) {
#pragma unroll
        for (int i = 0; i < 4; i++) x[i] = gelu(x[i]);
      }
      if (!there) return;
      hand_over(to, pack(x[0], x[1]));
      hand_over(to + 8 * sizeof(bf16), pack(x[2], x[3]));
    }
  }
};

// Attention of this block's columns: of all rows and of those heads that have some.
template <int TILES>
__device__ __forceinline__ void attend(const Path& path, const Place& place, const Block& block, const Exchange& exchange) {
  int slice = path.width / CLUSTER, first = place.rank * slice, first_head = first / HEAD_WIDTH;
  int heads = (first + slice - 1) / HEAD_WIDTH + 1 - first_head;
  bool normalized = block.factors != nullptr;
  int head = warp(), row = 0;
#pragma unroll 1
  for (;; head += WARPS) {
    while (head >= heads && row < path.rows) head -= heads, row += path.queries;
    if (row >= path.rows) break;
    int end = min(row + path.queries, path.rows), column_of_head = (first_head + head) * HEAD_WIDTH;
    const bf16* rows = exchange.qkv() + column_of_head;
    float factor = normalized ? __ldg(block.factors + first_head + head) : path.scale;
    auto sequence = [&](int row) { return place.sequence(row); };
    auto store = [&](int row, int column, uint4 x) {
      column += column_of_head - first;
      if (column >= 0 && column < slice) store_shared(place.rows_at(path, ATTENDED) + place.place(row, column), x);
    };
    // Queries of whole sequences, or of one that has more rows than a warp attends to.
    if (TILES <= 2 || path.per_sequence <= path.queries) {
      attend<TILES == 1 ? 1 : 2, true>(rows, 3 * path.width, path.width, row, end, row, end, sequence, factor, normalized, store);
    } else {
      attend<2, false>(rows, 3 * path.width, path.width, row, end, 0, path.rows, sequence, factor, normalized, store);
    }
  }
}

// All layers, one after the other by the same instructions: they are many, and what is in their cache need not be waited
// for.
template <int TILES>
__device__ __forceinline__ void run(const Path& path, const Place& place, WeightStream& weights) {
  // As many rows of a warp at once as registers hold.
  constexpr int AT_ONCE = TILES, PARTS = TILES < 4 ? 4 : 2;
  Turn turn;
  // A warp ends a tile of some pair of rows; the last warps begin, since the first wait for rows meanwhile.
  struct Task {
    int tile, pair;
  };
  auto task = [&](int number) { return place.ended == 2 ? Task{number / 2, number % 2} : Task{number, 0}; };
  auto residual = [&](Task task) { return place.own(path) + ((task.tile * place.pairs + task.pair) * 32 + lane()) * 16; };

  // As if a block had made the input.
  {
    Layer back(path, place, 0, PROJ);
    Stream to = Exchange(path, 1).stream(true);
#pragma unroll 1
    for (int number = warp(); number < (back.end - back.first) * place.ended; number += WARPS) {
      Task own = task(number);
      int tile = back.first + own.tile, row = place.row(own.pair) + lane() % 2;
      int at = row * path.width + tile * TILE_OUTPUTS + output_of_lane();
      bool there = row < path.rows;
      float x[4] = {};
      if (there) {
#pragma unroll
        for (int i = 0; i < 4; i++) x[i] = path.residual[at + i / 2 * 8 + i % 2];
      }
      store_shared(residual(own), x);
      hand_over_residual(to.values + at, to.moments + row * (path.width / TILE_OUTPUTS) + tile, there, x);
    }
    meet_helped();
  }

#pragma unroll 1
  for (int step = 0; step <= path.count * KINDS; step++) {
    int index = step / KINDS;
    const Block& block = path.blocks[index];
    Layer layer(path, place, index, step % KINDS);
    auto own = [&] { return Exchange(path, index % 2); };
    uint32_t rows = place.rows_at(path, layer.kind == PROJ ? ATTENDED : layer.kind == FC2 ? HIDDEN : NORMALIZED);
#pragma unroll 1
    for (int round = layer.first; round < layer.end; round += path.receivers) {
      int end = min(round + path.receivers, layer.end), tasks = (end - round) * place.ended;
      // What does not depend on the rows comes before waiting for them: room for sums, and what ends them.
      if (lane() < end - round) {
        Turn next = after(turn, lane(), path.receivers);
        wait_at(place.free() + next.slot * 8, next.parity ^ 1);
      }
      __syncwarp();
      Ending ending;
      int number = WARPS - 1 - warp();
      auto prepare = [&] {
        Task now = task(number);
        if (number < tasks) ending.prepare(path, place, block, layer, own(), now.pair, round + now.tile);
      };
      // Attention has no registers to spare for it.
      if (layer.kind != PROJ) prepare();
      if (round > layer.first) {
        if (layer.kind == PROJ) prepare();
        // Sums of the last round have been received by all.
        meet();
      } else if (!layer.adds()) {
        bool first = layer.kind == QKV;
        normalize<AT_ONCE>(path, place, Exchange(path, (index + first) % 2).stream(first));
        show_rows();
        meet();
        if (!layer.is_head) let_help();
      } else {
        if (layer.kind == PROJ) {
          attend<TILES>(path, place, block, own());
          prepare();
        } else {
          copy_rows<AT_ONCE, PARTS>(path, place, own().hidden() + place.rank * layer.slice, 4 * path.width, layer.slice);
        }
        show_rows();
        meet_helped();
      }
#pragma unroll 1
      for (int tile = round; tile < end; tile += GROUPS) {
        // Each group multiplies a tile. A lone one they share: every other chunk is for the second group.
        int together = min(GROUPS, end - tile), group = ::group(), chunks = (layer.slice + CHUNK - 1) / CHUNK;
        bool shared = together < GROUPS;
        constexpr int CHUNK_BYTES = TILES * 8 * 128;
        WeightStream own = weights;
        own.advance(group);
        weights.advance(chunks * together);
        float sums[TILES][4];
        multiply<TILES>(sums, own, shared ? rows + group * CHUNK_BYTES : rows, shared ? (chunks + 1 - group) / 2 : chunks,
                        shared ? GROUPS * CHUNK_BYTES : CHUNK_BYTES);
        if (shared && chunks > 1) add_up<TILES>(sums, place.parts, group);
        if (group < together) send<TILES>(path, place, sums, after(turn, tile - round + group, path.receivers));
      }
      if (threadIdx.x < end - round && place.ended > 0)
        arrive_expecting(place.complete + after(turn, threadIdx.x, path.receivers).slot * 8,
                         place.ended * CLUSTER * PAIR_BYTES);
#pragma unroll 1
      for (; number < tasks; number += WARPS) {
        Task now = task(number);
        if (number >= WARPS) ending.prepare(path, place, block, layer, own(), now.pair, round + now.tile);
        Turn from = after(turn, now.tile, path.receivers);
        wait_at(place.complete + from.slot * 8, from.parity);
        uint32_t at = place.received + ((from.slot * CLUSTER * place.pairs + now.pair) * 32 + lane()) * 16;
        float parts[CLUSTER][4];
#pragma unroll
        for (int i = 0; i < CLUSTER; i++) load_shared(parts[i], at + i * place.pairs * PAIR_BYTES);
#pragma unroll
        for (int i = 1; i < CLUSTER; i++) {
#pragma unroll
          for (int j = 0; j < 4; j++) parts[0][j] += parts[i][j];
        }
        ending.finish(layer, parts[0], residual({round + now.tile - layer.first, now.pair}));
        // The parts are added up: there is room for others.
        __syncwarp();
        if (lane() < CLUSTER) arrive_at_block(place.free() + from.slot * 8, lane());
      }
      turn = after(turn, end - round, path.receivers);
    }
  }
}

// Asks for all weights of the path, in the order in which `run` multiplies.
__device__ __forceinline__ void stream(const Path& path, const Place& place, WeightStream& weights) {
  uint64_t policy = used_once();
#pragma unroll 1
  for (int step = 0; step <= path.count * KINDS; step++) {
    const Block& block = path.blocks[step / KINDS];
    Layer layer(path, place, step / KINDS, step % KINDS);
#pragma unroll 1
    for (int round = layer.first; round < layer.end; round += path.receivers) {
      int end = min(round + path.receivers, layer.end);
#pragma unroll 1
      for (int tile = round; tile < end; tile += GROUPS) {
#pragma unroll 1
        for (int column = 0; column < layer.slice; column += CHUNK) {
#pragma unroll 1
          for (int own = tile; own < min(tile + GROUPS, end); own++)
            weights.request(block.weights[layer.kind], place.rank * layer.slice + column, own * TILE_OUTPUTS, policy);
        }
      }
    }
  }
}

// Copies this block's columns of scale and shift of every sequence.
__device__ __forceinline__ void fetch_modulations(const Path& path, const Place& place, const float* table, int vectors,
                                                  int scale, int shift) {
  int slice = path.width / CLUSTER, lane = threadIdx.x % 32;
  uint32_t to = place.modulations;
#pragma unroll 1
  for (int first = 0; first < path.rows; first += path.per_sequence) {
    const float* from = table + place.slot(first) * vectors * path.width + place.rank * slice;
#pragma unroll 1
    for (int column = lane * 4; column < slice; column += 32 * 4) {
      copy_to_address(to + column * 4, from + scale * path.width + column);
      copy_to_address(to + (slice + column) * 4, from + shift * path.width + column);
    }
    to += slice * 2 * sizeof(float);
  }
  commit_copies();
}

// Makes what the last block's layers handed over unwritten again, once nobody looks at it any more: all have taken part in
// this block's first two products. It is done before anyone can hand something over for the block after this one.
__device__ __forceinline__ void clean(const Path& path, int block) {
  uint32_t fours = Exchange::bytes(path) / sizeof(uint4);
  uint4* at = reinterpret_cast<uint4*>(path.exchange) + (block + 1) % 2 * fours;
  for (uint32_t four = blockIdx.x * 32 + threadIdx.x % 32; four < fours; four += gridDim.x * 32)
    hand_over(at + four, uint4{UNWRITTEN, UNWRITTEN, UNWRITTEN, UNWRITTEN});
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
}

// What a warp does beside the others: as soon as rows are normalised, it fetches what normalises the next ones, and cleans.
__device__ __forceinline__ void help(const Path& path, const Place& place) {
  auto fetch_first = [&](int block) {
    bool of_head = block == path.count;
    fetch_modulations(path, place, path.blocks[block].modulations, of_head ? 2 : 6, of_head ? 0 : 2, of_head ? 1 : 4);
  };
  fetch_first(0);
  wait_for_copies<0>();
  let_meet();
#pragma unroll 1
  for (int i = 0; i < path.count; i++) {
    wait_to_help();
    fetch_modulations(path, place, path.blocks[i].modulations, 6, 3, 5);
    wait_for_copies<0>();
    let_meet();
    wait_to_help();
    fetch_first(i + 1);
    clean(path, i);
    wait_for_copies<0>();
    let_meet();
  }
}

template <int TILES>
__device__ __forceinline__ Place find_place(const Path& path, uint32_t memory, uint32_t barriers, uint32_t table) {
  Place place;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(place.rank));
  place.cluster = blockIdx.x / CLUSTER;
  int slice = path.width / CLUSTER;
  place.pairs = (TILES + 1) / 2;
  place.padded = TILES * 8;
  place.ended = (place.row(0) < path.rows) + (place.row(1) < path.rows);
  place.rows = memory + path.ring * SLOT_BYTES;
  place.received = place.rows_at(path, HIDDEN) + slice * 4 / CHUNK * place.padded * 128;
  int most = path.shares[PROJ][place.cluster + 1] - path.shares[PROJ][place.cluster];
  place.parts = place.own(path) + most * place.pairs * PAIR_BYTES;
  place.modulations = place.parts + THREADS / GROUPS * TILES * 16;
  place.complete = barriers;
  place.table = table;
  return place;
}

#endif

template <int TILES>
__device__ __forceinline__ void run_path(const Path& path) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char memory[];
  __shared__ uint64_t ring_barriers[2 * MOST_SLOTS], sum_barriers[2 * MOST_RECEIVERS];
  __shared__ RowTable table;
  uint32_t start = kept(shared_address(memory));
  Place place = find_place<TILES>(path, start, kept(shared_address(sum_barriers)), kept(shared_address(&table)));
  WeightStream weights(start, kept(shared_address(ring_barriers)), path.ring);
  for (uint32_t at = place.rows + threadIdx.x * 16; at < place.rows_at(path, HIDDEN); at += ALL_THREADS * 16)
    store_shared(at, uint4{});
  show_rows();
  if (threadIdx.x < path.rows) {
    table.sequences[threadIdx.x] = threadIdx.x / path.per_sequence;
    table.slots[threadIdx.x] = path.slots[threadIdx.x / path.per_sequence];
  }
  if (threadIdx.x == 0) {
    weights.start(WARPS / GROUPS);
    for (int i = 0; i < path.receivers; i++) {
      start_barrier(place.complete + i * 8, 1);
      start_barrier(place.free() + i * 8, (path.rows + 1) / 2);
    }
    show_barriers();
  }
  arrive_in_cluster();
  wait_for_cluster();
  __syncthreads();
  // All threads of a warp know that they take the same way.
  int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  if (warp < WARPS) {
    run<TILES>(path, place, weights);
  } else if (warp == WARPS) {
    if (threadIdx.x % 32 == 0) stream(path, place, weights);
  } else {
    help(path, place);
  }
  // Others may still hand sums to this block, and be told that theirs were taken.
  __syncwarp();
  arrive_in_cluster();
  wait_for_cluster();
#endif
}

#define PATH(tiles)                                                                                               \
  extern "C" __global__ void __launch_bounds__(ALL_THREADS, 1) path_##tiles(__grid_constant__ const Path path) { \
    run_path<tiles>(path);                                                                                        \
  }

PATH(1)
PATH(2)
PATH(4)
