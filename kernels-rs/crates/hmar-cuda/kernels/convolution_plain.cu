// Convolutions of any number of channels in float32 arithmetic: a thread an output of a pixel.
#include "common.cuh"

enum Walk : int { SAME = 0, UPSAMPLE = 1, DOWNSAMPLE = 2 };

// Weights are `[outputs, taps, inputs]`; the blocks are 32 outputs × 8 pixels. Results are those of `rows` pixels of the
// pictures from `first` on; the input begins with pixel `held`.
template <typename T>
__device__ void convolve(const T* __restrict__ input, const T* __restrict__ weight, const float* __restrict__ bias,
                         const T* residual, T* out, int first, int rows, int held, int side, int out_side, int channels,
                         int taps, int walk, int outputs) {
  int output = blockIdx.y * 32 + threadIdx.x % 32, row = blockIdx.x * 8 + threadIdx.x / 32;
  if (output >= outputs || row >= rows) return;
  int pixel_number = first + row, area = out_side * out_side;
  int y = pixel_number % area / out_side, x = pixel_number % out_side;
  int picture = pixel_number / area * side * side - held;
  weight += (size_t)output * taps * channels;
  float sum = bias[output];
  for (int tap = 0; tap < taps; tap++) {
    int v = y, u = x;
    if (walk == DOWNSAMPLE) {
      v = 2 * y + tap / 3;
      u = 2 * x + tap % 3;
    } else if (taps > 1) {
      v += tap / 3 - 1;
      u += tap % 3 - 1;
    }
    if (v < 0 || u < 0) continue;
    if (walk == UPSAMPLE) {
      v /= 2;
      u /= 2;
    }
    if (v >= side || u >= side) continue;
    const T* pixel = input + (size_t)(picture + v * side + u) * channels;
    for (int c = 0; c < channels; c++) sum += to_float(pixel[c]) * to_float(weight[tap * channels + c]);
  }
  size_t at = (size_t)row * outputs + output;
  out[at] = from_float<T>(residual != nullptr ? sum + to_float(residual[at]) : sum);
}

#define CONVOLUTION(name, type)                                                                                       \
  extern "C" __global__ void __launch_bounds__(256) convolution_plain_##name(                                         \
      const type* input, const type* weight, const float* bias, const type* residual, type* out, int first, int rows, \
      int held, int side, int out_side, int channels, int taps, int walk, int outputs) {                              \
    convolve(input, weight, bias, residual, out, first, rows, held, side, out_side, channels, taps, walk, outputs);   \
  }

CONVOLUTION(f32, float)
CONVOLUTION(bf16, bf16)
