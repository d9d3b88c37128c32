// All blocks of a path and its head (3) for few rows, in one kernel. The time is that of streaming the weights, so they
// stream without a break: the grid waits for itself between layers while the copy engine is layers ahead.
//
// A block makes whole outputs, eight at a time; its eight warps share the depth of their sums and keep their parts of
// the rows in registers as the tensor cores' first operand. Within 16 numbers of the depth both operands are permuted
// alike, so that every thread loads neighbours.
#include "weight_stream.cuh"
#include "warpgroup.cuh"

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * 32;
constexpr int MOST_BLOCKS = 36;
constexpr int HEAD_WIDTH = 64;
// Tasks of a batch of units: each thread ends two neighbouring outputs of a row.
constexpr int TASKS = THREADS;

struct Layer {
  const bf16* weight;
  const float* bias;
};

struct Block {
  Layer qkv, proj, fc1, fc2;
  const float* modulations;  // [slots, 6, C]
  const float* factors;      // of heads, or null
};

struct Path {
  Block blocks[MOST_BLOCKS];
  Layer head;
  const float* head_modulations;  // [slots, 2, C]
  const uint32_t* slots;
  float* residual;
  bf16 *qkv, *features, *hidden;  // [rows, 3C], [rows, C], [rows, 4C]
  float* logits;
  uint32_t* arrivals;
  float scale;
  int count, rows, per_sequence, vocabulary, ring;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

__device__ __forceinline__ void wait_for_warps() { asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory"); }

// Blocks of the grid arrive here and wait for one another. Each arrival counts, until the last of all starts anew.
struct Grid {
  uint32_t* arrivals;
  uint32_t expected = 0;

  __device__ __forceinline__ uint32_t arrive() {
    uint32_t before;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(arrivals) : "memory");
    return before;
  }

  __device__ __forceinline__ void wait() {
    wait_for_warps();
    expected += gridDim.x;
    if (threadIdx.x == 0) {
      arrive();
      uint32_t now;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(arrivals) : "memory");
      } while (now < expected);
    }
    wait_for_warps();
  }

  __device__ __forceinline__ void leave() {
    if (threadIdx.x == 0 && arrive() == expected + gridDim.x - 1) *arrivals = 0;
  }
};

struct Shared {
  float2 partials[2][WARPS][TASKS];
  float2 moments[16][WARPS];
  float queries[WARPS][HEAD_WIDTH];
};

// Which of a class's vectors rows are normalised by.
struct Modulated {
  const float* table;  // [slots, vectors, C]
  int vectors, scale, shift;

  __device__ __forceinline__ const float* of(const Path& path, int row, int width) const {
    return table + (size_t)path.slots[row / path.per_sequence] * vectors * width;
  }
};

// A warp's part of the rows: 16 rows a tile, 16 numbers a step, as the tensor cores take them.
template <int STEPS, int TILES>
struct Inputs {
  static constexpr int WIDTH = STEPS * 16 * WARPS;
  uint32_t tiles[TILES][STEPS][4];

  static __device__ __forceinline__ int column(int step) {
    return (threadIdx.x / 32 * STEPS + step) * 16 + threadIdx.x % 4 * 4;
  }
  static __device__ __forceinline__ int row(int tile, int half) { return tile * 16 + threadIdx.x % 32 / 4 + half * 8; }

  // Columns [first, first + WIDTH) of rows of activations.
  __device__ __forceinline__ void load(const bf16* from, int rows, int stride, int first) {
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const bf16* own = from + (size_t)row(tile, half) * stride + first;
        bool there = row(tile, half) < rows;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
          uint2 four = there ? __ldcg(reinterpret_cast<const uint2*>(own + column(step))) : uint2{};
          tiles[tile][step][half] = four.x;
          tiles[tile][step][half + 2] = four.y;
        }
      }
    }
  }

  // Whether a thread can hold its part of the residual stream's rows while their moments are taken.
  static constexpr bool NORMALIZES = TILES == 1 && STEPS <= 10;

  // Rows of the residual stream, normalised, scaled and shifted.
  __device__ __forceinline__ void load_normalized(const Path& path, const Modulated& by, Shared& shared) {
    static_assert(NORMALIZES, "others are normalised once for all blocks");
    float4 values[2][STEPS];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      load_row(path, row(0, half), values[half]);
      float2 moments = moments_of(values[half]);
      if (threadIdx.x % 4 == 0) shared.moments[row(0, half)][threadIdx.x / 32] = moments;
    }
    wait_for_warps();
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float2 moments = normalizing(shared.moments[row(0, half)]);
      const float* vectors = by.of(path, min(row(0, half), path.rows - 1), WIDTH);
#pragma unroll
      for (int step = 0; step < STEPS; step++) {
        float4 x = values[half][step], s = load_four(vectors + by.scale * WIDTH + column(step)),
               b = load_four(vectors + by.shift * WIDTH + column(step));
        auto normalized = [&](float x, float s, float b) { return (x - moments.x) * moments.y * (1 + s) + b; };
        tiles[0][step][half] = pack(normalized(x.x, s.x, b.x), normalized(x.y, s.y, b.y));
        tiles[0][step][half + 2] = pack(normalized(x.z, s.z, b.z), normalized(x.w, s.w, b.w));
      }
    }
  }

 private:
  static __device__ __forceinline__ void load_row(const Path& path, int row, float4 (&values)[STEPS]) {
    const float* own = path.residual + (size_t)row * WIDTH;
#pragma unroll
    for (int step = 0; step < STEPS; step++)
      values[step] = row < path.rows ? __ldcg(reinterpret_cast<const float4*>(own + column(step))) : float4{};
  }

  // Not before its turn: registers are few.
  static __device__ __forceinline__ float4 load_four(const float* from) {
    float4 x;
    asm volatile("ld.global.ca.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w) : "l"(from));
    return x;
  }

  // Mean of a warp's part of a row, and the sum of squares about it.
  static __device__ __forceinline__ float2 moments_of(const float4 (&values)[STEPS]) {
    float sum = 0, squares = 0;
#pragma unroll
    for (int step = 0; step < STEPS; step++) sum += values[step].x + values[step].y + values[step].z + values[step].w;
    float mean = quad_sum(sum) / (STEPS * 16);
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      float4 x = values[step];
      x = {x.x - mean, x.y - mean, x.z - mean, x.w - mean};
      squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
    }
    return {mean, quad_sum(squares)};
  }

  // Mean and inverse deviation of a row, from those of its equal parts.
  static __device__ __forceinline__ float2 normalizing(const float2 (&parts)[WARPS]) {
    float mean = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++) mean += parts[i].x;
    mean /= WARPS;
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
      float apart = parts[i].x - mean;
      squares += parts[i].y + STEPS * 16 * apart * apart;
    }
    return {mean, rsqrtf(squares / WIDTH + 1e-6f)};
  }

  static __device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
  }
};

// Multiplies rows of CHUNKS · WIDTH numbers with this block's units of a layer. `load(inputs, chunk)` fills the rows'
// part; `prepare(row, output)` asks for what `finish(row, output, prepared, sum)` adds to two neighbouring outputs.
template <int STEPS, int TILES, int CHUNKS, typename Load, typename Prepare, typename Finish>
__device__ __forceinline__ void multiply(WeightStream& weights, const Share& share, int rows, Shared& shared,
                                         uint32_t& turn, Load load, Prepare prepare, Finish finish) {
  constexpr int UNITS = 4 / TILES;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int own_unit = threadIdx.x / (TILES * 64), own_row = threadIdx.x % (TILES * 64) / 4, own_pair = threadIdx.x % 4;
  uint32_t place = lane / 4 * weights.pitch + Inputs<STEPS, TILES>::column(0) * 2;
  Inputs<STEPS, TILES> inputs;
  if (CHUNKS == 1) load(inputs, 0);
#pragma unroll 1
  for (int first = 0; first < share.count; first += UNITS) {
    bool ends = own_row < rows && first + own_unit < share.count;
    int output = share.unit(first + own_unit) * UNIT + own_pair * 2;
    decltype(prepare(0, 0)) prepared{};
    if (ends) prepared = prepare(own_row, output);
    float sums[UNITS][TILES][4] = {};
#pragma unroll 1
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
      if (CHUNKS > 1) load(inputs, chunk);
#pragma unroll
      for (int unit = 0; unit < UNITS; unit++) {
        if (first + unit < share.count) {
          uint32_t slot = weights.next() + place;
#pragma unroll
          for (int step = 0; step < STEPS; step++) {
            uint32_t low, high;
            asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(low), "=r"(high) : "r"(slot + step * 32));
#pragma unroll
            for (int tile = 0; tile < TILES; tile++) multiply_tile(sums[unit][tile], inputs.tiles[tile][step], low, high);
          }
          weights.release();
        }
      }
    }
    float2(&partials)[WARPS][TASKS] = shared.partials[turn++ % 2];
#pragma unroll
    for (int unit = 0; unit < UNITS; unit++) {
#pragma unroll
      for (int tile = 0; tile < TILES; tile++) {
        float2* to = partials[warp] + (unit * TILES + tile) * 64 + lane;
        to[0] = {sums[unit][tile][0], sums[unit][tile][1]};
        to[32] = {sums[unit][tile][2], sums[unit][tile][3]};
      }
    }
    wait_for_warps();
    if (ends) {
      float2 sum = {};
#pragma unroll
      for (int i = 0; i < WARPS; i++) {
        float2 part = partials[i][threadIdx.x];
        sum.x += part.x;
        sum.y += part.y;
      }
      finish(own_row, output, prepared, sum);
    }
  }
}

// Rows of the residual stream, normalised, scaled and shifted: a block a row.
template <int WIDTH>
__device__ __forceinline__ void normalize(const Path& path, const Modulated& by, Shared& shared) {
  constexpr int FOURS = (WIDTH / 4 + THREADS - 1) / THREADS;
  float2(&sums)[WARPS] = shared.moments[0];
  auto walk = [](auto each) {
#pragma unroll
    for (int i = 0; i < FOURS; i++) {
      int column = (i * THREADS + threadIdx.x) * 4;
      if (column < WIDTH) each(i, column);
    }
  };
  for (int row = blockIdx.x; row < path.rows; row += gridDim.x) {
    const float *own = path.residual + (size_t)row * WIDTH, *vectors = by.of(path, row, WIDTH);
    float4 values[FOURS];
    float sum = 0, squares = 0;
    walk([&](int i, int column) {
      float4 x = values[i] = __ldcg(reinterpret_cast<const float4*>(own + column));
      sum += x.x + x.y + x.z + x.w;
    });
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32].x = sum;
    wait_for_warps();
    sum = 0;
    for (int i = 0; i < WARPS; i++) sum += sums[i].x;
    float mean = sum / WIDTH;
    walk([&](int i, int) {
      float4& x = values[i];
      x = {x.x - mean, x.y - mean, x.z - mean, x.w - mean};
      squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
    });
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32].y = squares;
    wait_for_warps();
    squares = 0;
    for (int i = 0; i < WARPS; i++) squares += sums[i].y;
    float factor = rsqrtf(squares / WIDTH + 1e-6f);
    walk([&](int i, int column) {
      float4 x = values[i], s = __ldg(reinterpret_cast<const float4*>(vectors + by.scale * WIDTH + column)),
             b = __ldg(reinterpret_cast<const float4*>(vectors + by.shift * WIDTH + column));
      uint2 four = {pack(x.x * factor * (1 + s.x) + b.x, x.y * factor * (1 + s.y) + b.y),
                    pack(x.z * factor * (1 + s.z) + b.z, x.w * factor * (1 + s.w) + b.w)};
      *reinterpret_cast<uint2*>(path.features + (size_t)row * WIDTH + column) = four;
    });
    wait_for_warps();
  }
}

// Attention within the sequences: a warp a query of a head, a lane a key, of which there are at most 32.
__device__ __forceinline__ void attend(const Path& path, const float* factors, int width, Shared& shared) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, heads = width / HEAD_WIDTH, stride = 3 * width;
  int keys = path.per_sequence;
  for (int task = blockIdx.x * WARPS + warp; task < path.rows * heads; task += gridDim.x * WARPS) {
    int row = task / heads, head = task % heads;
    const bf16* own = path.qkv + (size_t)row * stride + head * HEAD_WIDTH;
    const bf16* sequence = path.qkv + (size_t)(row / keys * keys) * stride + head * HEAD_WIDTH;
    const bf16* key = sequence + width + (size_t)min(lane, keys - 1) * stride;
    uint4 parts[HEAD_WIDTH / 8];
#pragma unroll
    for (int i = 0; i < HEAD_WIDTH / 8; i++) parts[i] = __ldcg(reinterpret_cast<const uint4*>(key) + i);
    uint32_t two = __ldcg(reinterpret_cast<const uint32_t*>(own) + lane);
    float2 query = __bfloat1622float2(reinterpret_cast<__nv_bfloat162&>(two));
    float factor = path.scale;
    if (factors != nullptr)
      factor = factors[head] / fmaxf(sqrtf(warp_sum(query.x * query.x + query.y * query.y)), 1e-12f);
    reinterpret_cast<float2*>(shared.queries[warp])[lane] = query;
    __syncwarp();
    float product = 0, norm = 0;
#pragma unroll
    for (int i = 0; i < HEAD_WIDTH / 8; i++) {
      const uint32_t words[4] = {parts[i].x, parts[i].y, parts[i].z, parts[i].w};
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float2 k = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(words[j]));
        float2 q = reinterpret_cast<const float2*>(shared.queries[warp])[i * 4 + j];
        product += q.x * k.x + q.y * k.y;
        norm += k.x * k.x + k.y * k.y;
      }
    }
    if (factors != nullptr) product /= fmaxf(sqrtf(norm), 1e-12f);
    float score = lane < keys ? product * factor : -INFINITY;
    float weight = __expf(score - warp_max(score));
    weight /= warp_sum(weight);
    const bf16* values = sequence + 2 * width + lane * 2;
    float2 sum = {};
#pragma unroll 8
    for (int i = 0; i < keys; i++) {
      uint32_t both = __ldcg(reinterpret_cast<const uint32_t*>(values + (size_t)i * stride));
      float2 value = __bfloat1622float2(reinterpret_cast<__nv_bfloat162&>(both));
      float of = __shfl_sync(0xffffffffu, weight, i);
      sum.x += of * value.x;
      sum.y += of * value.y;
    }
    __syncwarp();
    reinterpret_cast<uint32_t*>(path.features + (size_t)row * width + head * HEAD_WIDTH)[lane] = pack(sum.x, sum.y);
  }
}

__device__ __forceinline__ float gelu(float x) {
  return __fdividef(x, 1.0f + __expf(-1.5957691216f * (x + 0.044715f * x * x * x)));
}

// Asks for all weights of the path, in the order in which `run` multiplies.
__device__ __forceinline__ void stream(const Path& path, WeightStream& weights, int width, int together) {
  int turned = 0;
  uint64_t policy = used_once();
  auto layer = [&](const bf16* weight, int outputs, int chunks) {
    Share share(outputs / UNIT, turned);
    size_t stride = (size_t)chunks * width * sizeof(bf16);
    for (int first = 0; first < share.count; first += together) {
      for (int chunk = 0; chunk < chunks; chunk++) {
        for (int unit = first; unit < min(first + together, share.count); unit++) {
          const unsigned char* from = reinterpret_cast<const unsigned char*>(weight) + share.unit(unit) * UNIT * stride;
          weights.request(from + (size_t)chunk * width * sizeof(bf16), stride, policy);
        }
      }
    }
  };
  for (int i = 0; i < path.count; i++) {
    const Block& block = path.blocks[i];
    layer(block.qkv.weight, 3 * width, 1);
    layer(block.proj.weight, width, 1);
    layer(block.fc1.weight, 4 * width, 1);
    layer(block.fc2.weight, width, 4);
  }
  layer(path.head.weight, path.vocabulary, 1);
}

// How many times WIDTH a layer's depth is.
template <int COUNT>
struct Times {
  __device__ constexpr int operator()() const { return COUNT; }
};

// What a gated sum adds to: its two places in the residual stream, their gate and the layer's bias.
struct Gated {
  float2 residual, gate, bias;
};

template <int STEPS, int TILES>
__device__ __forceinline__ void run(const Path& path, WeightStream& weights, Shared& shared) {
  using Rows = Inputs<STEPS, TILES>;
  constexpr int WIDTH = Rows::WIDTH;
  int turned = 0;
  uint32_t turn = 0;
  Grid grid{path.arrivals};
  auto layer = [&](int outputs, auto chunks, auto load, auto prepare, auto finish) {
    Share share(outputs / UNIT, turned);
    multiply<STEPS, TILES, chunks()>(weights, share, path.rows, shared, turn, load, prepare, finish);
  };
  constexpr Times<1> once;
  constexpr Times<4> four_times;
  auto features = [&](Rows& inputs, int) { inputs.load(path.features, path.rows, WIDTH, 0); };
  // Every block normalises all rows where that is little work; else they are shared out first.
  auto normalized = [&](const Modulated& by) {
    if constexpr (Rows::NORMALIZES) {
      return [&, by](Rows& inputs, int) { inputs.load_normalized(path, by, shared); };
    } else {
      normalize<WIDTH>(path, by, shared);
      grid.wait();
      return features;
    }
  };
  auto bias_of = [](const Layer& layer) {
    return [&layer](int, int output) { return __ldg(reinterpret_cast<const float2*>(layer.bias + output)); };
  };
#pragma unroll 1
  for (int i = 0; i < path.count; i++) {
    const Block& block = path.blocks[i];
    auto gated = [&](const Layer& layer, int gate) {
      return [&, gate](int row, int output) -> Gated {
        const float* gates = block.modulations + ((size_t)path.slots[row / path.per_sequence] * 6 + gate) * WIDTH;
        return {__ldcg(reinterpret_cast<const float2*>(path.residual + (size_t)row * WIDTH + output)),
                __ldg(reinterpret_cast<const float2*>(gates + output)),
                __ldg(reinterpret_cast<const float2*>(layer.bias + output))};
      };
    };
    auto add_gated = [&](int row, int output, const Gated& to, float2 sum) {
      float2 x = {to.residual.x + to.gate.x * (sum.x + to.bias.x), to.residual.y + to.gate.y * (sum.y + to.bias.y)};
      *reinterpret_cast<float2*>(path.residual + (size_t)row * WIDTH + output) = x;
    };

    layer(3 * WIDTH, once, normalized({block.modulations, 6, 2, 4}), bias_of(block.qkv), [&](int row, int output, float2 bias, float2 sum) {
      uint32_t both = pack(sum.x + bias.x, sum.y + bias.y);
      *reinterpret_cast<uint32_t*>(path.qkv + (size_t)row * 3 * WIDTH + output) = both;
    });
    grid.wait();
    attend(path, block.factors, WIDTH, shared);
    grid.wait();
    layer(WIDTH, once, features, gated(block.proj, 0), add_gated);
    grid.wait();
    layer(4 * WIDTH, once, normalized({block.modulations, 6, 3, 5}), bias_of(block.fc1), [&](int row, int output, float2 bias, float2 sum) {
      uint32_t both = pack(gelu(sum.x + bias.x), gelu(sum.y + bias.y));
      *reinterpret_cast<uint32_t*>(path.hidden + (size_t)row * 4 * WIDTH + output) = both;
    });
    grid.wait();
    auto hidden = [&](Rows& inputs, int chunk) { inputs.load(path.hidden, path.rows, 4 * WIDTH, chunk * WIDTH); };
    layer(WIDTH, four_times, hidden, gated(block.fc2, 1), add_gated);
    grid.wait();
  }
  layer(path.vocabulary, once, normalized({path.head_modulations, 2, 0, 1}), bias_of(path.head), [&](int row, int output, float2 bias, float2 sum) {
    *reinterpret_cast<float2*>(path.logits + (size_t)row * path.vocabulary + output) = {sum.x + bias.x, sum.y + bias.y};
  });
  grid.leave();
}

#endif

// One warp asks for weights, the others multiply.
template <int STEPS, int TILES>
__device__ __forceinline__ void run_or_stream(const Path& path) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ Shared shared;
  constexpr int MOST_SLOTS = 32;
  __shared__ uint64_t barriers[2 * MOST_SLOTS];
  constexpr int WIDTH = Inputs<STEPS, TILES>::WIDTH;
  WeightStream weights(memory, barriers, path.ring, WIDTH * sizeof(bf16));
  if (threadIdx.x == 0) weights.start(WARPS);
  __syncthreads();
  if (threadIdx.x < THREADS) {
    take_registers<240>();
    run<STEPS, TILES>(path, weights, shared);
  } else {
    leave_registers<24>();
    if (threadIdx.x < THREADS + 32) stream(path, weights, WIDTH, 4 / TILES);
  }
#endif
}

#define PATH(steps, tiles)                                                                                         \
  extern "C" __global__ void __launch_bounds__(THREADS + 128, 1) path_##steps##x##tiles(__grid_constant__ const Path path) { \
    run_or_stream<steps, tiles>(path);                                                                             \
  }

PATH(8, 1)
PATH(8, 2)
PATH(10, 1)
PATH(10, 2)
PATH(12, 1)
PATH(12, 2)
PATH(15, 1)
PATH(15, 2)
