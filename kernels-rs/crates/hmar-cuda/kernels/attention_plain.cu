// Attention of any head width in float32 arithmetic: a block a query, all its scores in shared memory.
#include "block.cuh"

template <typename T>
__device__ void attend(const T* __restrict__ qkv, const T* __restrict__ all_keys,
                       const float* __restrict__ head_factors, float scale, T* __restrict__ out, int rows, int key_rows,
                       int key_stride, int head_width, int query_start, int key_start, int key_end, int out_rows,
                       int out_start) {
  extern __shared__ float memory[];
  __shared__ BlockMemory<float> sums;
  float *query = memory, *scores = memory + head_width;
  int head = blockIdx.y, width = gridDim.y * head_width, stride = 3 * width, count = key_end - key_start;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  const T* sequence = qkv + (size_t)blockIdx.z * rows * stride + head * head_width;
  const T* keys = all_keys + (size_t)blockIdx.z * key_rows * key_stride + head * head_width;
  int row = query_start + blockIdx.x;

  float norm = 0;
  for (int i = threadIdx.x; i < head_width; i += blockDim.x) {
    query[i] = to_float(sequence[(size_t)row * stride + i]);
    norm += query[i] * query[i];
  }
  norm = block_sum(norm, sums);
  float factor = head_factors == nullptr ? scale : head_factors[head] / fmaxf(sqrtf(norm), 1e-12f);
  __syncthreads();

  float largest = -INFINITY;
  for (int key = warp; key < count; key += warps) {
    const T* values = keys + (size_t)(key_start + key) * key_stride;
    float product = 0, key_norm = 0;
    for (int i = lane; i < head_width; i += 32) {
      float x = to_float(values[i]);
      product += query[i] * x;
      key_norm += x * x;
    }
    product = warp_sum(product) * factor;
    if (head_factors != nullptr) product /= fmaxf(sqrtf(warp_sum(key_norm)), 1e-12f);
    if (lane == 0) scores[key] = product;
    largest = fmaxf(largest, product);
  }
  __syncthreads();
  if (lane == 0) sums.warps[warp] = largest;
  __syncthreads();
  for (int i = 0; i < warps; i++) largest = fmaxf(largest, sums.warps[i]);
  float own = 0;
  for (int key = threadIdx.x; key < count; key += blockDim.x) {
    scores[key] = expf(scores[key] - largest);
    own += scores[key];
  }
  float total = block_sum(own, sums);
  __syncthreads();
  T* target = out + ((size_t)blockIdx.z * out_rows + row - out_start) * width + head * head_width;
  for (int i = threadIdx.x; i < head_width; i += blockDim.x) {
    float sum = 0;
    for (int key = 0; key < count; key++)
      sum += scores[key] * to_float(keys[width + (size_t)(key_start + key) * key_stride + i]);
    target[i] = from_float<T>(sum / total);
  }
}

#define ATTENTION(name, type)                                                                                         \
  extern "C" __global__ void attention_plain_##name(                                                                  \
      const type* qkv, const type* keys, const float* head_factors, float scale, type* out, int rows, int key_rows,   \
      int key_stride, int head_width, int query_start, int key_start, int key_end, int out_rows, int out_start) {     \
    attend(qkv, keys, head_factors, scale, out, rows, key_rows, key_stride, head_width, query_start, key_start,       \
           key_end, out_rows, out_start);                                                                             \
  }

ATTENTION(f32, float)
ATTENTION(bf16, bf16)
