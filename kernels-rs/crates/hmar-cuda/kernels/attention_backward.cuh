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

// Neighbouring queries. Their keys lie in neighbouring tiles, whose sums are added up in a fixed order.
struct QueryTile {
  int first, count;
  int most_low, least_high;  // keys from, and up to, here are seen by all of them
  int key_tile, key_tiles;
};

// Neighbouring keys, and the tiles of queries that see some of them.
struct KeyTile {
  int first, count;
  int query_begin, query_end;
};

// Neighbouring tiles of keys of a head, all done by one block.
struct Unit {
  int sequence;  // image · heads + head
  int key_begin, key_end;
  int shared;   // other blocks add to the same queries' sums
  int rotated;  // they begin at different ones
};
