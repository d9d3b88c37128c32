//! Attention with a wide head on Hopper, over whole sequences: weights first, then their products with the values.

use half::bf16;
use hmar_error::Result;
use hmar_ops::AttentionShape;

use crate::backend::{CudaBackend, SCRATCH};
use crate::features::CudaFeatures;
use crate::kernels::{Place, Within};
use crate::tensor_map::TensorMap;

/// Numbers of a step: 128 bytes.
const DEPTH: usize = 64;

/// Rows of a group of four warps.
const GROUP_ROWS: usize = 64;

/// Where in the scratch memory the tiles' largest scores and sums are; all before it has room for weights.
const MOMENTS: usize = SCRATCH / 2;

/// A kernel: its groups of rows, its threads, and the steps whose operands a block holds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kind {
    groups: usize,
    threads: usize,
    stages: usize,
}

/// The two kernels for one width of tiles.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tiles {
    width: usize,
    weights: Kind,
    values: Kind,
}

const SMALL: Tiles = Tiles {
    width: 64,
    weights: Kind { groups: 1, threads: 160, stages: 6 },
    values: Kind { groups: 1, threads: 160, stages: 6 },
};

const LARGE: Tiles = Tiles {
    width: 128,
    weights: Kind { groups: 2, threads: 288, stages: 3 },
    values: Kind { groups: 3, threads: 512, stages: 5 },
};

impl Tiles {
    /// The tiles that take a launch soonest: large ones read less, where there are enough of them.
    fn choose(multiprocessors: usize, heads: usize, rows: usize, head_width: usize) -> Tiles {
        let blocks = LARGE.values.blocks(heads, rows) * head_width / LARGE.width;
        let enough = rows >= 2 * LARGE.values.rows() && blocks * 4 >= multiprocessors * 3;
        if enough { LARGE } else { SMALL }
    }

    /// Keys of a row, whole tiles of them.
    fn keys(&self, rows: usize) -> usize {
        rows.next_multiple_of(self.width)
    }

    /// Sequences whose weights have room; their moments take less.
    fn sequences_at_once(&self, heads: usize, rows: usize) -> usize {
        MOMENTS / (heads * rows * self.keys(rows) * size_of::<bf16>()).max(1)
    }

    fn attend(
        &self,
        backend: &CudaBackend,
        shape: &AttentionShape<'_>,
        scale: f32,
        qkv: &Place,
        out: &mut Place,
    ) -> Result<()> {
        let &AttentionShape { sequences, rows, heads, head_width, .. } = shape;
        let &Tiles { width, weights: weighing, values: mixing } = self;
        let (columns, all) = (self.keys(rows), sequences * heads);
        let scratch = backend.scratch();
        let [mut weights, mut moments] = [0, MOMENTS].map(|start| scratch.at(start));
        let map = |box_rows| {
            let sizes = [3 * heads * head_width, rows, sequences];
            TensorMap::new(&backend.context, qkv, sizes, [DEPTH, box_rows, 1])
        };

        let grid = (columns / width, rows.div_ceil(weighing.rows()), all);
        let launch = backend.launch(&format!("attention_weights_{width}"), grid, weighing.threads)?;
        let launch = launch.shared(weighing.shared(width)).overlapping();
        let launch =
            launch.value(map(weighing.rows())?).value(map(width)?).write(&mut weights).write(&mut moments);
        let launch = launch.value(scale * std::f32::consts::LOG2_E).count(rows).count(columns / width);
        // SAFETY: the maps end with their tensors; the scratch memory holds every row's weights and moments.
        unsafe { launch.count(heads).count(head_width).submit()? };

        let sizes = [columns, rows, all];
        let weights = TensorMap::new(&backend.context, &weights, sizes, [DEPTH, mixing.rows(), 1])?;
        let grid = (head_width / width, rows.div_ceil(mixing.rows()), all);
        let launch = backend.launch(&format!("attention_values_{width}"), grid, mixing.threads)?;
        let launch = launch.shared(mixing.shared(width)).overlapping();
        let launch = launch.value(weights).value(map(DEPTH)?).read(&moments).write(out);
        let launch = launch.count(rows).count(columns / width);
        // SAFETY: as above; there is a place for every row's result.
        unsafe { launch.count(heads).count(head_width).submit() }
    }
}

impl Kind {
    fn rows(&self) -> usize {
        self.groups * GROUP_ROWS
    }

    /// Tiles of queries of all heads.
    fn blocks(&self, heads: usize, rows: usize) -> usize {
        heads * rows.div_ceil(self.rows())
    }

    /// The stages begin at a multiple of 1,024 inside of the shared memory.
    fn shared(&self, columns: usize) -> usize {
        self.stages * (self.rows() + columns) * DEPTH * size_of::<bf16>() + 1024
    }
}

/// Queues the attention of every row of `qkv [sequences, rows, 3, heads, head width]` to all rows of its sequence, if there
/// are kernels for it; the head's width is a multiple of 128. As many sequences at a time as the scratch memory has room for.
pub(super) fn attention(
    backend: &CudaBackend,
    shape: &AttentionShape<'_>,
    scale: f32,
    qkv: &CudaFeatures,
    out: &mut CudaFeatures,
) -> Result<bool> {
    let &AttentionShape { sequences, rows, heads, head_width, spans } = shape;
    let whole = matches!(spans, [span] if span.queries == (0..rows) && span.keys == (0..rows));
    let planned = backend.planned_images(sequences) * heads;
    let tiles = Tiles::choose(backend.context.multiprocessors, planned, rows, head_width);
    let together = tiles.sequences_at_once(heads, rows);
    if backend.context.capability != (9, 0) || !whole || together == 0 {
        return Ok(false);
    }
    let row_bytes = heads * head_width * size_of::<bf16>();
    for first in (0..sequences).step_by(together) {
        let shape = AttentionShape { sequences: together.min(sequences - first), ..*shape };
        let (qkv, mut out) = (qkv.at(first * rows * 3 * row_bytes), out.at(first * rows * row_bytes));
        tiles.attend(backend, &shape, scale, &qkv, &mut out)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_tiles_are_for_pictures_that_fill_the_multiprocessors_with_them() {
        let choice = |images, rows| Tiles::choose(132, images, rows, 640);
        assert_eq!(choice(1, 256), SMALL);
        assert_eq!(choice(16, 256), SMALL);
        assert_eq!(choice(1, 1024), SMALL);
        assert_eq!(choice(4, 1024), LARGE);
        assert_eq!(choice(1, 4096), LARGE);
    }

    #[test]
    fn sequences_are_taken_as_their_weights_have_room() {
        assert_eq!(SMALL.sequences_at_once(1, 256), 256);
        assert_eq!(LARGE.sequences_at_once(1, 1024), 16);
        assert_eq!(LARGE.sequences_at_once(1, 4096), 1);
        assert_eq!(LARGE.sequences_at_once(2, 4096), 0);
    }

    #[test]
    fn stages_fit_in_shared_memory() {
        for Tiles { width, weights, values } in [SMALL, LARGE] {
            assert!(weights.shared(width).max(values.shared(width)) <= 227 * 1024);
            // Two blocks share a multiprocessor.
            assert!(weights.shared(width) <= 113 * 1024);
        }
    }
}
