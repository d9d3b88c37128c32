// Copies some columns of some rows of every sequence; lengths are in pieces of 16 bytes. Grid: rows, sequences.
#include "block.cuh"

// A buffer's rows and columns, and the first of those that are copied.
struct Place {
  int rows, columns, row, column;

  __device__ __forceinline__ size_t of(int sequence, int row_of_copy) const {
    return ((size_t)sequence * rows + row + row_of_copy) * columns + column;
  }
};

extern "C" __global__ void __launch_bounds__(128)
    copy_rows(const uint4* __restrict__ source, uint4* __restrict__ target, int columns, int from_rows, int from_columns,
              int from_row, int from_column, int to_rows, int to_columns, int to_row, int to_column) {
  const uint4* read = source + Place{from_rows, from_columns, from_row, from_column}.of(blockIdx.y, blockIdx.x);
  uint4* write = target + Place{to_rows, to_columns, to_row, to_column}.of(blockIdx.y, blockIdx.x);
  for (int i = threadIdx.x; i < columns; i += blockDim.x) write[i] = read[i];
}
