//! Attention over segments on GPUs before and after Hopper: `mma.sync`, a block a tile.

use hmar_error::Result;

use super::forward::{Inputs, uploaded};
use super::tiles::Sight;
use super::{Keys, QUERIES, SHARED, THREADS};
use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;

/// What blocks do, on the device.
pub(super) struct PlainPlan {
    sequences: usize,
    heads: usize,
    queries: usize,
    /// Queries from, to, keys from, to.
    tiles: CudaBuffer<[i32; 4]>,
    bounds: CudaBuffer<[i32; 2]>,
}

impl PlainPlan {
    pub(super) fn new(backend: &CudaBackend, sight: &Sight, sequences: usize, heads: usize) -> Result<Self> {
        const { assert!(QUERIES == super::tiles::TILE, "its blocks take the same tiles") };
        let tiles = sight.chains().into_iter().flatten();
        let words = tiles.map(|tile| {
            [tile.queries.start, tile.queries.end, tile.keys.start, tile.keys.end].map(|row| row as i32)
        });
        Ok(PlainPlan {
            sequences,
            heads,
            queries: sight.keys.len(),
            tiles: uploaded(backend, &words.collect::<Vec<_>>())?,
            bounds: uploaded(backend, &sight.table())?,
        })
    }

    pub(super) fn run(&self, backend: &CudaBackend, inputs: Inputs<'_>) -> Result<()> {
        let grid = (self.tiles.len(), self.heads, self.sequences);
        let launch = backend.launch("attention_segments_64_bf16", grid, THREADS)?.shared(SHARED);
        let Keys { keys, rows, stride } = inputs.keys;
        let launch = launch.read(inputs.qkv).read(&keys).read_optional(inputs.factors);
        let launch = launch.value(inputs.scale).write(inputs.out);
        let launch = launch.count(self.queries).count(rows).count(stride);
        let launch = launch.read(&self.tiles).read(&self.bounds);
        // SAFETY: tiles are of rows that there are; `Inputs` has looked at all lengths.
        unsafe { launch.write_optional(inputs.lse).submit() }
    }
}
