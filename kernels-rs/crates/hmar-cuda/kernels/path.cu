// All blocks of a path and its head (3) for few rows, in one kernel. The time is that of streaming the weights, so they
// stream without a break, while what the layers hand to one another goes from block to block without barriers.
//
// A cluster makes tiles of 64 outputs for all rows. Each of its eight blocks sums an eighth of the depth, so that it needs
// an eighth of the rows' numbers, and ends some of the rows: it gets all eight parts of their sums from shared memory to
// shared memory, adds them in order, and hands the results over (`awaited.cuh`) to whoever needs them.
#include "path_attention.cuh"
#include "weight_stream.cuh"

constexpr int CLUSTER = 8;
constexpr int WARPS = 8;
constexpr int THREADS = WARPS * 32;
// Two more warps ask for weights, and make memory unwritten again.
constexpr int ALL_THREADS = THREADS + 64;
constexpr int MOST_BLOCKS = 36;
constexpr int MOST_CLUSTERS = 32;
constexpr int MOST_SLOTS = 24;
constexpr int MOST_RECEIVERS = 8;
constexpr int MOST_ROWS = 128;

struct Block {
  TensorMap qkv, proj, fc1, fc2;
  const float *qkv_bias, *proj_bias, *fc1_bias, *fc2_bias;
  const float* modulations;  // [slots, 6, C]
  const float* factors;      // of heads, or null
};

// Where each cluster's tiles of a layer begin.
using Shares = uint16_t[MOST_CLUSTERS + 1];

struct Path {
  Block blocks[MOST_BLOCKS];
  TensorMap head;
  const float *head_bias, *head_modulations;  // [slots, 2, C]
  const uint32_t* slots;
  const float* residual;
  float* logits;
  unsigned char* exchange;  // twice what `Exchange` divides, unwritten
  float scale;
  int count, rows, per_sequence, width, vocabulary;
  int ring, receivers, piece;  // slots of weights, tiles whose sums are received, chunks of hidden rows at a time
  Shares qkv, back, fc1, logit;  // `back`: of proj and fc2
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

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
  bf16 *qkv, *attended, *hidden;  // [rows, 3C], [rows, C], [rows, 4C]
  Stream middle, end;             // after attention, after the feed-forward

  static __device__ __forceinline__ size_t bytes(const Path& path) {
    return (size_t)path.rows * path.width * 24 + (size_t)path.rows * (path.width / TILE_OUTPUTS) * 16;
  }

  __device__ __forceinline__ Exchange(const Path& path, int turn) {
    size_t length = (size_t)path.rows * path.width, moments = (size_t)path.rows * (path.width / TILE_OUTPUTS);
    unsigned char* at = path.exchange + turn * bytes(path);
    middle.values = reinterpret_cast<float*>(at);
    end.values = middle.values + length;
    qkv = reinterpret_cast<bf16*>(end.values + length);
    attended = qkv + 3 * length;
    hidden = attended + length;
    middle.moments = reinterpret_cast<float2*>(hidden + 4 * length);
    end.moments = middle.moments + moments;
  }
};

__device__ __forceinline__ int warp() { return thread_anew() / 32; }
__device__ __forceinline__ int lane() { return thread_anew() % 32; }

// What a block needs to know of its place, and where what lies in shared memory; it lies there itself.
struct Place {
  int rank, cluster;
  int padded;  // rows in shared memory
  int pairs;   // of 16 rows: each block of the cluster ends two of them
  int ended;   // of those in which there are rows for this block
  uint32_t normalized, copied, received, complete, free;  // rows of a slice; sums, and their barriers
  unsigned char* memory;                                  // where `shared_address` is `base`
  uint32_t base;
  float4* own;                   // the residual stream where this block ends it
  float* modulations;            // [sequences, 2, C / 8]
  uint8_t sequences[MOST_ROWS];  // of rows
  uint32_t slots[MOST_ROWS];     // of rows

  __device__ __forceinline__ unsigned char* at(uint32_t address) const { return memory + (address - base); }

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
      const float* scales = place.modulations + place.sequences[row] * 2 * slice;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int unit = lane + half * 32;
        if (unit >= units) break;
        float4 s = *reinterpret_cast<const float4*>(scales + unit * 4);
        float4 b = *reinterpret_cast<const float4*>(scales + slice + unit * 4);
        uint4 x = values[i][half];
        auto normalized = [&](uint32_t x, float s, float b) {
          return (__uint_as_float(x) - mean) * factor * (1 + s) + b;
        };
        uint2 four = {pack(normalized(x.x, s.x, b.x), normalized(x.y, s.y, b.y)),
                      pack(normalized(x.z, s.z, b.z), normalized(x.w, s.w, b.w))};
        *reinterpret_cast<uint2*>(place.at(place.normalized + place.place(row, unit * 4))) = four;
      }
    }
  }
}

// Columns [first, first + columns) of rows that others hand over.
__device__ __forceinline__ void copy_rows(const Path& path, const Place& place, const bf16* from, int stride, int first,
                                          int columns) {
  constexpr int AT_ONCE = 8;
  int units = columns / 8, total = path.rows * units;
#pragma unroll 1
  for (int begin = thread_anew(); begin < total; begin += THREADS * AT_ONCE) {
    uint4 values[AT_ONCE];
    bool missing;
    do {
      missing = false;
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        int index = begin + i * THREADS;
        if (index >= total) continue;
        values[i] = look_at_four(from + (size_t)(index / units) * stride + first + index % units * 8);
      }
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++)
        if (begin + i * THREADS < total) missing |= is_missing(values[i]);
    } while (missing);
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      int index = begin + i * THREADS;
      if (index >= total) continue;
      *reinterpret_cast<uint4*>(place.at(place.copied + place.place(index / units, index % units * 8))) = values[i];
    }
  }
}

// Starts copying this block's columns of scale and shift of every sequence.
__device__ __forceinline__ void fetch_modulations(const Path& path, const Place& place, const float* table, int vectors,
                                                  int scale, int shift) {
  int slice = path.width / CLUSTER, units = slice / 4, sequences = path.rows / path.per_sequence;
  for (int i = thread_anew(); i < sequences * 2 * units; i += THREADS) {
    int vector = i / units, unit = i % units;
    uint32_t slot = place.slots[vector / 2 * path.per_sequence];
    const float* from = table + ((size_t)slot * vectors + (vector % 2 ? shift : scale)) * path.width;
    copy_later(place.modulations + vector * slice + unit * 4, from + place.rank * slice + unit * 4, true);
  }
  commit_copies();
}

__device__ __forceinline__ void load_tiles_at(uint32_t (&tiles)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(address)
               : "memory");
}

// Adds products of a chunk's `steps` times 16 numbers: 16 outputs of the warp by all rows.
template <int TILES>
__device__ __forceinline__ void accumulate(float (&sums)[TILES][4], uint32_t weights, uint32_t rows, int steps, int count) {
  int lane = ::lane();
  int output = warp() % 4 * 16 + lane % 16;
  uint32_t weight_row = weights + output * 128;
  if constexpr (TILES == 1) {
    // Both halves of two steps at once.
    int row = lane % 8;
#pragma unroll
    for (int step = 0; step < CHUNK / 16; step += 2) {
      if (step >= steps) break;
      uint32_t low[4], high[4], own[4];
      load_tiles_at(low, weight_row + (((step * 2 + lane / 16) ^ (output & 7)) << 4));
      load_tiles_at(high, weight_row + (((step * 2 + 2 + lane / 16) ^ (output & 7)) << 4));
      load_tiles_at(own, rows + row * 128 + (((step * 2 + lane / 8) ^ row) << 4));
      multiply_tile(sums[0], low, own[0], own[1]);
      if (step + 1 < steps) multiply_tile(sums[0], high, own[2], own[3]);
    }
  } else {
    int row = lane / 16 * 8 + lane % 8;
#pragma unroll
    for (int step = 0; step < CHUNK / 16; step++) {
      if (step >= steps) break;
      uint32_t weight[4];
      load_tiles_at(weight, weight_row + (((step * 2 + lane / 16) ^ (output & 7)) << 4));
      uint32_t own_rows = rows + row * 128 + (((step * 2 + lane / 8 % 2) ^ (row & 7)) << 4);
#pragma unroll
      for (int tile = 0; tile < TILES; tile += 2) {
        if (tile * 8 >= count) break;
        uint32_t own[4];
        load_tiles_at(own, own_rows + tile * 8 * 128);
        multiply_tile(sums[tile], weight, own[0], own[1]);
        multiply_tile(sums[tile + 1], weight, own[2], own[3]);
      }
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
  wait_for_blocks_at(place.free + turn.slot * 8, turn.parity ^ 1);
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
// last may be less, and of how many of them the rows fit into shared memory at a time.
struct Layer {
  int first, end;
  int chunks, last_steps, piece;

  __device__ __forceinline__ Layer(const Path& path, const Place& place, const Shares& shares, int slice) {
    // Made anew for every block: registers are scarcer than time.
    int cluster = place.cluster;
    asm volatile("" : "+r"(cluster));
    first = shares[cluster];
    end = shares[cluster + 1];
    chunks = (slice + CHUNK - 1) / CHUNK;
    last_steps = (slice - (chunks - 1) * CHUNK) / 16;
    piece = min(chunks, path.piece);
  }

  __device__ __forceinline__ int steps(int chunk) const { return chunk + 1 == chunks ? last_steps : CHUNK / 16; }
};

// Multiplies and ends a layer's tiles, of whose rows those of the first chunks are at `rows`. `load(chunk, count)` leaves
// those of other chunks there, and waits for all threads to have done so. `prepare(tile, row, output)` asks for what `finish(tile, row, output, prepared, sum)` needs: sums of two outputs, `output`
// and 8 further, of two neighbouring rows.
template <int TILES, bool WHOLE, typename Load, typename Prepare, typename Finish>
__device__ __forceinline__ void multiply(const Path& path, const Place& place, WeightStream& weights, Turn& turn,
                                         const Layer& layer, uint32_t rows, Load load, Prepare prepare, Finish finish) {
#pragma unroll 1
  for (int round = layer.first; round < layer.end; round += path.receivers) {
    int end = min(round + path.receivers, layer.end);
    // Sums of the last round have been received by all.
    if (round > layer.first) meet();
#pragma unroll 1
    for (int tile = round; tile < end; tile += 2) {
      int together = min(2, end - tile), group = warp() / 4;
      float sums[TILES][4] = {};
#pragma unroll 1
      for (int chunk = 0; chunk < layer.chunks; chunk++) {
        if constexpr (!WHOLE) {
          bool loaded = layer.piece == layer.chunks || (tile == layer.first && chunk == 0);
          if (!loaded && chunk % layer.piece == 0) {
            meet();
            load(chunk, min(layer.piece, layer.chunks - chunk));
          }
        }
        if (chunk == 0 && tile == round && threadIdx.x < end - round && place.ended > 0)
          arrive_expecting(place.complete + after(turn, threadIdx.x, path.receivers).slot * 8, place.ended * CLUSTER * 512);
        if (group < together) {
          uint32_t slot = weights.wait(group);
          accumulate<TILES>(sums, slot, rows + chunk % layer.piece * place.padded * 128, layer.steps(chunk), path.rows);
          __syncwarp();
          if (lane() == 0) weights.release(group);
        }
        weights.advance(together);
      }
      if (group < together) send<TILES>(path, place, sums, after(turn, tile - round + group, path.receivers));
    }
#pragma unroll 1
    for (int task = warp(); task < (end - round) * place.ended; task += WARPS) {
      int local = task / place.ended, pair = task % place.ended, tile = round + local;
      Turn own = after(turn, local, path.receivers);
      int row = place.row(pair), output = tile * TILE_OUTPUTS + lane() / 8 * 16 + lane() % 8;
      auto prepared = prepare(tile - layer.first, pair, row, output);
      wait_for_blocks_at(place.complete + own.slot * 8, own.parity);
      const float4* parts = reinterpret_cast<const float4*>(
          place.at(place.received + own.slot * CLUSTER * place.pairs * 512 + pair * 512)) + lane();
      float4 sum = parts[0];
#pragma unroll
      for (int i = 1; i < CLUSTER; i++) {
        float4 part = parts[i * place.pairs * 32];
        sum = {sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w};
      }
      __syncwarp();
      if (lane() < CLUSTER) arrive_at_block(place.free + own.slot * 8, lane());
      finish(tile - layer.first, pair, row, output, prepared, sum);
    }
    turn = after(turn, end - round, path.receivers);
  }
}

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

// What two outputs of two rows are added to.
struct Gated {
  float gates[4], bias[2];
};

template <int TILES>
__device__ __forceinline__ void run(const Path& path, const Place& place, WeightStream& weights) {
  constexpr int ROWS_AT_ONCE = TILES < 4 ? TILES : 4;
  int width = path.width, slice = width / CLUSTER, rank = place.rank;
  Turn turn;
  auto layer = [&](const Shares& shares, int slice) { return Layer(path, place, shares, slice); };
  auto residual = [&](int tile, int pair) -> float4& { return place.own[(tile * place.pairs + pair) * 32 + lane()]; };

  // As if a block had made the input.
  Layer back = layer(path.back, slice);
#pragma unroll 1
  for (int task = warp(); task < (back.end - back.first) * place.ended; task += WARPS) {
    int tile = task / place.ended, pair = task % place.ended, row = place.row(pair);
    int output = (back.first + tile) * TILE_OUTPUTS + lane() / 8 * 16 + lane() % 8;
    const float* own = path.residual + (size_t)row * width + output;
    float4 x = {};
    if (row < path.rows) x.x = own[0], x.z = own[8];
    if (row + 1 < path.rows) x.y = own[width], x.w = own[width + 8];
    residual(tile, pair) = x;
    hand_over_residual(path, Exchange(path, 1).end, row, output, x);
  }
  fetch_modulations(path, place, path.count > 0 ? path.blocks[0].modulations : path.head_modulations,
                    path.count > 0 ? 6 : 2, path.count > 0 ? 2 : 0, path.count > 0 ? 4 : 1);
  wait_for_copies<0>();
  meet();

  auto none = [](int, int) {};
  auto biases = [&](const float* bias) {
    return [bias](int, int, int, int output) { return float2{__ldg(bias + output), __ldg(bias + output + 8)}; };
  };
#pragma unroll 1
  for (int i = 0; i < path.count; i++) {
    const Block& block = path.blocks[i];
    auto own = [&] { return Exchange(path, i % 2); };
    auto gated = [&](const float* bias, int gate) {
      return [&, bias, gate](int, int, int row, int output) {
        Gated to;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          uint32_t slot = place.slots[min(row + i % 2, path.rows - 1)];
          to.gates[i] = __ldg(block.modulations + ((size_t)slot * 6 + gate) * width + output + i / 2 * 8);
        }
        to.bias[0] = __ldg(bias + output);
        to.bias[1] = __ldg(bias + output + 8);
        return to;
      };
    };
    auto add_gated = [&](const Stream& stream) {
      return [&](int tile, int pair, int row, int output, const Gated& to, float4 sum) {
        float4& x = residual(tile, pair);
        x = {x.x + to.gates[0] * (sum.x + to.bias[0]), x.y + to.gates[1] * (sum.y + to.bias[0]),
             x.z + to.gates[2] * (sum.z + to.bias[1]), x.w + to.gates[3] * (sum.w + to.bias[1])};
        hand_over_residual(path, stream, row, output, x);
      };
    };

    normalize<ROWS_AT_ONCE>(path, place, Exchange(path, (i + 1) % 2).end);
    meet();
    fetch_modulations(path, place, block.modulations, 6, 3, 5);
    multiply<TILES, true>(path, place, weights, turn, layer(path.qkv, slice), place.normalized, none, biases(block.qkv_bias),
                    [&](int, int, int row, int output, float2 bias, float4 x) {
                      hand_over_rounded(path, own().qkv, 3 * width, row, output,
                                        {x.x + bias.x, x.y + bias.x, x.z + bias.y, x.w + bias.y});
                    });

    int heads = width / HEAD_WIDTH, parts = (path.per_sequence + QUERIES - 1) / QUERIES;
    int tasks = path.rows / path.per_sequence * heads * parts;
#pragma unroll 1
    for (int task = blockIdx.x + gridDim.x * warp(); task < tasks; task += gridDim.x * WARPS) {
      int sequence = task / (heads * parts), head = task / parts % heads, part = task % parts;
      size_t first = (size_t)sequence * path.per_sequence;
      bool normalized = block.factors != nullptr;
      attend<TILES <= 2>(own().qkv + first * 3 * width + head * HEAD_WIDTH, 3 * width, width, path.per_sequence,
                     part * QUERIES, normalized ? __ldg(block.factors + head) : path.scale, normalized,
                     own().attended + first * width + head * HEAD_WIDTH);
    }

    auto load_attended = [&](int chunk, int count) {
      int columns = min(count * CHUNK, slice - chunk * CHUNK);
      copy_rows(path, place, own().attended, width, rank * slice + chunk * CHUNK, columns);
      wait_for_copies<0>();
      meet();
    };
    Layer proj = layer(path.back, slice);
    load_attended(0, proj.piece);
    multiply<TILES, TILES < 8>(path, place, weights, turn, proj, place.copied, load_attended, gated(block.proj_bias, 0),
                    add_gated(own().middle));

    normalize<ROWS_AT_ONCE>(path, place, own().middle);
    meet();
    let_clean();
    bool last = i + 1 == path.count;
    fetch_modulations(path, place, last ? path.head_modulations : path.blocks[i + 1].modulations, last ? 2 : 6,
                      last ? 0 : 2, last ? 1 : 4);
    multiply<TILES, true>(path, place, weights, turn, layer(path.fc1, slice), place.normalized, none, biases(block.fc1_bias),
                    [&](int, int, int row, int output, float2 bias, float4 x) {
                      hand_over_rounded(path, own().hidden, 4 * width, row, output,
                                        {gelu(x.x + bias.x), gelu(x.y + bias.x), gelu(x.z + bias.y), gelu(x.w + bias.y)});
                    });

    auto copy_hidden = [&](int chunk, int count) {
      copy_rows(path, place, own().hidden, 4 * width, rank * 4 * slice + chunk * CHUNK, count * CHUNK);
    };
    auto load_hidden = [&](int chunk, int count) {
      copy_hidden(chunk, count);
      meet();
    };
    Layer fc2 = layer(path.back, 4 * slice);
    copy_hidden(0, fc2.piece);
    wait_for_copies<0>();
    meet_cleaned();
    multiply<TILES, TILES < 8>(path, place, weights, turn, fc2, place.copied, load_hidden, gated(block.fc2_bias, 1),
                    add_gated(own().end));
  }
  normalize<ROWS_AT_ONCE>(path, place, Exchange(path, (path.count + 1) % 2).end);
  meet();
  multiply<TILES, true>(path, place, weights, turn, layer(path.logit, slice), place.normalized, none, biases(path.head_bias),
                  [&](int, int, int row, int output, float2 bias, float4 x) {
                    float* own = path.logits + (size_t)row * path.vocabulary + output;
                    if (row < path.rows) own[0] = x.x + bias.x, own[8] = x.z + bias.y;
                    own += path.vocabulary;
                    if (row + 1 < path.rows) own[0] = x.y + bias.x, own[8] = x.w + bias.y;
                  });
}

// Asks for all weights of the path, in the order in which `run` multiplies.
__device__ __forceinline__ void stream(const Path& path, const Place& place, WeightStream& weights) {
  int slice = path.width / CLUSTER;
  uint64_t policy = used_once();
  auto request = [&](const TensorMap& map, const Layer& layer, int inputs) {
#pragma unroll 1
    for (int round = layer.first; round < layer.end; round += path.receivers) {
      int end = min(round + path.receivers, layer.end);
#pragma unroll 1
      for (int tile = round; tile < end; tile += 2) {
#pragma unroll 1
        for (int chunk = 0; chunk < layer.chunks; chunk++) {
#pragma unroll 1
          for (int own = tile; own < min(tile + 2, end); own++)
            weights.request(map, place.rank * inputs + chunk * CHUNK, own * TILE_OUTPUTS, policy);
        }
      }
    }
  };
  Layer qkv(path, place, path.qkv, slice), proj(path, place, path.back, slice), fc1(path, place, path.fc1, slice),
      fc2(path, place, path.back, 4 * slice), logit(path, place, path.logit, slice);
#pragma unroll 1
  for (int i = 0; i < path.count; i++) {
    const Block& block = path.blocks[i];
    request(block.qkv, qkv, slice);
    request(block.proj, proj, slice);
    request(block.fc1, fc1, slice);
    request(block.fc2, fc2, 4 * slice);
  }
  request(path.head, logit, slice);
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
__device__ __forceinline__ void set_place(const Path& path, Place& place, unsigned char* memory, const void* barriers) {
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(place.rank));
  place.cluster = blockIdx.x / CLUSTER;
  int tiles = (path.rows + 7) / 8, slice = path.width / CLUSTER;
  place.pairs = (tiles + 1) / 2;
  place.padded = TILES == 1 ? 8 : place.pairs * 16;
  place.ended = (tiles - place.rank / 4 + 1) / 2;
  place.memory = memory;
  place.base = shared_address(memory);
  place.normalized = place.base + path.ring * SLOT_BYTES;
  place.copied = place.normalized + (slice + CHUNK - 1) / CHUNK * place.padded * 128;
  place.received = place.copied + path.piece * place.padded * 128;
  place.own = reinterpret_cast<float4*>(place.at(place.received + path.receivers * CLUSTER * place.pairs * 512));
  int most = path.back[place.cluster + 1] - path.back[place.cluster];
  place.modulations = reinterpret_cast<float*>(place.own + most * place.pairs * 32);
  place.complete = shared_address(barriers);
  place.free = place.complete + MOST_RECEIVERS * 8;
}

#endif

template <int TILES>
__device__ __forceinline__ void run_path(const Path& path) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ __align__(1024) unsigned char memory[];
  __shared__ uint64_t ring_barriers[2 * MOST_SLOTS], sum_barriers[2 * MOST_RECEIVERS];
  __shared__ Place place;
  if (threadIdx.x == 0) set_place<TILES>(path, place, memory, sum_barriers);
  WeightStream weights(shared_address(memory), ring_barriers, path.ring);
  if (threadIdx.x < path.rows) {
    place.sequences[threadIdx.x] = threadIdx.x / path.per_sequence;
    place.slots[threadIdx.x] = path.slots[threadIdx.x / path.per_sequence];
  }
  if (threadIdx.x == 0) {
    weights.start(4);
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
PATH(8)
PATH(16)
