//! How the tensor cores' products are cut into blocks.

use std::fmt;

use crate::backend::CudaBackend;

/// Numbers of a row in a step of the kernels.
const DEPTH: usize = 64;

/// Blocks that share a sum at most: as many as every GPU with clusters takes.
const LARGEST_CLUSTER: usize = 8;

/// What a block of a kernel makes: the kernels of one operation are named after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Outputs of a block.
    pub(crate) outputs: usize,
    /// Its rows.
    pub(crate) rows: usize,
    /// Its threads.
    pub(crate) threads: usize,
    /// Steps whose operands it holds.
    pub(crate) stages: usize,
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.outputs, self.rows)
    }
}

impl Tile {
    /// Bytes of shared memory where `cluster` blocks share sums of `depth` products: the steps' operands, and after them
    /// the results in the same place. A kernel whose steps are few leaves the rest to the next one.
    pub(crate) fn shared(&self, depth: usize, cluster: usize) -> usize {
        let steps = depth.div_ceil(DEPTH).div_ceil(cluster);
        let stages = self.stages.min(steps) * (self.outputs + self.rows) * DEPTH * 2;
        stages.max(self.rows * (self.outputs + 4) * size_of::<f32>())
    }

    /// Blocks of a product, before any share a sum.
    pub(crate) fn blocks(&self, rows: usize, outputs: usize) -> usize {
        outputs.div_ceil(self.outputs) * rows.div_ceil(self.rows)
    }

    /// Blocks that share a sum of `depth` products, so that there is work for every multiprocessor.
    pub(crate) fn cluster(&self, backend: &CudaBackend, rows: usize, outputs: usize, depth: usize) -> usize {
        if backend.context.capability < (9, 0) {
            return 1;
        }
        let blocks = self.blocks(rows, outputs);
        let room = |cluster: usize| blocks * cluster * 4 <= backend.context.multiprocessors * 3;
        let mut cluster = 1;
        while cluster < LARGEST_CLUSTER && room(cluster) && depth >= 2 * cluster * DEPTH {
            cluster *= 2;
        }
        cluster
    }

    /// The grid: clusters side by side along the outputs, rows along the second dimension.
    pub(crate) fn grid(&self, rows: usize, outputs: usize, cluster: usize) -> (usize, usize) {
        (outputs.div_ceil(self.outputs) * cluster, rows.div_ceil(self.rows))
    }
}
