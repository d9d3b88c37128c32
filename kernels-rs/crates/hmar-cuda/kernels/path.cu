// All blocks of a path and its head (3) for few rows, in one kernel. The time is that of streaming the weights, so they
// stream without a break, while what the layers hand to one another goes from block to block without barriers.
//
// A cluster makes tiles of 64 outputs for all rows. Each of its eight blocks sums an eighth of the depth, so that it needs
// an eighth of the rows' numbers, and ends some of the rows: it gets all eight parts of their sums from shared memory to
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
  int piece;            // chunks of copied rows that are in shared memory at the same time
  Shares shares[KINDS + 1];    // by kind, then of the head
};

static_assert(sizeof(Path) == (MOST_BLOCKS + 1) * 576 + 448, "it is what the host makes of it");

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

constexpr int CLUSTER = 8;
constexpr int WARPS = 8;
constexpr int THREADS = WARPS * 32;
// Two more warps ask for weights, and make memory unwritten again.
static_assert(ALL_THREADS == THREADS + 64);
constexpr int MOST_SLOTS = 24;
constexpr int MOST_RECEIVERS = 8;
constexpr int MOST_ROWS = 128;

// Barriers of the block's threads. The eight warps that multiply meet at the first.
__device__ __forceinline__ void meet() { asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory"); }
// The warp that cleans waits at the second and arrives at the third.
constexpr int WITH_CLEANER = THREADS + 32;
__device__ __forceinline__ void let_clean() { asm volatile("bar.arrive 2, %0;" ::"n"(WITH_CLEANER) : "memory"); }
__device__ __forceinline__ void wait_to_clean() { asm volatile("bar.sync 2, %0;" ::"n"(WITH_CLEANER) : "memory"); }
__device__ __forceinline__ void let_meet() { asm volatile("bar.arrive 3, %0;" ::"n"(WITH_CLEANER) : "memory"); }
__device__ __forceinline__ void meet_cleaned() { asm volatile("bar.sync 3, %0;" ::"n"(WITH_CLEANER) : "memory"); }

// The residual stream between two layers, and mean and sum of squared differences from it of every 64 numbers of a row.
struct Stream {
  float* values;    // [rows, C]
  float2* moments;  // [rows, C / 64]
};

// What the layers of a transformer block hand over. Blocks take turns with two.
struct Exchange {
  unsigned char* start;
  size_t length;  // of the residual stream

  static __device__ __forceinline__ size_t bytes(const Path& path) {
    return (size_t)path.rows * (path.width * 24 + path.width / TILE_OUTPUTS * 16);
  }

  __device__ __forceinline__ Exchange(const Path& path, int turn)
      : start(path.exchange + turn * bytes(path)), length((size_t)path.rows * path.width) {}

  // The residual stream after attention or, at the end, after the feed-forward.
  __device__ __forceinline__ Stream stream(bool end) const {
    size_t first = end ? length : 0;
    return {reinterpret_cast<float*>(start) + first,
            reinterpret_cast<float2*>(start + length * 24) + first / TILE_OUTPUTS};
  }

  // [rows, 3C], [rows, C], [rows, 4C]
  __device__ __forceinline__ bf16* qkv() const { return reinterpret_cast<bf16*>(start + length * 8); }
  __device__ __forceinline__ bf16* attended() const { return reinterpret_cast<bf16*>(start + length * 14); }
  __device__ __forceinline__ bf16* hidden() const { return reinterpret_cast<bf16*>(start + length * 16); }
};

// Shared memory by its address.
__device__ __forceinline__ float4 load_shared(uint32_t from) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w) : "r"(from) : "memory");
  return x;
}

__device__ __forceinline__ void store_shared(uint32_t to, float4 x) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, uint4 x) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, uint2 x) {
  asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(to), "r"(x.x), "r"(x.y) : "memory");
}

__device__ __forceinline__ int warp() { return thread_anew() / 32; }
__device__ __forceinline__ int lane() { return thread_anew() % 32; }

// What a block knows of its rows, in shared memory.
struct RowTable {
  uint8_t sequences[MOST_ROWS];
  uint32_t slots[MOST_ROWS];
};

// A block's place, and where what lies in shared memory.
struct Place {
  int rank, cluster;
  int padded;  // rows in shared memory
  int pairs;   // of 16 rows: each block of the cluster ends two of them
  int ended;   // of those in which there are rows for this block
  uint32_t normalized, copied, received, complete, free;  // rows of a slice; sums, and their barriers
  uint32_t own;          // the residual stream where this block ends it
  uint32_t modulations;  // [sequences, 2, C / 8]
  const RowTable* table;

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
#pragma unroll 1
  for (int first = warp(); first < path.rows; first += WARPS * AT_ONCE) {
    uint4 values[AT_ONCE][2];
    uint2 moments[AT_ONCE];
    bool missing;
    do {
      missing = false;
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        size_t row = min(first + i * WARPS, path.rows - 1);
        const float* own = values_at + row * path.width;
        moments[i] = look_at_two(from.moments + row * tiles + min(lane, tiles - 1));
        values[i][0] = look_at_four(own + min(lane, units - 1) * 4);
        if (units > 32) values[i][1] = look_at_four(own + min(lane + 32, units - 1) * 4);
      }
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        missing |= is_missing(moments[i]) || is_missing(values[i][0]);
        if (units > 32) missing |= is_missing(values[i][1]);
      }
    } while (missing);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      int row = first + i * WARPS;
      if (row >= path.rows) break;
      float mean = __uint_as_float(moments[i].x), squares = __uint_as_float(moments[i].y);
      // Sums of differences from one tile's mean, which is about that of all.
      float about = __shfl_sync(0xffffffffu, mean, 0), difference = lane < tiles ? mean - about : 0;
      squares = lane < tiles ? squares + TILE_OUTPUTS * difference * difference : 0;
      difference = warp_sum(difference) / tiles;
      squares = warp_sum(squares) / path.width - difference * difference;
      mean = about + difference;
      float factor = rsqrtf(fmaxf(squares, 0) + 1e-6f);
      uint32_t scales = place.modulations + place.table->sequences[row] * 2 * slice * sizeof(float);
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int unit = lane + half * 32;
        if (unit >= units) break;
        float4 s = load_shared(scales + unit * 16), b = load_shared(scales + slice * 4 + unit * 16);
        uint4 x = values[i][half];
        auto normalized = [&](uint32_t x, float s, float b) {
          return (__uint_as_float(x) - mean) * factor * (1 + s) + b;
        };
        uint2 four = {pack(normalized(x.x, s.x, b.x), normalized(x.y, s.y, b.y)),
                      pack(normalized(x.z, s.z, b.z), normalized(x.w, s.w, b.w))};
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
      bool missing;
      do {
        missing = false;
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
          const bf16* row = from + (size_t)min(first + i * WARPS, path.rows - 1) * stride;
#pragma unroll
          for (int j = 0; j < PARTS; j++) values[i][j] = look_at_four(row + min(begin + j * 32, units - 1) * 8);
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE * PARTS; i++) missing |= is_missing(values[i / PARTS][i % PARTS]);
      } while (missing);
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

// Starts copying this block's columns of scale and shift of every sequence.
__device__ __forceinline__ void fetch_modulations(const Path& path, const Place& place, const float* table, int vectors,
                                                  int scale, int shift) {
  int slice = path.width / CLUSTER, sequence = warp() / 2;
#pragma unroll 1
  for (int first = sequence * path.per_sequence; first < path.rows; first += WARPS / 2 * path.per_sequence) {
    const float* from = table + ((size_t)place.table->slots[first] * vectors + (warp() % 2 ? shift : scale)) * path.width;
    uint32_t to = place.modulations + (sequence * 2 + warp() % 2) * slice * sizeof(float);
#pragma unroll 1
    for (int column = lane() * 4; column < slice; column += 32 * 4)
      copy_to_address(to + column * 4, from + place.rank * slice + column);
    sequence += WARPS / 2;
  }
  commit_copies();
}

__device__ __forceinline__ void load_tiles_at(uint32_t (&tiles)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(address)
               : "memory");
}

// A lane's parts of the operands' addresses.
struct Operands {
  uint32_t weights, rows;  // within a slot, within a chunk of rows
  uint32_t weight_mix, row_mix;

  template <int TILES>
  static __device__ __forceinline__ Operands of_lane() {
    int lane = ::lane(), output = warp() % 4 * 16 + lane % 16, row = TILES == 1 ? lane % 8 : lane / 16 * 8 + lane % 8;
    return {output * 128u, row * 128u, lane / 16u ^ output % 8u, (TILES == 1 ? lane / 8u : lane / 8u % 2) ^ row % 8u};
  }

  __device__ __forceinline__ uint32_t weight(int step) const { return weights + ((step * 2 ^ weight_mix) << 4); }
  __device__ __forceinline__ uint32_t row(int step) const { return rows + ((step * 2 ^ row_mix) << 4); }
};

// Adds products 16 deep: 16 outputs of the warp by all rows.
template <int TILES>
__device__ __forceinline__ void add_step(float (&sums)[TILES][4], const Operands& own, uint32_t weights, uint32_t rows,
                                         int step) {
  uint32_t weight[4], row[(TILES + 1) / 2][4];
  load_tiles_at(weight, weights + own.weight(step));
#pragma unroll
  for (int tile = 0; tile < TILES; tile += 2) load_tiles_at(row[tile / 2], rows + own.row(step) + tile * 8 * 128);
#pragma unroll
  for (int tile = 0; tile < TILES; tile++)
    multiply_tile(sums[tile], weight, row[tile / 2][tile % 2 * 2], row[tile / 2][tile % 2 * 2 + 1]);
}

// Adds products of a chunk's `steps` times 16 numbers.
template <int TILES>
__device__ __forceinline__ void add_chunk(float (&sums)[TILES][4], float (&others)[4], const Operands& own,
                                          uint32_t weights, uint32_t rows, int steps) {
  if constexpr (TILES == 1) {
    // Two steps' rows come together, and two sums do not wait for one another. What is beyond the depth is not added.
    uint32_t weight[4][4], row[2][4];
#pragma unroll
    for (int step = 0; step < 4; step++) load_tiles_at(weight[step], weights + own.weight(step));
#pragma unroll
    for (int step = 0; step < 4; step += 2) load_tiles_at(row[step / 2], rows + own.row(step));
#pragma unroll
    for (int step = 0; step < 4; step++) {
      bool there = step < steps;
      multiply_tile(step % 2 ? others : sums[0], weight[step], there ? row[step / 2][step % 2 * 2] : 0,
                    there ? row[step / 2][step % 2 * 2 + 1] : 0);
    }
  } else if (steps == CHUNK / 16) {
#pragma unroll
    for (int step = 0; step < CHUNK / 16; step++) add_step<TILES>(sums, own, weights, rows, step);
  } else {
#pragma unroll 1
    for (int step = 0; step < steps; step++) add_step<TILES>(sums, own, weights, rows, step);
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
  wait_at(place.free + turn.slot * 8, turn.parity ^ 1);
  int lane = ::lane();
  uint32_t to = place.received + (turn.slot * CLUSTER + place.rank) * place.pairs * 512 +
                (warp() % 4 * 8 + lane / 4) * 16;
#pragma unroll
  for (int tile = 0; tile < TILES; tile++) {
    if (tile * 8 >= path.rows) break;
    int rank = tile % 2 * 4 + lane % 4;
    store_at_block(address_at_block(to + tile / 2 * 512, rank),
                   {sums[tile][0], sums[tile][1], sums[tile][2], sums[tile][3]},
                   address_at_block(place.complete + turn.slot * 8, rank));
  }
}

// A layer: which of its tiles this cluster makes, how deep this block's part of the sums is, in chunks of 64 of which the
// last may be less, and how many of them of the rows are in shared memory at a time.
struct Layer {
  int kind;
  bool is_head;
  int slice, first, end;
  int chunks, last_steps, piece;

  __device__ __forceinline__ Layer(const Path& path, const Place& place, int block, int kind)
      : kind(kind), is_head(block == path.count), slice(path.width / CLUSTER * (kind == FC2 ? 4 : 1)) {
    const Shares& shares = path.shares[is_head ? KINDS : kind];
    first = shares[place.cluster];
    end = shares[place.cluster + 1];
    chunks = (slice + CHUNK - 1) / CHUNK;
    last_steps = (slice - (chunks - 1) * CHUNK) / 16;
    piece = copies() ? min(chunks, path.piece) : chunks;
  }

  // Whether its rows are copied as they are, not normalised.
  __device__ __forceinline__ bool copies() const { return kind % 2 == 1; }
  __device__ __forceinline__ int steps(int chunk) const { return chunk + 1 == chunks ? last_steps : CHUNK / 16; }
};

// Hands results of two outputs of two rows over, neighbouring outputs together.
__device__ __forceinline__ void hand_over_rounded(const Path& path, bf16* to, int stride, int row, int output, float4 x) {
  int odd = output % 2;
  float low = __shfl_xor_sync(0xffffffffu, odd ? x.x : x.y, 1), high = __shfl_xor_sync(0xffffffffu, odd ? x.z : x.w, 1);
  row += odd;
  if (row >= path.rows) return;
  bf16* own = to + (size_t)row * stride + output - odd;
  hand_over(own, odd ? pack(low, x.y) : pack(x.x, low));
  hand_over(own + 8, odd ? pack(high, x.w) : pack(x.z, high));
}

// Hands numbers of the residual stream over, and with them the moments of a tile's: the warp holds all of it.
__device__ __forceinline__ void hand_over_residual(const Path& path, const Stream& to, int row, int output, float4 x) {
  int tile = output / TILE_OUTPUTS, tiles = path.width / TILE_OUTPUTS, lane = ::lane();
  float* own = to.values + (size_t)row * path.width + output;
  if (row < path.rows) {
    hand_over(own, x.x);
    hand_over(own + 8, x.z);
  }
  if (row + 1 < path.rows) {
    hand_over(own + path.width, x.y);
    hand_over(own + path.width + 8, x.w);
  }
  // Sums of differences from one of the numbers.
  float about[2] = {__shfl_sync(0xffffffffu, x.x, 0), __shfl_sync(0xffffffffu, x.y, 0)};
  float first[2] = {x.x - about[0], x.y - about[1]}, second[2] = {x.z - about[0], x.w - about[1]};
  float sums[2], squares[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    sums[i] = warp_sum(first[i] + second[i]) / TILE_OUTPUTS;
    squares[i] = warp_sum(first[i] * first[i] + second[i] * second[i]) - TILE_OUTPUTS * sums[i] * sums[i];
  }
  if (lane < 2 && row + lane < path.rows) {
    float mean = lane == 0 ? about[0] + sums[0] : about[1] + sums[1];
    float around = fmaxf(lane == 0 ? squares[0] : squares[1], 0);
    hand_over(to.moments + (size_t)(row + lane) * tiles + tile, uint2{__float_as_uint(mean), __float_as_uint(around)});
  }
}

__device__ __forceinline__ float gelu(float x) {
  return __fdividef(x, 1.0f + __expf(-1.5957691216f * (x + 0.044715f * x * x * x)));
}

// What is added to sums of two outputs of two rows, and what they are multiplied with after.
struct Ending {
  float bias[2], gates[4];
};

__device__ __forceinline__ Ending prepare(const Path& path, const Place& place, const Block& block, const Layer& layer,
                                          int row, int output) {
  Ending ending;
  const float* bias = block.biases[layer.kind] + output;
  ending.bias[0] = __ldg(bias);
  ending.bias[1] = __ldg(bias + 8);
  if (layer.copies()) {
    const float* gates = block.modulations + (layer.kind == PROJ ? 0 : path.width) + output;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const float* own = gates + (size_t)place.table->slots[min(row + i, path.rows - 1)] * 6 * path.width;
      ending.gates[i] = __ldg(own);
      ending.gates[i + 2] = __ldg(own + 8);
    }
  }
  return ending;
}

// Ends sums of two outputs of two rows. `residual` is where this block has them in the residual stream.
__device__ __forceinline__ void finish(const Path& path, const Layer& layer, const Exchange& to, int row, int output,
                                       const Ending& ending, float4 x, uint32_t residual) {
  x = {x.x + ending.bias[0], x.y + ending.bias[0], x.z + ending.bias[1], x.w + ending.bias[1]};
  if (layer.copies()) {
    const float(&gates)[4] = ending.gates;
    float4 y = load_shared(residual);
    y = {y.x + gates[0] * x.x, y.y + gates[1] * x.y, y.z + gates[2] * x.z, y.w + gates[3] * x.w};
    store_shared(residual, y);
    hand_over_residual(path, to.stream(layer.kind == FC2), row, output, y);
  } else if (layer.is_head) {
    float* own = path.logits + (size_t)row * path.vocabulary + output;
    if (row < path.rows) own[0] = x.x, own[8] = x.z;
    own += path.vocabulary;
    if (row + 1 < path.rows) own[0] = x.y, own[8] = x.w;
  } else {
    if (layer.kind == FC1) x = {gelu(x.x), gelu(x.y), gelu(x.z), gelu(x.w)};
    int stride = (layer.kind == QKV ? 3 : 4) * path.width;
    hand_over_rounded(path, layer.kind == QKV ? to.qkv() : to.hidden(), stride, row, output, x);
  }
}

// Starts fetching what normalises the rows of the layer after this one but one.
__device__ __forceinline__ void fetch_next_modulations(const Path& path, const Place& place, int block, int kind) {
  int next = kind == QKV ? block : block + 1;
  bool of_head = next == path.count;
  fetch_modulations(path, place, path.blocks[next].modulations, of_head ? 2 : 6, of_head ? 0 : kind == QKV ? 3 : 2,
                    of_head ? 1 : kind == QKV ? 5 : 4);
}

// Attention of the block's tasks.
template <int TILES>
__device__ __forceinline__ void attend(const Path& path, const Block& block, const Exchange& exchange) {
  int width = path.width, heads = width / HEAD_WIDTH, parts = (path.per_sequence + QUERIES - 1) / QUERIES;
  int tasks = path.rows / path.per_sequence * heads * parts;
  bool normalized = block.factors != nullptr;
#pragma unroll 1
  for (int task = blockIdx.x + gridDim.x * warp(); task < tasks; task += gridDim.x * WARPS) {
    int part = task % parts, head = task / parts % heads, sequence = task / parts / heads;
    size_t first = (size_t)sequence * path.per_sequence;
    attend<TILES <= 2>(exchange.qkv() + first * 3 * width + head * HEAD_WIDTH, 3 * width, width, path.per_sequence,
                       part * QUERIES, normalized ? __ldg(block.factors + head) : path.scale, normalized,
                       exchange.attended() + first * width + head * HEAD_WIDTH);
  }
}

// All layers, one after the other by the same instructions: they are many, and what is in their cache need not be waited
// for.
template <int TILES>
__device__ __forceinline__ void run(const Path& path, const Place& place, WeightStream& weights) {
  // As many rows of a warp at once as registers hold; other GPUs' instructions need some more of them.
  constexpr int AT_ONCE = TILES < 4 ? TILES : __CUDA_ARCH__ >= 1000 ? 2 : 4, PARTS = TILES < 4 ? 4 : 2;
  Turn turn;
  auto residual = [&](int tile, int pair) { return place.own + ((tile * place.pairs + pair) * 32 + lane()) * 16; };

  // As if a block had made the input.
  {
    Layer back(path, place, 0, PROJ);
    int tile = 0, pair = warp();
#pragma unroll 1
    for (;; pair += WARPS) {
      while (pair >= place.ended && tile < back.end - back.first) pair -= place.ended, tile++;
      if (tile >= back.end - back.first) break;
      int row = place.row(pair), output = (back.first + tile) * TILE_OUTPUTS + lane() / 8 * 16 + lane() % 8;
      const float* own = path.residual + (size_t)row * path.width + output;
      float4 x = {};
      if (row < path.rows) x.x = own[0], x.z = own[8];
      if (row + 1 < path.rows) x.y = own[path.width], x.w = own[path.width + 8];
      store_shared(residual(tile, pair), x);
      hand_over_residual(path, Exchange(path, 1).stream(true), row, output, x);
    }
    fetch_next_modulations(path, place, -1, FC1);
    wait_for_copies<0>();
    meet();
  }

#pragma unroll 1
  for (int step = 0; step <= path.count * KINDS; step++) {
    int index = step / KINDS;
    const Block& block = path.blocks[index];
    Layer layer(path, place, index, step % KINDS);
    Exchange own(path, index % 2);
    auto copy = [&](int chunk) {
      const bf16* from = layer.kind == PROJ ? own.attended() : own.hidden();
      copy_rows<AT_ONCE, PARTS>(path, place, from + place.rank * layer.slice + chunk * CHUNK,
                       (layer.kind == PROJ ? 1 : 4) * path.width, min(layer.piece * CHUNK, layer.slice - chunk * CHUNK));
    };
    if (!layer.copies()) {
      bool first = layer.kind == QKV;
      normalize<AT_ONCE>(path, place, Exchange(path, (index + first) % 2).stream(first));
    } else {
      if (layer.kind == PROJ) attend<TILES>(path, block, own);
      copy(0);
      wait_for_copies<0>();
    }
    layer.kind == FC2 ? meet_cleaned() : meet();
    if (layer.kind == FC1) let_clean();

    uint32_t rows = layer.copies() ? place.copied : place.normalized;
#pragma unroll 1
    for (int round = layer.first; round < layer.end; round += path.receivers) {
      int end = min(round + path.receivers, layer.end);
      // Sums of the last round have been received by all.
      if (round > layer.first) meet();
      if (threadIdx.x < end - round && place.ended > 0)
        arrive_expecting(place.complete + after(turn, threadIdx.x, path.receivers).slot * 8, place.ended * CLUSTER * 512);
#pragma unroll 1
      for (int tile = round; tile < end; tile += 2) {
        int together = min(2, end - tile), group = warp() / 4, in_piece = 0;
        float sums[TILES][4] = {}, others[4] = {};
        Operands operands = Operands::of_lane<TILES>();
#pragma unroll 1
        for (int chunk = 0; chunk < layer.chunks; chunk++, in_piece++) {
          if (in_piece == layer.piece) in_piece = 0;
          uint32_t own_rows = rows + in_piece * place.padded * 128;
          if (group < together) {
            uint32_t slot = weights.wait(group);
            add_chunk<TILES>(sums, others, operands, slot, own_rows, layer.steps(chunk));
            __syncwarp();
            if (lane() == 0) weights.release(group);
          }
          weights.advance(together);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) sums[0][i] += others[i];
        if (group < together) send<TILES>(path, place, sums, after(turn, tile - round + group, path.receivers));
      }
      if (round == layer.first && !layer.copies() && !layer.is_head)
        fetch_next_modulations(path, place, index, layer.kind);
      int local = 0, pair = warp();
#pragma unroll 1
      for (;; pair += WARPS) {
        while (pair >= place.ended && local < end - round) pair -= place.ended, local++;
        if (local >= end - round) break;
        int tile = round + local, row = place.row(pair), output = tile * TILE_OUTPUTS + lane() / 8 * 16 + lane() % 8;
        Turn from = after(turn, local, path.receivers);
        Ending ending = prepare(path, place, block, layer, row, output);
        wait_at(place.complete + from.slot * 8, from.parity);
        uint32_t parts = place.received + ((from.slot * CLUSTER * place.pairs + pair) * 32 + lane()) * 16;
        float4 sum = load_shared(parts);
#pragma unroll
        for (int i = 1; i < CLUSTER; i++) {
          float4 part = load_shared(parts + i * place.pairs * 512);
          sum = {sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w};
        }
        __syncwarp();
        if (lane() < CLUSTER) release_to_block(place.free + from.slot * 8, lane());
        finish(path, layer, own, row, output, ending, sum, residual(tile - layer.first, pair));
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
      for (int tile = round; tile < end; tile += 2) {
#pragma unroll 1
        for (int chunk = 0; chunk < layer.chunks; chunk++) {
#pragma unroll 1
          for (int own = tile; own < min(tile + 2, end); own++)
            weights.request(block.weights[layer.kind], place.rank * layer.slice + chunk * CHUNK, own * TILE_OUTPUTS, policy);
        }
      }
    }
  }
}

// Makes what the last block's layers handed over unwritten again, once nobody looks at it any more: all have taken part in
// this block's first product. It is done before anyone can hand something over for the block after this one.
__device__ __forceinline__ void clean(const Path& path) {
  size_t fours = Exchange::bytes(path) / sizeof(uint4);
#pragma unroll 1
  for (int i = 0; i < path.count; i++) {
    wait_to_clean();
    uint4* at = reinterpret_cast<uint4*>(path.exchange) + (i + 1) % 2 * fours;
    for (size_t four = blockIdx.x * 32 + threadIdx.x % 32; four < fours; four += gridDim.x * 32)
      hand_over(at + four, uint4{UNWRITTEN, UNWRITTEN, UNWRITTEN, UNWRITTEN});
    asm volatile("fence.acq_rel.gpu;" ::: "memory");
    let_meet();
  }
}

template <int TILES>
__device__ __forceinline__ Place find_place(const Path& path, uint32_t memory, uint32_t barriers, const RowTable& table) {
  Place place;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(place.rank));
  place.cluster = blockIdx.x / CLUSTER;
  int tiles = (path.rows + 7) / 8, slice = path.width / CLUSTER;
  place.pairs = (tiles + 1) / 2;
  place.padded = TILES == 1 ? 8 : place.pairs * 16;
  place.ended = (tiles - place.rank / 4 + 1) / 2;
  place.normalized = memory + path.ring * SLOT_BYTES;
  place.copied = place.normalized + (slice + CHUNK - 1) / CHUNK * place.padded * 128;
  place.received = place.copied + path.piece * place.padded * 128;
  place.own = place.received + path.receivers * CLUSTER * place.pairs * 512;
  int most = path.shares[PROJ][place.cluster + 1] - path.shares[PROJ][place.cluster];
  place.modulations = place.own + most * place.pairs * 512;
  place.complete = barriers;
  place.free = barriers + MOST_RECEIVERS * 8;
  place.table = &table;
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
  Place place = find_place<TILES>(path, start, shared_address(sum_barriers), table);
  WeightStream weights(start, ring_barriers, path.ring);
  if (threadIdx.x < path.rows) {
    table.sequences[threadIdx.x] = threadIdx.x / path.per_sequence;
    table.slots[threadIdx.x] = path.slots[threadIdx.x / path.per_sequence];
  }
  if (threadIdx.x == 0) {
    weights.start(WARPS / 2);
    for (int i = 0; i < path.receivers; i++) {
      start_barrier(place.complete + i * 8, 1);
      start_barrier(place.free + i * 8, 4 * ((path.rows + 7) / 8));
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
    clean(path);
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
