// What the kernels of attention's gradients share: how tokens are cut into tiles, and what is known of a query's row.
#pragma once

#include "common.cuh"

constexpr int HEAD_WIDTH = 64;

// Queries of a tile.
constexpr int QUERIES = 64;

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;

// What a query's row brings to its scores' gradients: three numbers, each for all queries of a tile. Its scores' exponents
// are `FACTOR · product − SHIFT` to base 2; their gradients `weight · (FACTOR · product − MEAN)` times ln 2. A row that is
// not there has no factor, an infinite shift and no mean: its weights are zero.
enum RowNumber { FACTOR, SHIFT, MEAN, ROW_NUMBERS };

// Neighbouring queries.
struct QueryTile {
  int first, count;
  int key_tiles;  // that some of them see
  int shared;     // several blocks add to its sums
};

// Neighbouring keys, and the tiles of queries that see some of them.
struct KeyTile {
  int first, count;
  int query_begin, query_end;
  int first_step;   // one for each of those tiles
  int first_query;  // the first tile of queries of its chain
};

// What a tile of queries does for a tile of keys.
struct alignas(16) Step {
  int first, count;  // queries
  int tile;          // theirs
  int rows;          // the place of its rows' numbers, counted from the unit's first
  int flags;
  // How many steps the tile of keys that adds to the same sums before must have made, and which that is; 0: nobody waits.
  int awaited, before;
  int number;  // of the steps that its own tile of keys has made then

  static constexpr int MASKED = 1, BEGINS = 4, ENDS = 8, MEASURED = 16;

  // Whether some query does not see some of a group's 64 keys.
  __device__ __forceinline__ bool masked(int group) const { return flags & MASKED << group; }
  // Whether it is the first, and the last, to add to its sums.
  __device__ __forceinline__ bool begins() const { return flags & BEGINS; }
  __device__ __forceinline__ bool ends() const { return flags & ENDS; }
  // Whether what its rows bring is found then.
  __device__ __forceinline__ bool measured() const { return flags & MEASURED; }
};

// Neighbouring tiles of keys of a head, all done by one block.
struct Unit {
  int image, head;
  int key_begin, key_end;
  int shared;  // other blocks add to the same queries' sums
};
