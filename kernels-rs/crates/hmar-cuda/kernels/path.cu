// All blocks of a path and its head (3) for few rows, in one kernel. The time is that of streaming the weights, so they
// stream without a break, while what the layers hand to one another goes from block to block without barriers.
//
// A cluster makes tiles of 64 outputs for all rows. Each of its eight blocks sums an eighth of the depth, so that it needs
// an eighth of the rows' numbers, and ends an eighth of the rows: it gets all eight parts of their sums from shared memory to
// shared memory, adds them in order, and hands the results over (`awaited.cuh`) to whoever needs them.
#include "path_attention.cuh"
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

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

constexpr int CLUSTER = 8;
constexpr int WARPS = 8;
constexpr int THREADS = WARPS * 32;
// Two more warps bring what the others need: one weights, the other what normalises rows.
static_assert(ALL_THREADS == THREADS + 64);
constexpr int MOST_SLOTS = 24;
constexpr int MOST_RECEIVERS = 8;
// Tiles of a layer whose products are made together.
constexpr int MOST_TOGETHER = 4;
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

// Shared memory by its address.
__device__ __forceinline__ void load_shared(float (&x)[4], uint32_t from) {
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
               : "r"(from)
               : "memory");
}

__device__ __forceinline__ void load_shared(float (&x)[2], uint32_t from) {
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x[0]), "=f"(x[1]) : "r"(from) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, const float (&x)[4]) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, const float (&x)[2]) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(x[0]), "f"(x[1]) : "memory");
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

__device__ __forceinline__ int warp() { return thread_anew() / 32; }
__device__ __forceinline__ int lane() { return thread_anew() % 32; }

// What a block knows of its rows, in shared memory.
struct RowTable {
  uint32_t sequences[MOST_ROWS], slots[MOST_ROWS];
};

// How the products of up to TILES times eight rows are divided: tiles of sixteen rows, of which a lane holds two outputs of
// one row or two, eight apart. It is in these numbers that sums are handed over and ended.
template <int TILES>
struct RowTiles {
  static constexpr int SIXTEENS = (TILES + 1) / 2;
  static constexpr int LANE_ROWS = TILES == 1 ? 1 : 2;
  static constexpr int NUMBERS = 2 * LANE_ROWS;
  static constexpr int PART = 32 * NUMBERS * sizeof(float);  // of a tile's sums, for one block
  static constexpr int PARTS = CLUSTER * SIXTEENS * PART;
};

// A block's place, and where what lies in shared memory.
struct Place {
  int rank, cluster;
  int padded;  // rows in shared memory
  int ended;   // tiles of sixteen rows of which this block ends some: those of its rank and eight more
  uint32_t normalized, copied, received, complete, free;  // rows of a slice; sums, and their barriers
  uint32_t own;          // the residual stream where this block ends it
  uint32_t modulations;  // [sequences, 2, C / 8]
  uint32_t table;        // a `RowTable`

  __device__ __forceinline__ uint32_t sequence(int row) const {
    uint32_t x;
    load_shared(x, table + row * sizeof(uint32_t));
    return x;
  }

  __device__ __forceinline__ uint32_t slot(int row) const { return sequence(MOST_ROWS + row); }

  // Where `column` of a slice's row lies: chunks of 64 columns, mixed like the weights.
  __device__ __forceinline__ uint32_t place(int row, int column) const {
    int chunk = column / CHUNK, part = column % CHUNK / 8;
    return (chunk * padded + row) * 128 + ((part ^ (row & 7)) << 4) + column % 8 * 2;
  }
};

// This block's columns of rows of the residual stream, normalised, scaled and shifted: a warp a row.
template <int AT_ONCE>
__device__ __forceinline__ void normalize(const Path& path, const Place& place, const Stream& from) {
  int slice = path.width / CLUSTER, units = slice / 4, tiles = path.width / TILE_OUTPUTS, lane = ::lane();
  const float* values_at = from.values + place.rank * slice;
  float per_tile = __fdividef(1.0f, tiles), per_number = per_tile / TILE_OUTPUTS;
#pragma unroll 1
  for (int first = warp(); first < path.rows; first += WARPS * AT_ONCE) {
    uint4 values[AT_ONCE][2];
    uint2 moments[AT_ONCE];
    uint32_t largest;
    do {
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        int row = min(first + i * WARPS, path.rows - 1);
        const float* own = values_at + row * path.width;
        moments[i] = look_at_two(from.moments + row * tiles + min(lane, tiles - 1));
        values[i][0] = look_at_four(own + min(lane, units - 1) * 4);
        values[i][1] = lane + 32 < units ? look_at_four(own + (lane + 32) * 4) : uint4{};
      }
      largest = 0;
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++)
        largest = max(largest, max(largest_of(moments[i]), max(largest_of(values[i][0]), largest_of(values[i][1]))));
    } while (largest == UNWRITTEN);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      int row = first + i * WARPS;
      if (row >= path.rows) break;
      float mean = __uint_as_float(moments[i].x), squares = __uint_as_float(moments[i].y);
      // Sums of differences from one tile's mean, which is about that of all.
      float about = __shfl_sync(0xffffffffu, mean, 0), difference = lane < tiles ? mean - about : 0;
      squares = lane < tiles ? squares + TILE_OUTPUTS * difference * difference : 0;
      difference = warp_sum(difference) * per_tile;
      squares = warp_sum(squares) * per_number - difference * difference;
      mean = about + difference;
      float factor = rsqrtf(fmaxf(squares, 0) + 1e-6f);
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
          return (__uint_as_float(x) - mean) * factor * (1 + s) + b;
        };
        uint2 four = {pack(normalized(x.x, s[0], b[0]), normalized(x.y, s[1], b[1])),
                      pack(normalized(x.z, s[2], b[2]), normalized(x.w, s[3], b[3]))};
        store_shared(place.normalized + place.place(row, unit * 4), four);
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
#pragma unroll 1
    for (int begin = lane; begin < units; begin += 32 * PARTS) {
      uint4 values[AT_ONCE][PARTS];
      uint32_t largest;
      do {
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
          const bf16* row = from + min(first + i * WARPS, path.rows - 1) * stride;
#pragma unroll
          for (int j = 0; j < PARTS; j++) {
            int unit = begin + j * 32;
            values[i][j] = unit < units ? look_at_four(row + unit * 8) : uint4{};
          }
        }
        largest = 0;
#pragma unroll
        for (int i = 0; i < AT_ONCE * PARTS; i++) largest = max(largest, largest_of(values[i / PARTS][i % PARTS]));
      } while (largest == UNWRITTEN);
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        int row = first + i * WARPS;
        if (row >= path.rows) break;
#pragma unroll
        for (int j = 0; j < PARTS; j++) {
          int unit = begin + j * 32;
          if (unit < units) store_shared(place.copied + place.place(row, unit * 8), values[i][j]);
        }
      }
    }
  }
}

__device__ __forceinline__ void copy_to_address(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

__device__ __forceinline__ void load_tiles_at(uint32_t (&tiles)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(address)
               : "memory");
}

// A chunk of rows as operands of products: by tiles of sixteen rows and steps of sixteen numbers.
template <int TILES>
struct RowOperands {
  static constexpr int SIXTEENS = RowTiles<TILES>::SIXTEENS;
  uint32_t steps[SIXTEENS][4][4];

  // Where there are no more than eight rows, they stand for the other eight as well: nobody asks for their sums.
  __device__ __forceinline__ explicit RowOperands(uint32_t chunk) {
    int lane = ::lane(), row = TILES == 1 ? lane % 8 : lane % 16;
#pragma unroll
    for (int i = 0; i < SIXTEENS; i++) {
#pragma unroll
      for (int step = 0; step < 4; step++)
        load_tiles_at(steps[i][step], chunk + (i * 16 + row) * 128 + ((step * 2 + lane / 16 ^ lane % 8) << 4));
    }
  }

  // Makes the steps from `first` on zero: there are no numbers any more.
  __device__ __forceinline__ void end_at(int first) {
#pragma unroll
    for (int i = 0; i < SIXTEENS * 16; i++)
      if (i / 4 % 4 >= first) steps[i / 16][i / 4 % 4][i % 4] = 0;
  }
};

// Multiplies `tiles` tiles, at most SIDE, `steps` times 16 deep: of all rows, eight outputs of each tile a warp. Four
// slots of weights are under way at the same time, of as many chunks as that takes; each has sums of its own.
template <int TILES, int SIDE>
__device__ __forceinline__ void multiply(float (&sums)[4][RowTiles<TILES>::SIXTEENS][4], const Place& place,
                                         WeightStream& weights, uint32_t rows, int steps, int tiles) {
  constexpr int SIXTEENS = RowTiles<TILES>::SIXTEENS, CHUNKS = 4 / SIDE, STEPS = CHUNK / 16;
  int lane = ::lane();
  uint32_t row = (warp() * 8 + lane % 8) * 128, own[2] = {row + ((lane / 8 ^ lane % 8) << 4), row + ((4 + lane / 8 ^ lane % 8) << 4)};
#pragma unroll 1
  for (; steps > 0; steps -= CHUNKS * STEPS) {
    int used = min(CHUNKS, (steps + STEPS - 1) / STEPS) * tiles;
    weights.wait(used, lane);
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
      RowOperands<TILES> operands(rows);
      if (steps < (chunk + 1) * STEPS) operands.end_at(steps - chunk * STEPS);
      rows += place.padded * 128;
#pragma unroll
      for (int tile = 0; tile < SIDE; tile++) {
        uint32_t weight[2][4];
        // Of a slot that is not there, the first stands in; nobody asks for these sums, or the rows are zero.
        int slot = chunk * tiles + tile;
        uint32_t at = weights.address(tile < tiles && slot < used ? slot : 0);
        load_tiles_at(weight[0], at + own[0]);
        load_tiles_at(weight[1], at + own[1]);
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
#pragma unroll
          for (int i = 0; i < SIXTEENS; i++)
            multiply_tile(sums[chunk * SIDE + tile][i], operands.steps[i][step], weight[step / 2][step % 2 * 2],
                          weight[step / 2][step % 2 * 2 + 1]);
        }
      }
    }
    __syncwarp();
    if (lane < used) weights.release(lane);
    weights.advance(used);
  }
#pragma unroll
  for (int i = SIDE; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < SIXTEENS * 4; j++) sums[i % SIDE][j / 4][j % 4] += sums[i][j / 4][j % 4];
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

// Hands partial sums of `tiles` tiles to the blocks of the cluster that end their rows.
template <int TILES>
__device__ __forceinline__ void send(const Path& path, const Place& place,
                                     const float (&sums)[MOST_TOGETHER][RowTiles<TILES>::SIXTEENS][4], Turn turn, int tiles) {
  using Own = RowTiles<TILES>;
  int lane = ::lane(), rank = lane / 4;
  uint32_t to = address_at_block(place.received + place.rank * Own::SIXTEENS * Own::PART +
                                     (warp() * 4 + lane % 4) * Own::NUMBERS * sizeof(float),
                                 rank);
  uint32_t barriers = address_at_block(place.complete, rank);
#pragma unroll
  for (int tile = 0; tile < MOST_TOGETHER; tile++) {
    if (tile >= tiles) break;
    int slot = after(turn, tile, path.receivers).slot;
#pragma unroll
    for (int i = 0; i < Own::SIXTEENS; i++) {
      uint32_t place = to + slot * Own::PARTS + i * Own::PART, barrier = barriers + slot * 8;
      const float(&x)[4] = sums[tile][i];
      if (i * 16 + rank >= path.rows) break;
      if constexpr (Own::NUMBERS == 2) {
        store_at_block(place, make_float2(x[0], x[1]), barrier);
      } else {
        store_at_block(place, make_float4(x[0], x[1], x[2], x[3]), barrier);
      }
    }
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
  // Of `qkv` and `fc1`.
  __device__ __forceinline__ int outputs(const Path& path) const { return (kind == QKV ? 3 : 4) * path.width; }
};

// Hands two numbers of the residual stream of each of the lane's rows over, and with them the moments of a tile's: the
// warp holds all of it. `to` is where the first number goes, `moments` where those of the first row do.
template <int NUMBERS>
__device__ __forceinline__ void hand_over_residual(const Path& path, float* to, float2* moments, int row,
                                                   const float (&x)[NUMBERS]) {
  constexpr int ROWS = NUMBERS / 2;
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    if (row + i * 8 < path.rows)
      hand_over(to + i * 8 * path.width, uint2{__float_as_uint(x[i * 2]), __float_as_uint(x[i * 2 + 1])});
  }
  // Sums of differences from one of the numbers.
  float mean[ROWS], around[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    float about = __shfl_sync(0xffffffffu, x[i * 2], 0), first = x[i * 2] - about, second = x[i * 2 + 1] - about;
    float difference = warp_sum(first + second) / TILE_OUTPUTS;
    around[i] = fmaxf(warp_sum(first * first + second * second) - TILE_OUTPUTS * difference * difference, 0);
    mean[i] = about + difference;
  }
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    if (lane() == i && row + i * 8 < path.rows)
      hand_over(moments + i * 8 * (path.width / TILE_OUTPUTS), uint2{__float_as_uint(mean[i]), __float_as_uint(around[i])});
  }
}

__device__ __forceinline__ float gelu(float x) {
  return __fdividef(x, 1.0f + __expf(-1.5957691216f * (x + 0.044715f * x * x * x)));
}

// How sums of two outputs of each of the lane's rows end: what is added, what they are multiplied with after, and where
// they go.
template <int NUMBERS>
struct Ending {
  float2 bias, gates[NUMBERS / 2];
  unsigned char* to;
  float2* moments;

  __device__ __forceinline__ void prepare(const Path& path, const Place& place, const Block& block, const Layer& layer,
                                          const Exchange& exchange, int row, int tile) {
    int output = tile * TILE_OUTPUTS + lane() * 2;
    bias = __ldg(reinterpret_cast<const float2*>(block.biases[layer.kind] + output));
    if (layer.adds()) {
      Stream stream = exchange.stream(layer.kind == FC2);
      to = reinterpret_cast<unsigned char*>(stream.values + row * path.width + output);
      moments = stream.moments + row * (path.width / TILE_OUTPUTS) + tile;
      const float* from = block.modulations + (layer.kind == PROJ ? 0 : path.width) + output;
#pragma unroll
      for (int i = 0; i < NUMBERS / 2; i++) {
        size_t slot = place.slot(min(row + i * 8, path.rows - 1));
        gates[i] = __ldg(reinterpret_cast<const float2*>(from + slot * 6 * path.width));
      }
    } else if (layer.is_head) {
      to = reinterpret_cast<unsigned char*>(path.logits + row * path.vocabulary + output);
    } else {
      bf16* rows = layer.kind == QKV ? exchange.qkv() : exchange.hidden();
      to = reinterpret_cast<unsigned char*>(rows + row * layer.outputs(path) + output);
    }
  }

  // `residual` is where this block has the numbers in the residual stream.
  __device__ __forceinline__ void finish(const Path& path, const Layer& layer, int row, float (&x)[NUMBERS], uint32_t residual) {
#pragma unroll
    for (int i = 0; i < NUMBERS; i++) x[i] += i % 2 ? bias.y : bias.x;
    if (layer.adds()) {
      float y[NUMBERS];
      load_shared(y, residual);
#pragma unroll
      for (int i = 0; i < NUMBERS; i++) y[i] += (i % 2 ? gates[i / 2].y : gates[i / 2].x) * x[i];
      store_shared(residual, y);
      hand_over_residual(path, reinterpret_cast<float*>(to), moments, row, y);
      return;
    }
#pragma unroll
    for (int i = 0; i < NUMBERS / 2; i++) {
      if (row + i * 8 >= path.rows) break;
      float first = x[i * 2], second = x[i * 2 + 1];
      if (layer.is_head) {
        reinterpret_cast<float2*>(to)[i * 4 * path.vocabulary] = {first, second};
      } else {
        if (layer.kind == FC1) first = gelu(first), second = gelu(second);
        hand_over(to + i * 16 * layer.outputs(path), pack(first, second));
      }
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
    int end = min(row + path.queries, path.rows);
    // Either queries of whole sequences or of a lone one.
    bool whole = path.queries % path.per_sequence == 0;
    float factor = normalized ? __ldg(block.factors + first_head + head) : path.scale;
    attend<TILES <= 2>(exchange.qkv() + (first_head + head) * HEAD_WIDTH, 3 * path.width, path.width, row, end, whole ? row : 0,
           whole ? end : path.rows, [&](int row) { return place.sequence(row); }, factor, normalized, [&](int row, int column, uint4 x) {
             column += (first_head + head) * HEAD_WIDTH - first;
             if (column >= 0 && column < slice) store_shared(place.copied + place.place(row, column), x);
           });
  }
}

// All layers, one after the other by the same instructions: they are many, and what is in their cache need not be waited
// for.
template <int TILES>
__device__ __forceinline__ void run(const Path& path, const Place& place, WeightStream& weights) {
  using Own = RowTiles<TILES>;
  // As many rows of a warp at once as registers hold.
  constexpr int AT_ONCE = TILES, PARTS = TILES < 4 ? 4 : 2;
  Turn turn;
  // A warp ends a tile of some sixteen rows; the last warps begin, since the first wait for rows meanwhile.
  struct Task {
    int tile, sixteen;
  };
  auto task = [&](int index) { return place.ended == 2 ? Task{index / 2, index % 2} : Task{index, 0}; };
  auto row = [&](Task task) { return task.sixteen * 16 + place.rank; };
  auto residual = [&](Task task) {
    return place.own + ((task.tile * Own::SIXTEENS + task.sixteen) * 32 + lane()) * Own::NUMBERS * (uint32_t)sizeof(float);
  };

  // As if a block had made the input.
  {
    Layer back(path, place, 0, PROJ);
#pragma unroll 1
    for (int index = warp(); index < (back.end - back.first) * place.ended; index += WARPS) {
      Task own = task(index);
      const float* from = path.residual + row(own) * path.width + (back.first + own.tile) * TILE_OUTPUTS + lane() * 2;
      float x[Own::NUMBERS];
#pragma unroll
      for (int i = 0; i < Own::LANE_ROWS; i++) {
        float2 two = row(own) + i * 8 < path.rows ? *reinterpret_cast<const float2*>(from + i * 8 * path.width) : float2{};
        x[i * 2] = two.x, x[i * 2 + 1] = two.y;
      }
      store_shared(residual(own), x);
      Stream to = Exchange(path, 1).stream(true);
      int tile = back.first + own.tile;
      hand_over_residual(path, to.values + row(own) * path.width + tile * TILE_OUTPUTS + lane() * 2,
                         to.moments + row(own) * (path.width / TILE_OUTPUTS) + tile, row(own), x);
    }
    meet_helped();
  }

#pragma unroll 1
  for (int step = 0; step <= path.count * KINDS; step++) {
    int index = step / KINDS;
    const Block& block = path.blocks[index];
    Layer layer(path, place, index, step % KINDS);
    Exchange own(path, index % 2);
    uint32_t rows = layer.adds() ? place.copied : place.normalized;
#pragma unroll 1
    for (int round = layer.first; round < layer.end; round += path.receivers) {
      int end = min(round + path.receivers, layer.end), tasks = (end - round) * place.ended;
      // What does not depend on the rows comes before waiting for them: room for sums, and what ends them.
      if (lane() < end - round) {
        Turn next = after(turn, lane(), path.receivers);
        wait_at(place.free + next.slot * 8, next.parity ^ 1);
      }
      __syncwarp();
      Ending<Own::NUMBERS> ending;
      int number = WARPS - 1 - warp();
      if (number < tasks)
        ending.prepare(path, place, block, layer, own, row(task(number)), round + task(number).tile);
      if (round > layer.first) {
        // Sums of the last round have been received by all.
        meet();
      } else if (!layer.adds()) {
        bool first = layer.kind == QKV;
        normalize<AT_ONCE>(path, place, Exchange(path, (index + first) % 2).stream(first));
        meet();
        if (!layer.is_head) let_help();
      } else {
        if (layer.kind == PROJ) {
          attend<TILES>(path, place, block, own);
        } else {
          copy_rows<AT_ONCE, PARTS>(path, place, own.hidden() + place.rank * layer.slice, 4 * path.width, layer.slice);
        }
        meet_helped();
      }
#pragma unroll 1
      for (int tile = round; tile < end; tile += MOST_TOGETHER) {
        int together = min(MOST_TOGETHER, end - tile), steps = layer.slice / 16;
        float sums[4][Own::SIXTEENS][4] = {};
        if (together == 1) {
          multiply<TILES, 1>(sums, place, weights, rows, steps, together);
        } else if (together == 2) {
          multiply<TILES, 2>(sums, place, weights, rows, steps, together);
        } else {
          multiply<TILES, 4>(sums, place, weights, rows, steps, together);
        }
        send<TILES>(path, place, sums, after(turn, tile - round, path.receivers), together);
      }
      if (threadIdx.x < end - round && place.ended > 0)
        arrive_expecting(place.complete + after(turn, threadIdx.x, path.receivers).slot * 8,
                         place.ended * CLUSTER * Own::PART);
#pragma unroll 1
      for (; number < tasks; number += WARPS) {
        Task now = task(number);
        int tile = round + now.tile;
        if (number >= WARPS) ending.prepare(path, place, block, layer, own, row(now), tile);
        Turn from = after(turn, now.tile, path.receivers);
        wait_at(place.complete + from.slot * 8, from.parity);
        uint32_t at = place.received + from.slot * Own::PARTS + now.sixteen * Own::PART + lane() * Own::NUMBERS * sizeof(float);
        float parts[CLUSTER][Own::NUMBERS];
#pragma unroll
        for (int i = 0; i < CLUSTER; i++) load_shared(parts[i], at + i * Own::SIXTEENS * Own::PART);
#pragma unroll
        for (int i = 1; i < CLUSTER; i++) {
#pragma unroll
          for (int j = 0; j < Own::NUMBERS; j++) parts[0][j] += parts[i][j];
        }
        ending.finish(path, layer, row(now), parts[0], residual({tile - layer.first, now.sixteen}));
        // The parts are added up: there is room for others.
        __syncwarp();
        if (lane() < CLUSTER) arrive_at_block(place.free + from.slot * 8, lane());
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
      for (int tile = round; tile < end; tile += MOST_TOGETHER) {
#pragma unroll 1
        for (int column = 0; column < layer.slice; column += CHUNK) {
#pragma unroll 1
          for (int own = tile; own < min(tile + MOST_TOGETHER, end); own++)
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
  using Own = RowTiles<TILES>;
  Place place;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(place.rank));
  place.cluster = blockIdx.x / CLUSTER;
  int slice = path.width / CLUSTER;
  place.padded = TILES * 8;
  place.ended = (place.rank < path.rows) + (place.rank + 16 < path.rows);
  place.normalized = memory + path.ring * SLOT_BYTES;
  place.copied = place.normalized + (slice + CHUNK - 1) / CHUNK * place.padded * 128;
  place.received = place.copied + slice * 4 / CHUNK * place.padded * 128;
  place.own = place.received + path.receivers * Own::PARTS;
  int most = path.shares[PROJ][place.cluster + 1] - path.shares[PROJ][place.cluster];
  place.modulations = place.own + most * Own::SIXTEENS * Own::PART;
  // It is kept in a register: to make it anew takes longer.
  asm volatile("" : "+r"(barriers));
  place.complete = barriers;
  place.free = barriers + MOST_RECEIVERS * 8;
  asm volatile("" : "+r"(table));
  place.table = table;
  return place;
}

#endif

template <int TILES>
__device__ __forceinline__ void run_path(const Path& path) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ __align__(1024) unsigned char memory[];
  __shared__ uint64_t ring_barriers[2 * MOST_SLOTS], sum_barriers[2 * MOST_RECEIVERS];
  __shared__ RowTable table;
  uint32_t start = shared_address(memory);
  Place place = find_place<TILES>(path, start, shared_address(sum_barriers), shared_address(&table));
  WeightStream weights(start, ring_barriers, path.ring);
  if (threadIdx.x < path.rows) {
    table.sequences[threadIdx.x] = threadIdx.x / path.per_sequence;
    table.slots[threadIdx.x] = path.slots[threadIdx.x / path.per_sequence];
  }
  if (threadIdx.x == 0) {
    weights.start(WARPS);
    for (int i = 0; i < path.receivers; i++) {
      start_barrier(place.complete + i * 8, 1);
      start_barrier(place.free + i * 8, min(path.rows, 8) + max(min(path.rows - 16, 8), 0));
    }
    show_barriers();
  }
  arrive_in_cluster();
  wait_for_cluster();
  __syncthreads();
  if (threadIdx.x < THREADS) {
    run<TILES>(path, place, weights);
  } else if (threadIdx.x == THREADS) {
    stream(path, place, weights);
  } else if (threadIdx.x >= THREADS + 32) {
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
