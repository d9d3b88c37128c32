// Products of tens to hundreds of rows on Hopper, with the endings of linear layers. Their time is that of bringing the
// weights, and of beginning and ending: so weights are asked for before the kernel before this one is done, few outputs'
// depth is shared by a cluster's blocks, and their sums go straight to the block that ends them.
#include "ending.cuh"
#include "row_products.cuh"

struct Layer {
  const float* bias;
  void* out;  // bfloat16, or float32 where it is added to or asked for
  const float* gates;
  const uint32_t* slots;  // of every sequence of rows, among the gates
  int rows, inputs, outputs, ending, gate_stride, per_sequence;
};

// How many blocks share a sum, how many steps' operands each of them holds, and whether the kernel after this one, which
// asks for its weights at once, is let start only when this one has asked for its rows.
struct Share {
  int cluster, weight_slots, row_slots, late;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Numbers of a row in a step: 128 bytes.
constexpr int DEPTH = 64;

// Outputs of a block, which four warps multiply; two more ask for the operands.
constexpr int OUTPUTS = 64, WARPS = 4, THREADS = WARPS * 32;

constexpr int WEIGHT_BYTES = OUTPUTS * DEPTH * 2;

constexpr int MOST_SLOTS = 16;

// A ring of slots that the copy engine fills with boxes: one thread asks for them, the warps use them in this order.
struct Ring {
  uint32_t memory, arrived, used;
  int bytes, count, slot = 0;
  uint32_t parity = 0;

  // `barriers` takes two for every slot.
  __device__ __forceinline__ Ring(uint32_t memory, const uint64_t* barriers, int bytes, int count)
      : memory(memory), arrived(shared_address(barriers)), used(arrived + count * 8), bytes(bytes), count(count) {}

  __device__ __forceinline__ void start() const {
#pragma unroll 1
    for (int i = 0; i < count; i++) {
      start_barrier(arrived + i * 8, 1);
      start_barrier(used + i * 8, WARPS);
    }
  }

  __device__ __forceinline__ void request(const TensorMap& map, int input, int first) {
    wait_at(used + slot * 8, parity ^ 1);
    arrive_expecting(arrived + slot * 8, bytes);
    copy_box(memory + slot * bytes, map, arrived + slot * 8, input, first);
    advance();
  }

  // Where the next slot lies, once it is filled.
  __device__ __forceinline__ uint32_t wait() const {
    wait_at(arrived + slot * 8, parity);
    return memory + slot * bytes;
  }

  // Gives back the slot before the next one.
  __device__ __forceinline__ void release_last() const { arrive(used + (slot == 0 ? count - 1 : slot - 1) * 8); }

  __device__ __forceinline__ void advance() {
    if (++slot == count) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// GELU in its tanh form: 1 + tanh(u) = 2 / (1 + exp(−2u)).
__device__ __forceinline__ float gelu(float x) {
  return __fdividef(x, 1.0f + __expf(x * (-1.5957691216f - 0.0713548162726f * x * x)));
}

// Eights of rows that are ended together: what they are added to is loaded at once.
constexpr int TOGETHER = 4;

template <int ROWS>
struct Block {
  static constexpr int TILES = ROWS / 8;

  // Results of eights of rows: a lane has four of each. Result i belongs to row i % 2 of two neighbours, and to output i / 2
  // of two that lie eight apart.
  using Results = float[TOGETHER][4];

  const Layer& layer;
  int cluster, rank, first_output, first_row, begin, end, warp;
  uint32_t memory, received;
  Ring weights, rows;

  __device__ __forceinline__ Block(const Layer& of, const Share& share, uint32_t memory, const uint64_t* barriers)
      : layer(of), cluster(share.cluster), rank(blockIdx.x % cluster), first_output(blockIdx.x / cluster * OUTPUTS),
        first_row(blockIdx.y * ROWS), warp(__shfl_sync(0xffffffffu, threadIdx.x / 32, 0)), memory(memory),
        received(shared_address(barriers)), weights(memory, barriers + 1, WEIGHT_BYTES, share.weight_slots),
        rows(memory + share.weight_slots * WEIGHT_BYTES, barriers + 1 + 2 * MOST_SLOTS, ROWS * DEPTH * 2,
             share.row_slots) {
    int steps = (layer.inputs + DEPTH - 1) / DEPTH;
    begin = rank * steps / cluster;
    end = (rank + 1) * steps / cluster;
  }

  // Eights of rows go round the cluster, for each warp from another block on: so not all send to the same one. The first
  // that this block ends for a warp, how many it does, and how many a block does at most.
  __device__ __forceinline__ int shift(int warp) const { return warp * cluster / WARPS; }
  __device__ __forceinline__ int first_own(int warp) const {
    int first = rank - shift(warp);
    return first < 0 ? first + cluster : first;
  }
  __device__ __forceinline__ int own(int warp) const { return (TILES - first_own(warp) + cluster - 1) / cluster; }
  __device__ __forceinline__ int most() const { return (TILES + cluster - 1) / cluster; }

  __device__ __forceinline__ void start_barriers() const {
    weights.start();
    rows.start();
    start_barrier(received, 1);
    show_barriers();
    int tiles = 0;
    for (int i = 0; i < WARPS; i++) tiles += own(i);
    arrive_expecting(received, tiles * (cluster - 1) * 32 * sizeof(float4));
  }

  __device__ __forceinline__ void bring_weights(const TensorMap& map) {
#pragma unroll 1
    for (int step = begin; step < end; step++) weights.request(map, step * DEPTH, first_output);
  }

  __device__ __forceinline__ void bring_rows(const TensorMap& map, int late) {
    bring_map_near(map);
    wait_for_earlier();
    int first = min(begin + rows.count, end);
#pragma unroll 1
    for (int step = begin; step < first; step++) rows.request(map, step * DEPTH, first_row);
    if (late) let_next_start();
#pragma unroll 1
    for (int step = first; step < end; step++) rows.request(map, step * DEPTH, first_row);
  }

  __device__ __forceinline__ void multiply(float (&sums)[TILES][4]) {
    bool recycles = end - begin > min(weights.count, rows.count);
#pragma unroll 1
    for (int step = begin; step < end; step++) {
      uint64_t first = operand(weights.wait()), second = operand(rows.wait());
      begin_products();
#pragma unroll
      for (int k = 0; k < DEPTH / 16; k++) multiply_group(sums, first + k * 2, second + k * 2, (step - begin) | k);
      commit_products();
      if (recycles) {
        // All but these are done: what they read may be overwritten.
        wait_for_products<1>();
        if (step > begin && threadIdx.x % 32 == 0) {
          weights.release_last();
          rows.release_last();
        }
      }
      weights.advance();
      rows.advance();
    }
    wait_for_products<0>();
    // Nothing that reads them moves across: the compiler does not see when products are done.
#pragma unroll
    for (int i = 0; i < TILES * 4; i++) asm volatile("" : "+f"(sums[i / 4][i % 4])::"memory");
  }

  // Where sums of a block of the cluster lie for this thread, in the place of operands that nobody uses any more.
  __device__ __forceinline__ uint32_t place(int part, int tile) const {
    return memory + ((part * most() + tile) * THREADS + threadIdx.x) * sizeof(float4);
  }

  // Hands the block's sums to those that end them.
  __device__ __forceinline__ void send(const float (&sums)[TILES][4]) const {
    arrive_in_cluster_unordered();
    wait_for_cluster();
    int owner = shift(warp), within = 0, number = 0;
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
      float4 x = {sums[tile][0], sums[tile][1], sums[tile][2], sums[tile][3]};
      uint32_t to = place(rank, number);
      if (owner == rank) {
        store_here(to, x);
      } else {
        store_at_block(address_at_block(to, owner), x, address_at_block(received, owner));
      }
      if (++owner == cluster) owner = 0;
      if (++within == cluster) within = 0, number++;
    }
  }

  // The sums of all blocks, always in the same order.
  __device__ __forceinline__ void add_up(Results& sums, int tile, int tiles) const {
#pragma unroll
    for (int i = 0; i < TOGETHER * 4; i++) sums[i / 4][i % 4] = 0;
#pragma unroll 2
    for (int part = 0; part < cluster; part++) {
#pragma unroll
      for (int k = 0; k < TOGETHER; k++) {
        float4 x = load_here(place(part, min(tile + k, tiles - 1)));
        sums[k][0] += x.x;
        sums[k][1] += x.y;
        sums[k][2] += x.z;
        sums[k][3] += x.w;
      }
    }
  }

  // The first row of the warp's own eight number `tile` of `tiles`; after the last, one that is not there.
  __device__ __forceinline__ int row_of(int tile, int tiles) const {
    return tile < tiles ? first_row + (first_own(warp) + tile * cluster) * 8 : layer.rows;
  }

  // A lane's rows and outputs: of eight rows two neighbours, of sixteen outputs two that lie eight apart.
  __device__ __forceinline__ int own_row(int row, int i) const { return row + threadIdx.x % 4 * 2 + i % 2; }
  __device__ __forceinline__ int own_output(int i) const {
    return first_output + warp * 16 + threadIdx.x % 32 / 4 + i / 2 * 8;
  }
  __device__ __forceinline__ bool is_there(int row, int output) const {
    return row < layer.rows && output < layer.outputs;
  }

  // The sequence of a row. The quotient's rounding may lead to its neighbour.
  __device__ __forceinline__ int sequence_of(int row, float per_row) const {
    int sequence = __float2int_rd(row * per_row);
    sequence += (sequence + 1) * layer.per_sequence <= row;
    return sequence - (sequence * layer.per_sequence > row);
  }

  // What results are multiplied by. What lies beyond the last row or output is not used.
  __device__ __forceinline__ void load_gates(Results& gates, int tile, int tiles) const {
    if (layer.ending != GATED) return;
    float per_row = __fdividef(1, layer.per_sequence);
    uint32_t slots[TOGETHER][2];
#pragma unroll
    for (int k = 0; k < TOGETHER * 2; k++) {
      int row = min(own_row(row_of(tile + k / 2, tiles), k), layer.rows - 1);
      slots[k / 2][k % 2] = layer.slots[sequence_of(row, per_row)];
    }
#pragma unroll
    for (int k = 0; k < TOGETHER * 4; k++) {
      size_t slot = slots[k / 4][k % 2];
      gates[k / 4][k % 4] = layer.gates[slot * layer.gate_stride + min(own_output(k % 4), layer.outputs - 1)];
    }
  }

  // What they are added to then.
  __device__ __forceinline__ void load_residuals(Results& residuals, int tile, int tiles) const {
    if (layer.ending != GATED) return;
    const float* out = static_cast<const float*>(layer.out);
#pragma unroll
    for (int k = 0; k < TOGETHER * 4; k++) {
      size_t row = min(own_row(row_of(tile + k / 4, tiles), k), layer.rows - 1);
      residuals[k / 4][k % 4] = out[row * layer.outputs + min(own_output(k % 4), layer.outputs - 1)];
    }
  }

  __device__ __forceinline__ void store_float32(const Results& results, int tile, int tiles) const {
    float* out = static_cast<float*>(layer.out);
#pragma unroll
    for (int k = 0; k < TOGETHER * 4; k++) {
      int row = own_row(row_of(tile + k / 4, tiles), k), output = own_output(k % 4);
      if (is_there(row, output)) out[(size_t)row * layer.outputs + output] = results[k / 4][k % 4];
    }
  }

  // Rows and outputs change places, so that a lane has neighbouring outputs.
  __device__ __forceinline__ void store_features(const Results& results, int tile, int tiles) const {
    bf16* out = static_cast<bf16*>(layer.out);
    int across = threadIdx.x % 32 / 4, output = first_output + warp * 16 + threadIdx.x % 4 * 2;
    uint32_t both[TOGETHER][2];
#pragma unroll
    for (int k = 0; k < TOGETHER * 2; k++) {
      const float* x = &results[k / 2][k % 2 * 2];
      both[k / 2][k % 2] = transposed(pack(x[0], x[1]));
    }
#pragma unroll
    for (int k = 0; k < TOGETHER * 2; k++) {
      int row = row_of(tile + k / 2, tiles) + across, own = output + k % 2 * 8;
      if (is_there(row, own)) *reinterpret_cast<uint32_t*>(out + (size_t)row * layer.outputs + own) = both[k / 2][k % 2];
    }
  }

  // Ends some of the warp's own `tiles`, from `tile` on.
  __device__ __forceinline__ void finish(Results& x, const float (&bias)[2], const Results& gates,
                                         const Results& residuals, int tile, int tiles) const {
#pragma unroll
    for (int k = 0; k < TOGETHER * 4; k++) {
      float& result = x[k / 4][k % 4];
      result += bias[k / 2 % 2];
      if (layer.ending == GELU) result = gelu(result);
      if (layer.ending == GATED) result = residuals[k / 4][k % 4] + gates[k / 4][k % 4] * result;
    }
    if (layer.ending == GATED || layer.ending == FLOAT32) {
      store_float32(x, tile, tiles);
    } else {
      store_features(x, tile, tiles);
    }
  }

  __device__ __forceinline__ void make_results() {
    int tiles = own(warp);
    float bias[2];
#pragma unroll
    for (int i = 0; i < 2; i++) bias[i] = layer.bias[min(own_output(i * 2), layer.outputs - 1)];
    Results gates, residuals;
    load_gates(gates, 0, tiles);
    wait_for_earlier();
    load_residuals(residuals, 0, tiles);
    float sums[TILES][4];
    multiply(sums);
    if (cluster == 1) {
#pragma unroll
      for (int tile = 0; tile < TILES; tile += TOGETHER) {
        if (tile > 0) {
          load_gates(gates, tile, TILES);
          load_residuals(residuals, tile, TILES);
        }
        Results some;
#pragma unroll
        for (int i = 0; i < TOGETHER * 4; i++) some[i / 4][i % 4] = sums[min(tile + i / 4, TILES - 1)][i % 4];
        finish(some, bias, gates, residuals, tile, TILES);
      }
    } else {
      send(sums);
      wait_at(received, 0);
#pragma unroll 1
      for (int tile = 0; tile < tiles; tile += TOGETHER) {
        if (tile > 0) {
          load_gates(gates, tile, tiles);
          load_residuals(residuals, tile, tiles);
        }
        Results some;
        add_up(some, tile, tiles);
        finish(some, bias, gates, residuals, tile, tiles);
      }
    }
  }
};

template <int ROWS>
__device__ __forceinline__ void multiply(const TensorMap& rows, const TensorMap& weights, const Layer& layer,
                                         const Share& share) {
  extern __shared__ unsigned char memory[];
  __shared__ uint64_t barriers[1 + 4 * MOST_SLOTS];
  // The copy engine mixes parts by their addresses, from multiples of 1,024 on.
  Block<ROWS> block(layer, share, (shared_address(memory) + 1023) & ~1023u, barriers);
  if (threadIdx.x == 0) block.start_barriers();
  __syncthreads();
  if (!share.late) let_next_start();
  if (block.warp < WARPS) {
    block.make_results();
  } else if (threadIdx.x % 32 == 0) {
    if (block.warp == WARPS) {
      block.bring_weights(weights);
    } else {
      block.bring_rows(rows, share.late);
    }
  }
}

#endif

// Other GPUs never launch these.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define MULTIPLY(height)                                                                                           \
  multiply<height>(rows, weights,                                                                                  \
                   {bias, out, gates, slots, count, inputs, outputs, ending, gate_stride, per_sequence},           \
                   {cluster, weight_slots, row_slots, late})
#else
#define MULTIPLY(...)
#endif

#define LINEAR(height)                                                                                                 \
  extern "C" __global__ void __launch_bounds__(192, 1) linear_rows_##height(                                           \
      const __grid_constant__ TensorMap rows, const __grid_constant__ TensorMap weights, const float* bias, void* out, \
      const float* gates, const uint32_t* slots, int count, int inputs, int outputs, int ending, int gate_stride,      \
      int per_sequence, int cluster, int weight_slots, int row_slots, int late) {                                      \
    MULTIPLY(height);                                                                                                  \
  }

LINEAR(24)
LINEAR(32)
LINEAR(56)
LINEAR(72)
LINEAR(104)
LINEAR(128)
LINEAR(176)
LINEAR(208)
