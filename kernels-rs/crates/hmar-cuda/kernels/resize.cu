// Resizing between a scale's token map and the latent grid (2.3), channels last; a thread computes one number.
#include "common.cuh"

struct Taps {
  int sources[4];
  float weights[4];
};

__device__ __forceinline__ Taps cubic_taps(int position, int input, int output) {
  constexpr float A = -0.75f;
  float source = (position + 0.5f) * ((float)input / (float)output) - 0.5f;
  float whole = floorf(source), t = source - whole;
  auto near = [](float x) { return ((A + 2.0f) * x - (A + 3.0f)) * x * x + 1.0f; };
  auto far = [](float x) { return ((A * x - 5.0f * A) * x + 8.0f * A) * x - 4.0f * A; };
  Taps taps = {{}, {far(t + 1.0f), near(t), near(1.0f - t), far(2.0f - t)}};
#pragma unroll
  for (int i = 0; i < 4; i++) taps.sources[i] = min(max((int)whole + i - 1, 0), input - 1);
  return taps;
}

// Bicubic enlargement of `input [images, cells, cells, width]` to `out [images, side, side, width]`.
extern "C" __global__ void enlarge(const float* input, float* out, int cells, int side,
                                   int width, int length) {
  start_early();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= length) return;
  if (cells == side) {
    out[i] = input[i];
    return;
  }
  int channel = i % width, column = i / width % side, row = i / width / side % side, image = i / width / side / side;
  input += (size_t)image * cells * cells * width + channel;
  Taps rows = cubic_taps(row, cells, side), columns = cubic_taps(column, cells, side);
  float sum = 0;
#pragma unroll
  for (int y = 0; y < 4; y++) {
    float across = 0;
#pragma unroll
    for (int x = 0; x < 4; x++) across += input[(rows.sources[y] * cells + columns.sources[x]) * width] * columns.weights[x];
    sum += across * rows.weights[y];
  }
  out[i] = sum;
}

// Averages of the grid's cells: stored, or, with a mask, added where it is not set.
extern "C" __global__ void area_pool(const float* input, const uint8_t* visible_in,
                                     float* out, int cells, int side, int width, int length) {
  start_early();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= length) return;
  int cell = i / width;
  if (visible_in != nullptr && visible_in[cell] != 0) return;
  int channel = i % width, column = cell % cells, row = cell / cells % cells, image = cell / cells / cells;
  input += (size_t)image * side * side * width + channel;
  int top = row * side / cells, bottom = ((row + 1) * side + cells - 1) / cells;
  int left = column * side / cells, right = ((column + 1) * side + cells - 1) / cells;
  float sum = 0;
  for (int y = top; y < bottom; y++)
    for (int x = left; x < right; x++) sum += input[(y * side + x) * width];
  float average = sum / (float)((bottom - top) * (right - left));
  out[i] = visible_in == nullptr ? average : out[i] + average;
}
