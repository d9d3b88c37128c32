// All blocks of a path and its head (3) for few rows, in one kernel. The time is that of streaming the weights, so they
// stream without a break: the grid waits for itself between layers while the copy engine is layers ahead.
//
// A block makes whole outputs, eight at a time; its eight warps share the depth of their sums. All rows lie in shared
// memory. Within 16 numbers of the depth both operands of the tensor cores are permuted alike, so that every thread
// loads neighbours.
#include "weight_stream.cuh"

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * 32;
constexpr int MOST_BLOCKS = 36;
constexpr int MOST_SLOTS = 16;
constexpr int HEAD_WIDTH = 64;
// Bytes that rows in shared memory are further apart than they are long: eight rows fall on different banks.
constexpr int APART = 32;
// Rows of a path at most: a tile of the tensor cores.
constexpr int ROWS = 16;
// Units that are multiplied together: each thread ends two outputs of a row.
constexpr int TOGETHER = 4;

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
  bf16 *qkv, *attended, *hidden;  // [rows, 3C], [rows, C], [rows, 4C]
  float* logits;
  uint32_t* arrivals;
  float scale;
  int count, rows, per_sequence, vocabulary;
  int ring, buffers;  // slots of weights, and buffers of rows, in shared memory
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

__device__ __forceinline__ void wait_for_warps() { asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory"); }

// Blocks of the grid arrive here and wait for one another. Each arrival counts, until the last of all starts anew.
struct Grid {
  uint32_t* arrivals;
  uint32_t expected = 0;

  __device__ __forceinline__ void wait() {
    wait_for_warps();
    expected += gridDim.x;
    if (threadIdx.x == 0) {
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(arrivals) : "memory");
      uint32_t now;
      do {
        asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(arrivals) : "memory");
      } while (now < expected);
      asm volatile("fence.acq_rel.gpu;" ::: "memory");
    }
    wait_for_warps();
  }

  __device__ __forceinline__ void leave() {
    if (threadIdx.x == 0 && atomicAdd(arrivals, 1) == expected + gridDim.x - 1) *arrivals = 0;
  }
};

// A warp's partial sums of a batch of units, as the tensor cores leave them.
using Partials = float2[THREADS];

// Shared memory.
struct Shared {
  unsigned char *rows, *weights;  // `buffers` times the rows, then the ring
  Partials* partials;
  float2* queries;
  uint32_t* slots;  // of rows
};

// Rows in shared memory, and what of the layers' inputs goes there.
template <int STEPS>
struct Inputs {
  static constexpr int WIDTH = STEPS * 16 * WARPS;
  static constexpr int PITCH = WIDTH * sizeof(bf16) + APART;
  static constexpr int BYTES = ROWS * PITCH;

  // Starts copying columns [first, first + WIDTH) of rows of activations.
  static __device__ __forceinline__ void start(unsigned char* to, const bf16* from, int rows, int stride, int first) {
    constexpr int EIGHTS = WIDTH / 8;
    for (int i = threadIdx.x; i < rows * EIGHTS; i += THREADS) {
      int row = i / EIGHTS, eight = i % EIGHTS;
      copy_later(to + row * PITCH + eight * 16, from + (size_t)row * stride + first + eight * 8, true);
    }
    commit_copies();
  }

  // Rows of the residual stream, normalised, scaled and shifted: a warp a row.
  static __device__ __forceinline__ void normalize(const Shared& shared, const Path& path, const float* table, int vectors,
                                                   int scale, int shift) {
    // Where registers allow it, what comes last is asked for first.
    constexpr bool EARLY = STEPS <= 8, AGAIN = STEPS > 12;
    int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int row = threadIdx.x / 32; row < path.rows; row += WARPS) {
      const float4* own = reinterpret_cast<const float4*>(path.residual + (size_t)row * WIDTH) + lane;
      const float* modulations = table + (size_t)shared.slots[row] * vectors * WIDTH;
      const float4* scales = reinterpret_cast<const float4*>(modulations + scale * WIDTH) + lane;
      const float4* shifts = reinterpret_cast<const float4*>(modulations + shift * WIDTH) + lane;
      float4 values[STEPS], scaled[EARLY ? STEPS : 1], shifted[EARLY ? STEPS : 1];
      float sum = 0, squares = 0;
#pragma unroll
      for (int i = 0; i < STEPS; i++) values[i] = __ldcg(own + i * 32);
#pragma unroll
      for (int i = 0; i < (EARLY ? STEPS : 0); i++) {
        scaled[i] = __ldg(scales + i * 32);
        shifted[i] = __ldg(shifts + i * 32);
      }
#pragma unroll
      for (int i = 0; i < STEPS; i++) sum += (values[i].x + values[i].y) + (values[i].z + values[i].w);
      float mean = warp_sum(sum) / WIDTH;
#pragma unroll
      for (int i = 0; i < STEPS; i++) {
        float4 x = values[i];
        x = {x.x - mean, x.y - mean, x.z - mean, x.w - mean};
        squares += (x.x * x.x + x.y * x.y) + (x.z * x.z + x.w * x.w);
      }
      float factor = rsqrtf(warp_sum(squares) / WIDTH + 1e-6f);
#pragma unroll
      for (int i = 0; i < STEPS; i++) {
        // The compiler would ask for all of it at once, and run out of registers.
        if (AGAIN && i % 5 == 0) __syncwarp();
        float4 x = values[i], s = EARLY ? scaled[i] : __ldg(scales + i * 32),
               b = EARLY ? shifted[i] : __ldg(shifts + i * 32);
        if (AGAIN) x = __ldcg(own + i * 32);
        auto normalized = [&](float x, float s, float b) { return (x - mean) * factor * (1 + s) + b; };
        uint2 four = {pack(normalized(x.x, s.x, b.x), normalized(x.y, s.y, b.y)),
                      pack(normalized(x.z, s.z, b.z), normalized(x.w, s.w, b.w))};
        *reinterpret_cast<uint2*>(shared.rows + row * PITCH + (i * 32 + lane) * 8) = four;
      }
    }
  }
};

__device__ __forceinline__ uint2 load_two(const unsigned char* from) { return *reinterpret_cast<const uint2*>(from); }

// Adds a warp's part of the products of the rows with units.
template <int STEPS>
__device__ __forceinline__ void accumulate(float (&sums)[TOGETHER][4], const unsigned char* rows,
                                           const unsigned char* const (&units)[TOGETHER]) {
  constexpr int PITCH = Inputs<STEPS>::PITCH;
  int lane = threadIdx.x % 32;
  int place = lane / 4 * PITCH + threadIdx.x / 32 * (STEPS * 32) + lane % 4 * 8;
#pragma unroll (STEPS % 4 == 0 ? 4 : STEPS % 2 == 0 ? 2 : 1)
  for (int step = 0; step < STEPS; step++, place += 32) {
    uint2 low = load_two(rows + place), high = load_two(rows + 8 * PITCH + place);
    uint32_t own[4] = {low.x, high.x, low.y, high.y};
#pragma unroll
    for (int unit = 0; unit < TOGETHER; unit++) {
      uint2 weights = load_two(units[unit] + place);
      multiply_tile(sums[unit], own, weights.x, weights.y);
    }
  }
}

// Multiplies rows of CHUNKS · WIDTH numbers with this block's units of a layer. The first chunk's rows are in shared
// memory or on their way; `start(buffer, chunk)` starts copying those of another. `prepare(row, output)` asks for what
// `finish(row, output, prepared, sum)` adds to two neighbouring outputs.
template <int STEPS, int CHUNKS, typename Start, typename Prepare, typename Finish>
__device__ __forceinline__ void multiply(WeightStream& weights, const Share& share, const Path& path,
                                         const Shared& shared, Start start, Prepare prepare, Finish finish) {
  constexpr int BYTES = Inputs<STEPS>::BYTES;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int own_unit = threadIdx.x / 64, own_row = threadIdx.x % 64 / 4, own_pair = threadIdx.x % 4;
#pragma unroll 1
  for (int first = 0; first < share.count; first += TOGETHER) {
    int units = min(TOGETHER, share.count - first);
    bool ends = own_row < path.rows && own_unit < units;
    int output = share.unit(first + own_unit) * UNIT + own_pair * 2;
    decltype(prepare(0, 0)) prepared{};
    if (ends) prepared = prepare(own_row, output);
    float sums[TOGETHER][4] = {};
#pragma unroll 1
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
      bool alternates = CHUNKS > 1 && path.buffers > 1;
      if (CHUNKS > 1 && (first > 0 || chunk > 0) && (!alternates || chunk == 0)) {
        wait_for_warps();
        start(shared.rows, chunk);
      }
      wait_for_copies<0>();
      wait_for_warps();
      if (alternates && chunk + 1 < CHUNKS) start(shared.rows + (chunk + 1) % 2 * BYTES, chunk + 1);
      const unsigned char* slots[TOGETHER];
#pragma unroll
      for (int unit = 0; unit < TOGETHER; unit++) slots[unit] = unit < units ? shared.weights + weights.next() : slots[0];
      accumulate<STEPS>(sums, shared.rows + (alternates ? chunk % 2 * BYTES : 0), slots);
      weights.release(units);
    }
#pragma unroll
    for (int unit = 0; unit < TOGETHER; unit++) {
      float2* to = shared.partials[warp] + unit * 64 + lane;
      to[0] = {sums[unit][0], sums[unit][1]};
      to[32] = {sums[unit][2], sums[unit][3]};
    }
    wait_for_warps();
    if (ends) {
      float2 sum = {};
#pragma unroll
      for (int i = 0; i < WARPS; i++) {
        float2 part = shared.partials[i][threadIdx.x];
        sum.x += part.x;
        sum.y += part.y;
      }
      finish(own_row, output, prepared, sum);
    }
  }
}

// Attention within the sequences: a warp a query of a head, a lane a key.
__device__ __forceinline__ void attend(const Path& path, const float* factors, int width, const Shared& shared) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int heads = width / HEAD_WIDTH, stride = 3 * width, keys = path.per_sequence;
  float2* queries = shared.queries + warp * 32;
#pragma unroll 1
  for (int task = blockIdx.x + gridDim.x * warp; task < path.rows * heads; task += gridDim.x * WARPS) {
    int row = task / heads, head = task % heads;
    const bf16* own = path.qkv + (size_t)row * stride + head * HEAD_WIDTH;
    const bf16* sequence = path.qkv + (size_t)(row / keys * keys) * stride + head * HEAD_WIDTH;
    const bf16 *key = sequence + width + (size_t)min(lane, keys - 1) * stride, *values = sequence + 2 * width + lane * 2;
    uint32_t two = __ldcg(reinterpret_cast<const uint32_t*>(own) + lane);
    uint4 parts[HEAD_WIDTH / 8];
    uint32_t some[ROWS];
#pragma unroll
    for (int i = 0; i < HEAD_WIDTH / 8; i++) parts[i] = __ldcg(reinterpret_cast<const uint4*>(key) + i);
#pragma unroll
    for (int i = 0; i < ROWS; i++)
      some[i] = __ldcg(reinterpret_cast<const uint32_t*>(values + (size_t)min(i, keys - 1) * stride));
    float2 query = __bfloat1622float2(reinterpret_cast<__nv_bfloat162&>(two));
    queries[lane] = query;
    float factor = path.scale;
    if (factors != nullptr)
      factor = factors[head] * fminf(rsqrtf(warp_sum(query.x * query.x + query.y * query.y)), 1e12f);
    __syncwarp();
    float products[4] = {}, norms[4] = {};
#pragma unroll
    for (int i = 0; i < HEAD_WIDTH / 8; i++) {
      const uint32_t words[4] = {parts[i].x, parts[i].y, parts[i].z, parts[i].w};
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float2 k = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(words[j])), q = queries[i * 4 + j];
        products[j] += q.x * k.x + q.y * k.y;
        norms[j] += k.x * k.x + k.y * k.y;
      }
    }
    float product = (products[0] + products[1]) + (products[2] + products[3]);
    float norm = (norms[0] + norms[1]) + (norms[2] + norms[3]);
    if (factors != nullptr) product *= fminf(rsqrtf(norm), 1e12f);
    float score = lane < keys ? product * factor : -INFINITY;
    float weight = __expf(score - warp_max(score));
    weight = __fdividef(weight, warp_sum(weight));
    float2 sum = {};
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      float2 value = __bfloat1622float2(reinterpret_cast<__nv_bfloat162&>(some[i]));
      // Lanes beyond the last key weigh nothing.
      float of = __shfl_sync(0xffffffffu, weight, i);
      sum.x += of * value.x;
      sum.y += of * value.y;
    }
    __syncwarp();
    reinterpret_cast<uint32_t*>(path.attended + (size_t)row * width + head * HEAD_WIDTH)[lane] = pack(sum.x, sum.y);
  }
}

__device__ __forceinline__ float gelu(float x) {
  return __fdividef(x, 1.0f + __expf(-1.5957691216f * (x + 0.044715f * x * x * x)));
}

// Asks for all weights of the path, in the order in which `run` multiplies.
template <int WIDTH>
__device__ __forceinline__ void stream(const Path& path, WeightStream& weights) {
  int turned = 0;
  uint64_t policy = used_once();
  auto layer = [&](const bf16* weight, int outputs, int chunks) {
    Share share(outputs / UNIT, turned);
    size_t stride = (size_t)chunks * WIDTH * sizeof(bf16);
#pragma unroll 1
    for (int first = 0; first < share.count; first += TOGETHER) {
#pragma unroll 1
      for (int chunk = 0; chunk < chunks; chunk++) {
#pragma unroll 1
        for (int unit = first; unit < min(first + TOGETHER, share.count); unit++) {
          const unsigned char* from = reinterpret_cast<const unsigned char*>(weight) + share.unit(unit) * UNIT * stride;
          weights.request(from + (size_t)chunk * WIDTH * sizeof(bf16), stride, policy);
        }
      }
    }
  };
#pragma unroll 1
  for (int i = 0; i < path.count; i++) {
    const Block& block = path.blocks[i];
    layer(block.qkv.weight, 3 * WIDTH, 1);
    layer(block.proj.weight, WIDTH, 1);
    layer(block.fc1.weight, 4 * WIDTH, 1);
    layer(block.fc2.weight, WIDTH, 4);
  }
  layer(path.head.weight, path.vocabulary, 1);
}

// What a gated sum adds to: its two places in the residual stream, their gate and the layer's bias.
struct Gated {
  float2 residual, gate, bias;
};

// How many times WIDTH a layer's depth is.
template <int COUNT>
struct Times {
  __device__ constexpr int operator()() const { return COUNT; }
};

template <int STEPS>
__device__ __forceinline__ void run(const Path& path, WeightStream& weights, const Shared& shared) {
  using Rows = Inputs<STEPS>;
  constexpr int WIDTH = Rows::WIDTH;
  constexpr Times<1> once;
  constexpr Times<4> four_times;
  int turned = 0;
  Grid grid{path.arrivals};
  auto layer = [&](int outputs, auto chunks, auto start, auto prepare, auto finish) {
    Share share(outputs / UNIT, turned);
    multiply<STEPS, chunks()>(weights, share, path, shared, start, prepare, finish);
    // A block without a share has its rows still on their way.
    wait_for_copies<0>();
  };
  auto nothing = [](unsigned char*, int) {};
  auto bias_of = [](const Layer& layer) {
    return [&layer](int, int output) { return __ldg(reinterpret_cast<const float2*>(layer.bias + output)); };
  };
#pragma unroll 1
  for (int i = 0; i < path.count; i++) {
    const Block& block = path.blocks[i];
    auto gated = [&](const Layer& layer, int gate) {
      return [&, gate](int row, int output) -> Gated {
        const float* gates = block.modulations + ((size_t)shared.slots[row] * 6 + gate) * WIDTH;
        return {__ldcg(reinterpret_cast<const float2*>(path.residual + (size_t)row * WIDTH + output)),
                __ldg(reinterpret_cast<const float2*>(gates + output)),
                __ldg(reinterpret_cast<const float2*>(layer.bias + output))};
      };
    };
    auto add_gated = [&](int row, int output, const Gated& to, float2 sum) {
      float2 x = {to.residual.x + to.gate.x * (sum.x + to.bias.x), to.residual.y + to.gate.y * (sum.y + to.bias.y)};
      *reinterpret_cast<float2*>(path.residual + (size_t)row * WIDTH + output) = x;
    };

    Rows::normalize(shared, path, block.modulations, 6, 2, 4);
    layer(3 * WIDTH, once, nothing, bias_of(block.qkv), [&](int row, int output, float2 bias, float2 sum) {
      uint32_t both = pack(sum.x + bias.x, sum.y + bias.y);
      *reinterpret_cast<uint32_t*>(path.qkv + (size_t)row * 3 * WIDTH + output) = both;
    });
    grid.wait();
    attend(path, block.factors, WIDTH, shared);
    grid.wait();
    Rows::start(shared.rows, path.attended, path.rows, WIDTH, 0);
    layer(WIDTH, once, nothing, gated(block.proj, 0), add_gated);
    grid.wait();
    Rows::normalize(shared, path, block.modulations, 6, 3, 5);
    layer(4 * WIDTH, once, nothing, bias_of(block.fc1), [&](int row, int output, float2 bias, float2 sum) {
      uint32_t both = pack(gelu(sum.x + bias.x), gelu(sum.y + bias.y));
      *reinterpret_cast<uint32_t*>(path.hidden + (size_t)row * 4 * WIDTH + output) = both;
    });
    grid.wait();
    auto start_hidden = [&](unsigned char* to, int chunk) {
      Rows::start(to, path.hidden, path.rows, 4 * WIDTH, chunk * WIDTH);
    };
    start_hidden(shared.rows, 0);
    layer(WIDTH, four_times, start_hidden, gated(block.fc2, 1), add_gated);
    grid.wait();
  }
  Rows::normalize(shared, path, path.head_modulations, 2, 0, 1);
  layer(path.vocabulary, once, nothing, bias_of(path.head), [&](int row, int output, float2 bias, float2 sum) {
    *reinterpret_cast<float2*>(path.logits + (size_t)row * path.vocabulary + output) = {sum.x + bias.x, sum.y + bias.y};
  });
  grid.leave();
}

#endif

// One warp asks for weights, the others multiply.
template <int STEPS>
__device__ __forceinline__ void run_or_stream(const Path& path) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ Partials partials[WARPS];
  __shared__ float2 queries[WARPS * 32];
  __shared__ uint32_t slots[ROWS];
  __shared__ uint64_t barriers[2 * MOST_SLOTS];
  using Rows = Inputs<STEPS>;
  unsigned char* ring = memory + path.buffers * Rows::BYTES;
  WeightStream weights(ring, barriers, path.ring, Rows::WIDTH * sizeof(bf16), Rows::PITCH);
  if (threadIdx.x < path.rows) slots[threadIdx.x] = path.slots[threadIdx.x / path.per_sequence];
  if (threadIdx.x == 0) weights.start(WARPS);
  __syncthreads();
  if (threadIdx.x < THREADS) {
    run<STEPS>(path, weights, {memory, ring, partials, queries, slots});
  } else if (threadIdx.x == THREADS) {
    stream<Rows::WIDTH>(path, weights);
  }
#endif
}

#define PATH(steps)                                                                                                \
  extern "C" __global__ void __launch_bounds__(THREADS + 32, 1) path_##steps(__grid_constant__ const Path path) { \
    run_or_stream<steps>(path);                                                                                    \
  }

PATH(8)
PATH(10)
PATH(12)
PATH(15)
