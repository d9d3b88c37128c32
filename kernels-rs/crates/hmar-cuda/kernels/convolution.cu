// Convolutions of channels-last pictures in bfloat16: a pixel is a row, its patch `[tap][channel]` what is summed over.
#include "product.cuh"

enum Walk : int { SAME = 0, UPSAMPLE = 1, DOWNSAMPLE = 2 };

// Rows are counted among all pixels of the pictures; those of a launch end before `rows`. The values begin with pixel `held`.
struct Picture {
  const bf16* values;
  int rows, held, side, out_side, channels, taps, walk;
};

// The rows a thread copies: every THREADS/8-th of a tile, always the same eighth of a step.
template <int ROWS, int THREADS>
struct Patches {
  static constexpr int COUNT = ROWS * (DEPTH / 8) / THREADS, APART = THREADS / (DEPTH / 8);
  const Picture& picture;
  int images[COUNT];  // where the image starts, in pixels; negative beyond the last row
  short ys[COUNT], xs[COUNT];

  __device__ __forceinline__ Patches(const Picture& of, int first_row) : picture(of) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      int row = first_row + threadIdx.x / (DEPTH / 8) + i * APART, area = of.out_side * of.out_side;
      images[i] = row < of.rows ? row / area * of.side * of.side : -1;
      ys[i] = row % area / of.out_side;
      xs[i] = row % of.out_side;
    }
  }

  // The pixel under a tap, or −1 in the padding.
  __device__ __forceinline__ int pixel(int i, int tap_y, int tap_x) const {
    int side = picture.side, y = ys[i], x = xs[i];
    if (picture.walk == DOWNSAMPLE) {
      y = 2 * y + tap_y;
      x = 2 * x + tap_x;
    } else if (picture.taps > 1) {
      y += tap_y - 1;
      x += tap_x - 1;
    }
    if (y < 0 || x < 0 || images[i] < 0) return -1;
    if (picture.walk == UPSAMPLE) {
      y /= 2;
      x /= 2;
    }
    return y < side && x < side ? images[i] + y * side + x - picture.held : -1;
  }

  __device__ __forceinline__ void start(bf16* tile, int first) const {
    int eight = threadIdx.x % (DEPTH / 8), k = first + eight * 8;
    int tap = k / picture.channels, channel = k - tap * picture.channels;
    int tap_y = tap / 3, tap_x = tap - tap_y * 3;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      int at = tap < picture.taps ? pixel(i, tap_y, tap_x) : -1;
      const bf16* from = picture.values + (at < 0 ? 0 : (size_t)at * picture.channels + channel);
      copy_later(tile + place(threadIdx.x / (DEPTH / 8) + i * APART, eight), from, at >= 0);
    }
  }
};

// What a pair of neighbouring channels of a pixel becomes.
struct Finish {
  const float* bias;
  const bf16* residual;
  bf16* out;
  int outputs;

  __device__ __forceinline__ void operator()(int row, int output, float x, float y) const {
    size_t at = (size_t)row * outputs + output;
    x += bias[output];
    if (outputs % 2 == 0) {
      y += bias[output + 1];
      if (residual != nullptr) {
        float2 before = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(residual + at));
        x += before.x;
        y += before.y;
      }
      *reinterpret_cast<uint32_t*>(out + at) = pack(x, y);
      return;
    }
    out[at] = __float2bfloat16_rn(residual != nullptr ? x + to_float(residual[at]) : x);
    if (output + 1 < outputs) {
      y += bias[output + 1];
      out[at + 1] = __float2bfloat16_rn(residual != nullptr ? y + to_float(residual[at + 1]) : y);
    }
  }
};

#define CONVOLUTION(multiply, outputs, rows, warps_o, warps_r, stages)                                                \
  extern "C" __global__ void __launch_bounds__(warps_o* warps_r * 32) convolution_##outputs##x##rows##_bf16(          \
      const bf16* values, const bf16* weight, const float* bias, const bf16* residual, bf16* out, int first,          \
      int row_count, int held, int side, int out_side, int channels, int taps, int walk, int output_count,            \
      int cluster) {                                                                                                  \
    Picture picture = {values, first + row_count, held, side, out_side, channels, taps, walk};                        \
    Patches<rows, warps_o * warps_r * 32> patches(picture, first + blockIdx.y * rows);                                \
    multiply<outputs, rows, warps_o, warps_r, stages>(                                                                \
        {weight, row_count, taps * channels, output_count, cluster},                                                  \
        [&](bf16* tile, int, int first) { patches.start(tile, first); }, Finish{bias, residual, out, output_count});  \
  }

CONVOLUTION(multiply, 16, 128, 1, 4, 4)
CONVOLUTION(multiply, 64, 64, 2, 2, 4)
CONVOLUTION(multiply_large, 160, 128, 2, 4, 4)
